"""What packages are judged and fitted on: a scan, or a manifest's splits of unchanged files."""

from dataclasses import replace
from pathlib import Path

import marks
import pytest

from pi10_classifier.datasets import scan, selection
from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.manifest import manifest
from pi10_classifier.datasets.split import split
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.evaluate import evaluate
from pi10_classifier.model.session import Model

COUNTS = {"copepod": 40, "detritus": 30, "noncopepod": 20}


@pytest.fixture(scope="module")
def tars(shapes) -> list[Path]:
    return [shapes / "light.tar", shapes / "black.tar"]


@pytest.fixture(scope="module")
def written(scanned, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("split") / "manifest.csv"
    path.write_text(manifest(split(scanned.samples)), "utf-8")
    return path


def test_a_manifest_gives_the_scans_samples_and_its_splits(tars, written, scanned):
    found = selection.load_labelled(tars, manifest=written)
    assert [replace(s, split="") for s in found.samples] == list(scanned.samples)
    assert (found.classes, found.origins) == (scanned.classes, scanned.origins)
    parts = [selection.of_split(found, name) for name in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(found.samples)
    assert {s.split for s in parts[1]} == {"validation"}


def test_one_of_a_manifests_sources_may_be_judged_alone(tars, written):
    found = selection.load_labelled(tars[:1], manifest=written)
    assert {s.source for s in found.samples} == {"light"} and set(found.origins) == {"light"}


def test_an_input_that_the_manifest_does_not_know_is_told(tars, written, tmp_path):
    other = marks.tree(tmp_path / "other", {"copepod": 2})
    with pytest.raises(SettingError, match=r"other is not in .*whose sources are black, light"):
        selection.load_labelled([*tars, other], manifest=written)


def test_a_label_map_gives_a_manifests_labels_other_classes(tars, written):
    labels = LabelMap.of({"copepod/*": "animal", "other/*": "-", "detritus/detritus_0": "dead"})
    found = selection.load_labelled(tars, labels, written)
    assert found.classes == ("animal", "dead")
    codes = {x.member.split("/")[1]: x.code for x in found.left_out}
    assert codes["other_1"] == "label_left_out"
    assert codes["detritus_1"] == codes["noncopepod_0"] == "unknown_label"


def test_a_manifest_of_another_kind_is_named(tars, tmp_path):
    (tmp_path / "split.csv").write_text("source,member,group,label,split\n", "utf-8")
    with pytest.raises(SettingError, match=r"split\.csv: the manifest lacks sha256"):
        selection.load_labelled(tars, manifest=tmp_path / "split.csv")
    with pytest.raises(SettingError, match="cannot be read"):
        selection.load_labelled(tars, manifest=tmp_path)


class TestJudged:
    @pytest.fixture
    def model(self, tmp_path):
        return Model.load(marks.package(tmp_path / "m"))

    @pytest.fixture
    def tree(self, tmp_path):
        return marks.tree(tmp_path / "marks", COUNTS, doubt=1.2)

    def test_a_file_changed_since_the_split_is_refused(self, model, tree, tmp_path):
        samples = split(scan.scan([tree]).samples)
        path = tmp_path / "manifest.csv"
        path.write_text(manifest(samples), "utf-8")
        assert evaluate(model, [tree], manifest=path)["data"]["judged"] == sum(
            s.split == "test" for s in samples
        )
        changed = next(s for s in samples if s.split == "test").member
        (tree / changed).write_bytes((tree / "copepod" / "0039.png").read_bytes() + b"\0")
        with pytest.raises(SettingError, match=f"{changed} has SHA-256"):
            evaluate(model, [tree], manifest=path)

    def test_a_tables_splits_serve_without_a_manifest(self, model, tree, tmp_path):
        rows = "".join(
            f"marks/{s.member},{s.label},{s.split}\n" for s in split(scan.scan([tree]).samples)
        )
        table = tmp_path / "table.csv"
        table.write_text("path,label,split\n" + rows, "utf-8")
        tested = evaluate(model, [table], split="test")["data"]
        assert (tested["split"], tested["judged"]) == ("test", rows.count(",test\n"))
        assert evaluate(model, [table])["data"]["judged"] == 90
