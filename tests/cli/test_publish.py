"""``pi10 export init``, ``dwca`` and ``netcdf`` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import published_run
import pytest
from click.testing import CliRunner, Result
from published_run import usual, write_run

from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError

FORMATS = [("dwca", "zip", "archive"), ("netcdf", "nc", "file")]


def ask(*words: object) -> Result:
    return CliRunner().invoke(pi10, ["export", *map(str, words)])


def refused(*words: object) -> str:
    answer = ask(*words)
    assert isinstance(answer.exception, SettingError), answer.output
    return str(answer.exception)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", [usual(), usual(1, at=None)])


def test_a_file_to_fill_in(tmp_path: Path) -> None:
    answer = ask("init", tmp_path / "facts.toml")
    assert answer.exit_code == 0
    assert "then: pi10 export dwca" in answer.output
    assert "is there already" in refused("init", tmp_path / "facts.toml")


@pytest.mark.parametrize(("command", "suffix", "key"), FORMATS)
def test_results_are_written_once(run: Path, command: str, suffix: str, key: str) -> None:
    if command == "netcdf":
        pytest.importorskip("netCDF4")
    out = run.parent / f"a.{suffix}"
    answer = ask(command, run, "--out", out)
    assert answer.exit_code == 0, answer.output
    assert out.exists()
    assert "without a position" in answer.stderr
    assert f"all are listed in {run.parent / f'a.{suffix}.left_out.csv'}" in answer.stderr
    assert "not published, as the taxon table asks: detritus" in answer.stderr
    assert "is there already; add --overwrite" in refused(command, run, "--out", out)
    told = json.loads(ask(command, run, "--out", out, "--overwrite", "--json").stdout)
    assert told[key] == str(out)
    assert set(told["left_out"]) == {"without a position"}


@pytest.mark.parametrize(("command", "suffix", "key"), FORMATS)
def test_what_cannot_be_written_is_told_first(
    run: Path, command: str, suffix: str, key: str
) -> None:
    out = run.parent / f"a.{suffix}"
    assert f"ends in .{suffix}" in refused(command, run, "--out", run.parent / "a.tsv")
    assert "there is no folder" in refused(command, run, "--out", run / f"gone/a.{suffix}")
    assert "pi10 export init" in refused(
        command, run, "--out", out, "--dataset", run / "gone.toml"
    )  # fmt: skip
    facts = run.parent / "other.toml"
    facts.write_text(published_run.DATASET.replace("4.5", '"deep"'), "utf-8")
    assert "a number in metres" in refused(command, run, "--out", out, "--dataset", facts)
    assert not out.exists()
    (run / "run.json").unlink()
    assert "no finished run" in refused(command, run, "--out", out)
