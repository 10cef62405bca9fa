"""A run with a model that tells what is unlike training: column, flag, counts and report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
import support

from pi10_classifier.classify import classify
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.session import Model
from pi10_classifier.report.page import write_report
from pi10_classifier.results.columns import columns


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose threshold half of the test's particles are above."""
    home = tmp_path_factory.mktemp("told")
    model = Model.load(support.novelty_package(home / "any"))
    tar = support.write_tar(home / "a.tar", support.bin_members(20))
    run = classify([str(tar)], home / "out", Settings(model=home / "any", jobs=1))
    values = ds.dataset(run.out / "predictions.parquet").to_table()["novelty"].to_pylist()
    assert model.package.novelty is not None
    return support.novelty_package(home / "half", float(np.median(values)))


@pytest.fixture(scope="module")
def out(cruise: Path, told: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "out"
    classify([str(cruise)], folder, Settings(model=told, jobs=2))
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def predictions(out: Path) -> list[dict[str, Any]]:
    table = ds.dataset(out / "predictions.parquet").to_table()
    assert table.column_names == columns(support.CLASSES, novelty=True)
    return list(table.to_pylist())


def test_the_flag_is_where_the_number_is_above_the_threshold(out: Path, told: Path) -> None:
    threshold = np.float32(json.loads((told / "model.json").read_text())["novelty"]["threshold"])
    flagged = 0
    for row in predictions(out):
        unlike = "unlike_training" in row["flags"].split(";")
        assert unlike == (row["novelty"] is not None and row["novelty"] > threshold)
        assert (row["novelty"] is None) == (row["label"] == "no_particle")
        flagged += unlike
    assert 0 < flagged < len(predictions(out))


@pytest.mark.parametrize("name", ["counts.csv", "bins.csv"])
def test_tables_and_run_count_the_flags(out: Path, name: str) -> None:
    wanted: dict[tuple[str, str], int] = {}
    for row in predictions(out):
        key = (row["bin"] or "", row["label"])
        wanted[key] = wanted.get(key, 0) + ("unlike_training" in row["flags"])
    found: dict[tuple[str, str], int] = {}
    for line in rows(out / name):
        assert int(line["unlike_training"]) <= int(line["count"])
        key = (line["bin"], line["label"])
        found[key] = found.get(key, 0) + int(line["unlike_training"])
    assert {key: n for key, n in found.items() if n} == {k: n for k, n in wanted.items() if n}
    run = json.loads((out / "run.json").read_text("utf-8"))["unlike_training"]
    assert run["flagged"] == sum(wanted.values()) == sum(run["by_class"].values())
    assert run["images"] == sum(row["label"] != "no_particle" for row in predictions(out))
    assert run["share"] == pytest.approx(run["flagged"] / run["images"], abs=5e-5)
    assert run["expected"] == 0.02


def test_a_minute_is_counted_where_its_images_are(out: Path) -> None:
    wanted: dict[tuple[str, str, str], int] = {}
    for row in predictions(out):
        if "unlike_training" in row["flags"] and row["bin"] and row["datetime"]:
            key = (row["bin"], f"{row['datetime']:%Y-%m-%dT%H:%M:00Z}", row["label"])
            wanted[key] = wanted.get(key, 0) + 1
    found = {
        (line["bin"], line["minute"], line["label"]): int(line["unlike_training"])
        for line in rows(out / "counts.csv")
        if line["bin"] and line["minute"] and line["unlike_training"] != "0"
    }
    assert wanted
    assert found == wanted


def test_label_and_density_do_not_depend_on_it(out: Path, cruise: Path, package: Path) -> None:
    plain = out.parent / "plain"
    classify([str(cruise)], plain, Settings(model=package, jobs=2))
    for name in ("counts.csv", "bins.csv"):
        without = [{k: v for k, v in row.items() if k != "unlike_training"}
                   for row in rows(out / name)]  # fmt: skip
        assert without == rows(plain / name)
    table = ds.dataset(plain / "predictions.parquet").to_table()
    assert table.column_names == columns(support.CLASSES)
    assert "unlike_training" not in json.loads((plain / "run.json").read_text("utf-8"))
    journals = [p.read_text("utf-8") for p in (plain / "journal").glob("*.json")]
    assert not any("unlike_training" in text or "novelty" in text for text in journals)


def test_the_report_shows_it(out: Path) -> None:
    page = write_report(out).read_text("utf-8")
    run = json.loads((out / "run.json").read_text("utf-8"))["unlike_training"]
    assert "Unlike the training images" in page
    assert f"{run['flagged']} of {run['images']} images with a particle" in page
    assert "2.0 % would be" in page
    plain = write_report(out.parent / "plain").read_text("utf-8")
    assert "Unlike the training images" not in plain


def test_another_threshold_is_not_resumed(cruise: Path, told: Path, tmp_path: Path) -> None:
    tar = support.write_tar(tmp_path / "a.tar", support.bin_members(4))
    other = support.novelty_package(tmp_path / "other", 0.123)
    classify([str(tar)], tmp_path / "out", Settings(model=told, jobs=1))
    again = Settings(model=other, jobs=1)
    with pytest.raises(SettingError, match="novelty_threshold was"):
        classify([str(tar)], tmp_path / "out", again, resume=True)


def test_jobs_and_a_second_run_change_no_byte(cruise: Path, told: Path, tmp_path: Path) -> None:
    folders = []
    for jobs in (1, 4):
        folders.append(tmp_path / f"{jobs}")
        classify([str(cruise)], folders[-1], Settings(model=told, jobs=jobs))
    first, second = (
        {p.name: p.read_bytes() for p in sorted((f / "predictions.parquet").iterdir())}
        | {name: (f / name).read_bytes() for name in ("counts.csv", "bins.csv")}
        for f in folders
    )
    assert first == second
