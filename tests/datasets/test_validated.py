"""A run's labelled particles are labelled images like those of a folder or table."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import labelled_run
import numpy as np
import pytest
import support

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.manifest import manifest
from pi10_classifier.datasets.scan import read_rgb, scan
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.datasets.split import split
from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.decode import decode
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.labelling.suggest import suggest


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> labelled_run.LabelledRun:
    return labelled_run.build(tmp_path_factory.mktemp("validated"))


@pytest.fixture
def run(made: labelled_run.LabelledRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.path, tmp_path / "survey"))


@pytest.mark.parametrize("inside", ["", "validation"])
def test_labels_are_classes_and_pixels_those_of_the_run(made, run: Path, inside: str) -> None:
    found = scan([run / inside])
    labels = {name: made.truth[name] for name in (one.particle_id for one in made.sample)}
    artefacts = sum(label == "artefact" for label in labels.values())
    assert artefacts > 0
    assert Counter(s.group for s in found.samples) == Counter(
        label for label in labels.values() if label != "artefact"
    )
    assert {x.code for x in found.left_out} == {"no_class"}
    assert len(found.left_out) == artefacts
    assert "artefact" in found.left_out[0].message
    assert not found.left_out[0].failed
    assert {s.source for s in found.samples} == {"survey"}
    assert {s.bin for s in found.samples} == {one.bin for one in made.sample}
    sample, rgb = next(read_rgb(found, found.samples[:1]))
    row = next(row for row in made.rows if row["particle_id"] == sample.member)
    archive = support.tar_of(Path(str(row["source"])))
    assert np.array_equal(rgb, decode(archive[str(row["member"])]).rgb)


def test_a_label_map_gives_an_artefact_a_class(run: Path) -> None:
    rules = LabelMap.of({"artefact": "detritus", "*cop*": "animal", "detritus": "detritus"})
    found = scan([run], rules)
    assert set(found.classes) == {"animal", "detritus"}
    assert {s.label for s in found.samples if s.group == "detritus"} == {"artefact", "detritus"}
    assert not found.left_out
    same = scan([run], LabelMap.of({name: name for name in (*support.CLASSES, "artefact")}))
    assert "artefact" in same.classes
    some = scan([run], LabelMap.of({name: name for name in support.CLASSES}))
    assert {x.code for x in some.left_out} == {"no_class"}


def test_to_judge_a_model_particles_of_no_class_are_kept(run: Path) -> None:
    found = scan([run], outside=True)
    assert "artefact" in found.classes
    assert not found.left_out


def test_contradictions_and_lost_particles_are_told(run: Path, made) -> None:
    first, *_ = (one for one in made.sample if made.truth[one.particle_id] == "copepod")
    store = LabelStore(run, support.CLASSES)
    store.add([(first.particle_id, "detritus"), ("nowhere", "copepod")], "Ben")
    found = scan([run])
    told = {x.member: x for x in found.left_out if x.failed}
    assert set(told) == {first.particle_id, "nowhere"}
    assert told[first.particle_id].code == "mislabelled"
    assert "differ" in told[first.particle_id].message
    assert "suggestions" in told["nowhere"].message
    assert first.particle_id not in {s.member for s in found.samples}


def test_pixels_that_are_gone_are_told(run: Path, made) -> None:
    cruise = made.path.parent / "cruise"
    cruise.rename(cruise.with_name("elsewhere"))
    try:
        with pytest.raises(SettingError, match=r"no usable image.*1450\.tar does not exist"):
            scan([run])
    finally:
        cruise.with_name("elsewhere").rename(cruise)


def test_suggested_particles_count_too(run: Path, made) -> None:
    chosen = suggest(run, 12)
    labels = [(one.particle_id, made.truth[one.particle_id]) for one in chosen]
    LabelStore(run, support.CLASSES).add(labels, "Anna")
    members = {s.member for s in scan([run], outside=True).samples}
    assert {one.particle_id for one in chosen} <= members
    assert len(members) == len(made.sample) + 12


def test_a_manifest_splits_a_run_by_its_bins(run: Path, tmp_path: Path) -> None:
    samples = split([replace(s, bin="") for s in scan([run]).samples])
    path = tmp_path / "manifest.csv"
    path.write_text(manifest(samples), "utf-8")
    found = load_labelled([run], manifest=path)
    assert len(found.samples) == len(samples)
    test = of_split(found, "test")
    assert len(list(read_rgb(found, test))) == len(test) > 5


def test_a_run_without_labels_is_told(run: Path) -> None:
    (run / "validation/labels.csv").unlink()
    for path in (run, run / "validation"):
        with pytest.raises(SettingError, match="nobody has labelled"):
            scan([path])
