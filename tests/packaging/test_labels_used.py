"""A package tells which labelled particles it is made of, and they judge it no more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import labelled_run
import marks
import numpy as np
import pytest
import support
from click.testing import CliRunner, Result

from pi10_classifier.classify import classify
from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.evaluate import evaluate
from pi10_classifier.inference.settings import Settings
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.labelled import made_of, used
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.calibrate import calibrate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> labelled_run.LabelledRun:
    return labelled_run.build(tmp_path_factory.mktemp("used"), size=160)


@pytest.fixture(scope="module")
def adapted(made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    pytest.importorskip("skl2onnx")
    out = tmp_path_factory.mktemp("adapted") / "adapted"
    done = ask("adapt", "--anyway", "--model", made.package, "--gallery", made.path / "validation",
               "--head", "linear", "--out", out)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "fitted on the labels of survey" in done.output
    assert "label 'artefact' is not a class" in done.output
    return out


def ask(*words: object) -> Result:
    return CliRunner().invoke(pi10, [str(word) for word in words])


def test_an_adapted_package_names_its_particles(made, adapted: Path) -> None:
    description = json.loads((adapted / "model.json").read_text())
    (entry,) = description["validated"]
    ids = [d.particle_id for d in made.sample]
    particles = [name for name in ids if made.truth[name] != "artefact"]
    assert entry["how"] == "adapted"
    assert "particles of survey" in (adapted / "README.md").read_text("utf-8")
    assert entry["particles"] == entry["of_sample"] == len(particles)
    assert made_of([entry], [*ids, "nobody"]) == set(particles)
    figures = evaluate(Model.load(adapted), [made.path])
    assert figures["data"]["fitted_on"] == len(particles)


def test_a_run_of_that_package_needs_a_sample_of_its_own(made, adapted, tmp_path: Path) -> None:
    run = tmp_path / "again"
    classify([str(made.path.parent / "cruise")], run, Settings(model=adapted, jobs=2))
    drawn = ask("validate", "draw", run, "--n", 100)
    assert "was fitted on" in drawn.output
    _, sample = draw(run, 100)
    labels = [(one.particle_id, made.truth[one.particle_id]) for one in sample]
    LabelStore(run, support.CLASSES).add(labels, "Anna")
    refused = ask("validate", "estimate", run)
    assert isinstance(refused.exception, SettingError)
    assert "--seed" in refused.exception.message
    # the first run is of the model that was not adapted
    assert ask("validate", "estimate", made.path).exit_code == 0


def test_calibration_is_told_but_corrects_no_less(made, tmp_path: Path) -> None:
    done = ask("calibrate", "--model", made.package, "--data", made.path, "--precision", "0.8",
               "--confidence", "0.9", "--out", tmp_path / "sure")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "margin" in done.output
    assert "densities are not touched" in done.output
    description = json.loads((tmp_path / "sure/model.json").read_text())
    assert description["validated"][0]["how"] == "calibrated"
    assert description["calibration"]["wish"] == "precision 0.8 with confidence 0.9"
    ids = [d.particle_id for d in made.sample]
    assert made_of(description["validated"], ids)
    assert not made_of(description["validated"], ids, calibrated=False)
    run = tmp_path / "again"
    cruise = str(made.path.parent / "cruise")
    classify([cruise], run, Settings(model=tmp_path / "sure", jobs=2))
    shutil.copytree(made.path / "validation", run / "validation")
    assert ask("validate", "estimate", run).exit_code == 0


def test_a_temperature_at_its_bound_is_told(tmp_path: Path) -> None:
    data = marks.tree(tmp_path / "data", {"copepod": 20, "detritus": 20, "noncopepod": 20})
    # labels that have nothing to do with the images
    rng = np.random.default_rng(0)
    rows = [f"{path.relative_to(tmp_path / 'data')},{rng.choice(support.CLASSES)}"
            for path in sorted(data.rglob("*.png"))]  # fmt: skip
    table = data / "labels.csv"
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    package = marks.package(tmp_path / "package", strength=0.3)
    done = calibrate(Model.load(package), [table], tmp_path / "hot")
    assert done.at_bound
    told = ask("calibrate", "--model", package, "--data", table, "--out", tmp_path / "out")
    assert "at the end of its range: scores hardly tell" in told.output
    gentle = Model.load(marks.package(tmp_path / "gentle", strength=0.004))
    cold = calibrate(gentle, [marks.tree(tmp_path / "clear", {"copepod": 40})],
                     tmp_path / "cold")  # fmt: skip
    assert cold.at_bound
    assert cold.temperature < 1


def test_damaged_entries_are_told(made) -> None:
    entry = used(made.path, ["a"], "adapted")
    assert made_of([entry], ["a", "b"]) == {"a"}
    for wrong in ({**entry, "ids": "?"}, {"how": "adapted"}, 7):
        with pytest.raises(SettingError, match="damaged"):
            made_of([wrong], ["a"])


def test_a_split_keeps_a_test_part(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("skl2onnx")
    some = labelled_run.build(tmp_path / "home", size=150, bins=5)
    split = ask("dataset", some.path, "--out", tmp_path / "data")
    assert split.exit_code == 0, split.output
    manifest = tmp_path / "data/manifest.csv"
    words = ("--manifest", manifest, "--out")
    done = ask("adapt", "--model", some.package, "--gallery", some.path, "--anyway",
               *words, tmp_path / "adapted")  # fmt: skip
    assert done.exit_code == 0, done.output
    model = Model.load(tmp_path / "adapted")
    figures = evaluate(model, [some.path], manifest=manifest)
    assert figures["data"]["fitted_on"] == 0
    (entry,) = model.package.description["validated"]
    of_a_class = sum(some.truth[d.particle_id] != "artefact" for d in some.sample)
    assert figures["data"]["judged"] + entry["particles"] == of_a_class
    assert figures["surveys"]["survey"]["labelled"] == figures["data"]["judged"]
    assert evaluate(model, [some.path], manifest=manifest, split="train")["data"]["fitted_on"] > 50
