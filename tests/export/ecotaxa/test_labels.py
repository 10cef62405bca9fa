"""Labels of people go to EcoTaxa, and come back from it."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import support
from click.testing import CliRunner
from ecotaxa_import import read_bundles
from ecotaxa_runs import (
    Survey,
    Write,
    change_part,
    export,
)

from pi10_classifier.cli import pi10
from pi10_classifier.labelling.crops import read_crops
from pi10_classifier.labelling.labelled import read_labelled
from pi10_classifier.labelling.labels import LabelStore


def test_labels_of_people_are_validated_with_their_person(run: Path, write: Write) -> None:
    store = LabelStore(run, support.CLASSES)
    known = {label.particle_id: label for label in store.read()}
    odd, several = sorted(known)[:2]
    other = next(name for name in support.CLASSES if name != known[odd].label)
    store.add([(odd, other)], "Ben")
    store.add([(several, "several")], "Anna")
    done = write(run)
    rows = {row["object_id"]: row for row in read_bundles(done.paths)}
    assert (done.validated, done.contradicting) == (len(known) - 1, 1)
    names = {"copepod": "Copepoda", "noncopepod": "Animalia", "detritus": "detritus"}
    for name, row in rows.items():
        if name in known and name != odd:
            assert row["object_annotation_status"] == "validated"
            assert row["object_annotation_person_name"] == "Anna"
            label = "several" if name == several else known[name].label
            wanted = {**names, "several": "multiple<other"}.get(label, label)
            assert row["object_annotation_category"] == wanted
            assert len(row["object_annotation_date"]) == 8
        else:
            assert row["object_annotation_status"] == "predicted"
            assert row["object_annotation_category"] == names[row["object_predicted"]]
            assert row["object_annotation_person_name"] == ""
    copepods = [row for row in rows.values() if row["object_annotation_category"] == "Copepoda"]
    assert {row["object_annotation_category_id"] for row in copepods} == {"25828"}
    assert {"Animalia", "artefact", "multiple<other"} <= set(done.by_name)


def test_the_email_is_that_of_the_person_in_the_dataset(run: Path, write: Write) -> None:
    name = "pia7.2024-06-24.1450+N00000000"
    store = LabelStore(run, support.CLASSES)
    label = {line.particle_id: line.label for line in store.read()}.get(name, "copepod")
    store.add([(name, label)], "anna berg")
    rows = {row["object_id"]: row for row in read_bundles(write(run).paths)}
    assert rows[name]["object_annotation_person_email"] == "anna@example.org"


def test_round_trip_keeps_every_id(run: Path, survey: Survey, tmp_path: Path) -> None:
    assert export(run, tmp_path / "b.zip").exit_code == 0
    sample = {drawn.particle_id for drawn in survey.sample}
    rows = [row for row in read_bundles([tmp_path / "b.zip"]) if row["object_id"] in sample]
    above = {"Copepoda": "living>Metazoa>Crustacea>Copepoda", "detritus": "not-living>detritus",
             "Animalia": "Biota>Animalia", "artefact": "not-living>artefact"}  # fmt: skip
    # as EcoTaxa writes its exports: one line of names, the hierarchy, without types
    names = ("object_id", "object_annotation_status", "object_annotation_category",
             "object_annotation_hierarchy", "object_annotation_person_name")  # fmt: skip
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
    table.writerow(names)
    for row in rows:
        category = row["object_annotation_category"]
        table.writerow((row["object_id"], "validated", category, above[category], "Ben"))
    with zipfile.ZipFile(tmp_path / "back.zip", "w") as back:
        back.writestr("ecotaxa_export_1.tsv", text.getvalue().encode("utf-8-sig"))
    words = ["validate", "import", str(run), str(tmp_path / "back.zip"), "--json"]
    answer = CliRunner().invoke(pi10, words)
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert (told["taken"], told["unknown_ids"], told["unknown_labels"]) == (len(sample), [], {})
    labels = LabelStore(run, support.CLASSES).read()
    back_labels = {line.particle_id: line.label for line in labels if line.labeller == "Ben"}
    assert back_labels == {name: survey.truth[name] for name in sample}


def test_labels_of_particles_outside_the_sample_come_back_too(
    package: Path, tmp_path: Path, write: Write, classified: Callable[[Path], Path]
) -> None:
    """Of a run of which no sample was drawn; a later draw and the estimate leave them alone."""
    support.write_tar(tmp_path / "in/1450.tar", support.bin_members(40))
    support.write_folder(tmp_path / "in/loose", {"a  b é.tif": support.particle(5)})
    run = classified(tmp_path / "in")
    change_part(run, lambda cells: cells["particle_id"].__setitem__(0, "y" * 300))
    rows = read_bundles(write(run).paths)
    lines = ["object_id\tobject_annotation_status\tobject_annotation_category"]
    lines += [f"{row['object_id']}\tvalidated\tCopepoda" for row in rows[::2]]
    lines += [f"{row['object_id']}\tpredicted\tCopepoda" for row in rows[1::2]]
    (tmp_path / "back.tsv").write_bytes("\n".join(lines).encode("utf-8-sig"))
    words = ["validate", "import", str(run), str(tmp_path / "back.tsv"), "--json"]
    for taken in (21, 0):  # the second time all are known
        answer = CliRunner().invoke(pi10, words)
        assert answer.exit_code == 0, answer.output
        told = json.loads(answer.stdout)
        assert (told["taken"], told["unknown_ids"]) == (taken, [])
    ids = {row["particle_id"] for row in support.rows_of(run)}
    labelled = read_labelled(run)
    assert len(labelled.particles) == 21 and not labelled.lost
    assert {place.particle_id for place, _ in labelled.particles} <= ids
    assert {label for _, label in labelled.particles} == {"copepod"}
    assert all(crop.rgb is not None for crop in read_crops(run, [p for p, _ in labelled.particles]))
    assert write(run, name="again.zip").validated == 21
    CliRunner().invoke(pi10, ["validate", "suggest", str(run), "--n", "5"], catch_exceptions=False)
    assert not read_labelled(run).lost
