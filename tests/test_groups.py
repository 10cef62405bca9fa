"""A run with --groups: the column, its counts, and tables as before without the option."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
import support
from click.testing import CliRunner

from pi10_classifier.classify import classify
from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.results.columns import columns


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    w = support.weights(len(support.GROUPS), 29)  # gives images to three of the groups
    return support.grouped_package(tmp_path_factory.mktemp("model") / "grouped", w)


@pytest.fixture(scope="module")
def out(cruise: Path, grouped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "out"
    classify([str(cruise)], folder, Settings(model=grouped, jobs=2, groups=True))
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    return list(ds.dataset(folder / "predictions.parquet").to_table().to_pylist())


def test_the_group_is_one_of_the_class(out: Path) -> None:
    table = ds.dataset(out / "predictions.parquet").to_table()
    assert table.column_names == columns(support.CLASSES, groups=True)
    met = set()
    for row in table.to_pylist():
        if row["label"] == "no_particle":
            assert row["group"] is None
        else:
            assert support.GROUPS[row["group"]] == row["label"]
            met.add(row["group"])
    assert met == {"calanoid", "fibre", "speck"}, "both groups of detritus"


def test_the_run_counts_the_groups(out: Path) -> None:
    run = json.loads((out / "run.json").read_text("utf-8"))
    told = run["results_by_group"]
    counted = Counter(row["group"] for row in rows(out) if row["group"])
    assert list(told) == list(support.GROUPS)
    assert told == {name: counted[name] for name in support.GROUPS}
    by_class: Counter[str] = Counter()
    for name, count in told.items():
        by_class[support.GROUPS[name]] += count
    assert {k: n for k, n in run["results_by_class"].items() if k in support.CLASSES} == by_class


def test_without_the_option_there_is_no_trace_of_groups(
    cruise: Path, grouped: Path, out: Path, tmp_path: Path
) -> None:
    classify([str(cruise)], tmp_path / "plain", Settings(model=grouped, jobs=2))
    plain = rows(tmp_path / "plain")
    assert plain == [{k: v for k, v in row.items() if k != "group"} for row in rows(out)]
    for name in support.TABLES:
        assert (tmp_path / "plain" / name).read_bytes() == (out / name).read_bytes()
    assert "results_by_group" not in json.loads((tmp_path / "plain/run.json").read_text("utf-8"))
    for path in (tmp_path / "plain/journal").glob("*.json"):
        assert "groups" not in json.loads(path.read_text("utf-8"))


def test_a_run_is_not_resumed_with_another_choice(
    cruise: Path, grouped: Path, out: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=r"groups was .*, is None"):
        classify([str(cruise)], out, Settings(model=grouped, jobs=2), resume=True)
    text = (grouped / "model.json").read_text("utf-8")
    text = text.replace('"fibre"', '"filament"')  # the graph, and so its hash, is the same
    other = shutil.copytree(grouped, tmp_path / "renamed")
    (other / "model.json").write_text(text, "utf-8")
    with pytest.raises(SettingError, match="groups was"):
        classify([str(cruise)], out, Settings(model=other, jobs=2, groups=True), resume=True)
    before = {path.name: path.read_bytes() for path in (out / "predictions.parquet").iterdir()}
    classify([str(cruise)], out, Settings(model=grouped, jobs=1, groups=True), resume=True)
    assert before == {p.name: p.read_bytes() for p in (out / "predictions.parquet").iterdir()}


def test_a_model_without_groups_is_refused_before_any_work(package: Path, tmp_path: Path) -> None:
    tar = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
    told = CliRunner().invoke(
        pi10,
        ["classify", str(tar), "--model", str(package), "--groups", "--out", str(tmp_path / "out")],
    )
    assert isinstance(told.exception, SettingError)
    assert "predicts copepod, detritus, noncopepod alone, no groups" in str(told.exception)
    assert not (tmp_path / "out").exists()
