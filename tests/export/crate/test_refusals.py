"""Of a damaged run no crate is written, and what is there is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from crate_facts import DAY, contents

from pi10_classifier.errors import SettingError
from pi10_classifier.export.crate.writer import write_crate
from pi10_classifier.export.dataset_facts import DatasetFacts


def cut_part(run: Path) -> None:
    part = next((run / "predictions.parquet").iterdir())
    part.write_bytes(part.read_bytes()[:-1])


def lose_part(run: Path) -> None:
    next((run / "predictions.parquet").iterdir()).unlink()


def add_part(run: Path) -> None:
    part = next((run / "predictions.parquet").iterdir())
    shutil.copy(part, part.with_name("other.parquet"))


def lose_table(run: Path) -> None:
    (run / "failures.csv").unlink()


def unfinish(run: Path) -> None:
    (run / "run.json").unlink()


def age(run: Path) -> None:
    path = run / "run.json"
    info = json.loads(path.read_text("utf-8"))
    del info["units"]
    path.write_text(json.dumps(info), "utf-8")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_part, "journal says"),
        (lose_part, "no bytes"),
        (add_part, "nothing of it"),
        (lose_table, r"no failures\.csv"),
        (unfinish, "no finished run"),
        (age, "another version"),
    ],
)
@pytest.mark.parametrize("name", ["crate", "crate.zip"])
def test_of_a_damaged_run_nothing_is_written(
    run: Path, facts: DatasetFacts, tmp_path: Path,
    damage: Callable[[Path], None], words: str, name: str,
) -> None:  # fmt: skip
    shutil.copytree(run, tmp_path / "run")
    damage(tmp_path / "run")
    with pytest.raises(SettingError, match=words):
        write_crate(tmp_path / "run", tmp_path / name, facts, DAY)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_there_is_kept_unless_asked(run: Path, facts: DatasetFacts, tmp_path: Path) -> None:
    out = tmp_path / "crate"
    write_crate(run, out, facts, DAY)
    (out / "bins.csv").write_text("older", "utf-8")
    with pytest.raises(SettingError, match="--overwrite"):
        write_crate(run, out, facts, DAY)
    assert (out / "bins.csv").read_text("utf-8") == "older"
    write_crate(run, out, facts, DAY, overwrite=True)
    assert (out / "bins.csv").read_bytes() == (run / "bins.csv").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["crate"]


@pytest.mark.parametrize(
    ("name", "zenodo", "words"),
    [
        ("photos", False, "no crate"),
        ("run", False, "no crate"),
        ("letter", False, "a file"),
        ("nowhere/crate", False, "make it first"),
        ("record.zip", True, "name a folder"),
    ],
)
def test_nothing_else_is_ever_replaced(
    run: Path, facts: DatasetFacts, tmp_path: Path, name: str, zenodo: bool, words: str
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one.png").write_bytes(b"1")
    (tmp_path / "letter").write_text("dear", "utf-8")
    shutil.copytree(run, tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(SettingError, match=words):
        write_crate(run, tmp_path / name, facts, DAY, zenodo=zenodo, overwrite=True)
    assert contents(tmp_path) == before
