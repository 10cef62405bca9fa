"""What a second run may do to the results of a first one."""

from __future__ import annotations

from pathlib import Path

import pytest
import support

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.results.run_folder import RunFolder


@pytest.fixture
def cruise(tmp_path: Path) -> Path:
    support.write_tar(tmp_path / "cruise" / "1450.tar", support.bin_members(6))
    return tmp_path / "cruise"


def run(package: Path, out: Path, *inputs: Path, resume: bool = False) -> RunResult:
    settings = Settings(model=package, jobs=1)
    return classify([str(path) for path in inputs], out, settings, resume=resume)


def test_other_inputs_do_not_resume(package: Path, cruise: Path, tmp_path: Path) -> None:
    run(package, tmp_path / "out", cruise)
    with pytest.raises(SettingError, match="inputs was"):
        run(package, tmp_path / "out", cruise / "1450.tar", resume=True)


def test_one_folder_spelled_twice_is_refused(package: Path, cruise: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(cruise)
    with pytest.raises(SettingError, match="counted twice"):
        run(package, tmp_path / "out", cruise, tmp_path / "link")


def test_results_among_the_inputs_are_none_of_them(package: Path, cruise: Path) -> None:
    first = run(package, cruise / "results", cruise)
    again = run(package, cruise / "results", cruise, resume=True)
    assert again.tally.totals == first.tally.totals


def test_a_second_run_waits_its_turn(package: Path, cruise: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out", ["a", "b"])
    folder.open({}, resume=False, overwrite=False)
    with pytest.raises(SettingError, match="another run is writing"):
        run(package, tmp_path / "out", cruise, resume=True)
    folder.close()


def test_a_cut_part_is_made_again(package: Path, cruise: Path, tmp_path: Path) -> None:
    run(package, tmp_path / "out", cruise)
    [part] = (tmp_path / "out" / "predictions.parquet").glob("*.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[:100])
    run(package, tmp_path / "out", cruise, resume=True)
    assert part.read_bytes() == whole


def test_what_is_gone_is_kept_and_said(package: Path, cruise: Path, tmp_path: Path) -> None:
    support.write_tar(cruise / "1500.tar", support.bin_members(3))
    first = run(package, tmp_path / "out", cruise)
    (cruise / "1500.tar").unlink()
    again = run(package, tmp_path / "out", cruise, resume=True)
    assert again.tally.totals == first.tally.totals
    assert any("no longer among the inputs" in text for text in again.tally.warnings)
