"""No export replaces what a run was made of, or the run itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import support
from click.testing import CliRunner

from pi10_classifier.classify import Settings, classify
from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError


@pytest.fixture(scope="module")
def finished(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("own")
    shutil.copytree(cruise / "2024-06-24", home / "data")
    classify([str(home / "data")], home / "run", Settings(model=package, jobs=2))
    assert CliRunner().invoke(pi10, ["validate", "draw", str(home / "run")]).exit_code == 0
    return home


def refused(*words: object) -> str:
    result = CliRunner().invoke(pi10, [*map(str, words)])
    assert isinstance(result.exception, SettingError), result.output
    return result.exception.message


def test_what_the_run_was_made_of_stays(finished: Path) -> None:
    source = next(path for path in sorted((finished / "data").rglob("*")) if path.is_file())
    before = source.read_bytes()
    run = finished / "run"
    assert "classified from" in refused("export", "track", run, "--out", source, "--overwrite")
    assert "classified from" in refused("validate", "export", run, "--out", source)
    assert source.read_bytes() == before


@pytest.mark.parametrize("name", ["bins.csv", "validation/labels.csv", "journal/x", "."])
def test_the_run_itself_stays(finished: Path, name: str) -> None:
    run = finished / "run"
    before = support.csv_of(run / "bins.csv")
    assert "of the run itself" in refused("validate", "export", run, "--out", run / name)
    assert "of the run itself" in refused("validate", "crops", run, "--out", run / name)
    assert support.csv_of(run / "bins.csv") == before


def test_a_sheet_with_labels_in_it_is_not_replaced(finished: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "labels.csv"
    sheet.write_text("particle_id,label\n")
    assert "there already" in refused("validate", "export", finished / "run", "--out", sheet)
    assert sheet.read_text() == "particle_id,label\n"
