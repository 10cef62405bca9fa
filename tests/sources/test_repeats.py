"""Files that an archive holds twice: the last whole one counts, the others are listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import support
import tars

from pi10_classifier.classify import RunResult
from pi10_classifier.errors import Code
from pi10_classifier.sources import repeats
from pi10_classifier.sources.base import Item
from pi10_classifier.sources.repeats import (
    RepeatedFile,
    file_key,
    keep_last_copies,
    raise_on_repeat,
)

NAME = "pia7.2024-06-24.1450+N00000007"
ONE, TWO = support.particle(1), support.particle(2)
Start = Callable[..., RunResult]


def stream(*files: tuple[str, bytes | None]) -> Callable[[], list[Item]]:
    return lambda: [Item("s", name, data) for name, data in files]


def kept(*files: tuple[str, bytes | None]) -> list[int]:
    """Places of the items that count; the others must be listed."""
    read = stream(*files)
    found = list(keep_last_copies(lambda: iter(read())))
    assert [item.member for item in found] == [name for name, _ in files]
    lost = [item for item in found if item.error]
    assert all(item.error and item.error.code is Code.REPEATED_NAME for item in lost)
    assert not Code.REPEATED_NAME.retryable
    return [place for place, item in enumerate(found) if not item.error]


def test_nothing_is_changed_where_all_differ() -> None:
    files = [("a.tif", ONE), ("b.tif", ONE), ("b.png", ONE), ("x/", None), ("HitsMisses.txt", b"")]
    assert list(raise_on_repeat(iter(stream(*files)()))) == stream(*files)()
    assert kept(*files) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{NAME}.tif", f"{NAME}.TIFF"),
        (f"RawImages\\{NAME}.tif", f"RawImages/{NAME}.tif"),
        (f"RawImages/{NAME}.tif", f"1450/RawImages/{NAME}.tif"),
        ("\u00e9.png", "e\u0301.png"),
        ("a.tif", "./a.tif"),
    ],
)
def test_one_file_by_two_names_is_met_once(one: str, other: str) -> None:
    with pytest.raises(RepeatedFile):
        list(raise_on_repeat(iter(stream((one, ONE), (other, TWO))())))
    assert kept((one, ONE), (other, TWO)) == [1]


@pytest.mark.parametrize("gap", [0, 1, 3, 4, 5, 11])
def test_one_that_comes_again_later_is_met_before_the_end(
    monkeypatch: pytest.MonkeyPatch, gap: int
) -> None:
    monkeypatch.setattr(repeats, "RECENT", 4)  # then keys are held in three ways
    names = [f"{number}.tif" for number in range(12)]
    files = [(name, ONE) for name in names]
    assert [item.member for item in raise_on_repeat(iter(stream(*files)()))] == names
    again = [*files, (names[-1 - gap], ONE)]
    with pytest.raises(RepeatedFile):
        list(raise_on_repeat(iter(stream(*again)())))


def test_the_last_whole_one_counts() -> None:
    cut, name = ONE[:600], f"{NAME}.tif"
    assert kept((name, cut), (name, ONE)) == [1]
    assert kept((name, ONE), (name, cut)) == [0]
    assert kept((name, ONE), (name, TWO), (name, cut)) == [1]
    assert kept((name, cut), (name, b"")) == [0]


def test_sidecars_and_other_files_may_come_again() -> None:
    files = [("HitsMisses.txt", b"1,2"), ("HitsMisses.txt", b"1,2"), ("a.md", b""), ("a.md", b"")]
    list(raise_on_repeat(iter(stream(*files)())))


def test_labels_are_folders_so_a_particle_may_lie_in_two() -> None:
    files = stream((f"copepod/{NAME}.tif", ONE), (f"detritus/{NAME}.tif", ONE))
    list(raise_on_repeat(iter(files()), file_key))
    with pytest.raises(RepeatedFile):
        list(raise_on_repeat(iter(files())))


@pytest.mark.parametrize(("kind", "recent"), [("tar", repeats.RECENT), ("tgz", 880), ("zip", 100)])
def test_a_run_reads_such_an_archive_anew(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, recent: int
) -> None:
    """More members than are in work at once, so that rows were taken up before."""
    monkeypatch.setattr(repeats, "RECENT", recent)  # of 880, what repeats is met at the end alone
    images = [(name, data) for name, data in support.bin_members(900).items() if "Raw" in name]
    images[5] = (images[5][0], TWO)
    stale = [(name, ONE) for name, _ in images[:10]]
    path = tmp_path / f"1450.{kind}"
    files = [*images[10:], *stale, *images[:10]]
    if kind == "zip":
        import warnings
        import zipfile

        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as packed:
            warnings.simplefilter("ignore", UserWarning)
            for name, data in files:
                packed.writestr(zipfile.ZipInfo(name), data)
    else:
        import gzip

        data = tars.tar_of(*files)
        path.write_bytes(data if kind == "tar" else gzip.compress(data, 1))
    run = start(path, out="twice")
    assert dict(run.tally.failures_by_code) == {"repeated_name": 10}
    assert run.tally.totals["results"] == 900
    (tmp_path / "clean").mkdir()
    support.write_tar(tmp_path / "clean/1450.tar", dict([*images[10:], *images[:10]]))
    start(tmp_path / "clean/1450.tar", out="once")
    rows, clean = (support.rows_of(tmp_path / out) for out in ("twice", "once"))
    for row in (*rows, *clean):
        del row["source"]
    assert [row["particle_id"] for row in rows] == [row["particle_id"] for row in clean]
    assert [row["width_px"] for row in rows] == [row["width_px"] for row in clean]
    assert (tmp_path / "twice/counts.csv").read_text() == (tmp_path / "once/counts.csv").read_text()
    assert support.litter(tmp_path / "twice") == []
    again = start(path, out="twice", resume=True)
    assert again.units_resumed == 1
