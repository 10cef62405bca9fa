"""Faults met at sea, from files to tables: what is unknown is never told as a number.

Three particles a minute for ten minutes, and one thing that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import support
from scipy.stats import chi2

from pi10_classifier.classify import RunResult

Start = Callable[..., RunResult]
BEGIN = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)
BIN = "pia7.2024-06-24.1450"
PARTICLES = [support.particle(seed) for seed in range(3)]


def members(
    rows: str | None = None, start: datetime = BEGIN, clock: timedelta = timedelta()
) -> dict[str, bytes]:
    """A bin of 30 images; ``rows``: HitsMisses.txt, that of 3 hits and no misses by default."""
    found = {
        f"RawImages/pia7.{start:%Y-%m-%d.%H%M}+N{n:08d}.tif": support.particle(
            n % 3, start + clock + timedelta(minutes=n // 3, seconds=1 + n % 3)
        )
        for n in range(30)
    }
    return found | {"HitsMisses.txt": (rows or "3,0\n" * 10).encode()}


def table(run: RunResult, name: str = "bins.csv") -> list[dict[str, str]]:
    return support.csv_of(run.out / name)


def total(run: RunResult) -> float:
    """Individuals per litre of all classes together."""
    return sum(float(row["per_litre"]) for row in table(run))


def is_unknown(run: RunResult) -> bool:
    return {row["per_litre"] for row in table(run)} == {""}


def test_a_bin_that_cannot_be_read(start: Start, tmp_path: Path) -> None:
    cut = {k: v[:1000] if k.endswith("tif") else v for k, v in members().items()}
    run = start(support.write_tar(tmp_path / "2024-06-24/1450.tar", cut))
    assert run.exit_code == 4
    assert is_unknown(run)
    assert {row["bin"] for row in table(run)} == {BIN}
    assert all("hits_without_images" in row["flags"] for row in table(run))


def test_beside_others_it_changes_nothing(start: Start, tmp_path: Path) -> None:
    later = BEGIN + timedelta(minutes=10)
    support.write_tar(tmp_path / "in/2024-06-24/1500.tar", members(start=later))
    alone = {(row["bin"], row["label"]): row["per_litre"] for row in table(start(tmp_path / "in"))}
    cut = {k: v[:1000] if k.endswith("tif") else v for k, v in members().items()}
    support.write_tar(tmp_path / "in/2024-06-24/1450.tar", cut)
    run = start(tmp_path / "in", out="both")
    assert run.exit_code == 3
    both = {(row["bin"], row["label"]): row["per_litre"] for row in table(run)}
    assert {key: value for key, value in both.items() if key in alone} == alone
    assert {value for (bin_id, _), value in both.items() if bin_id == BIN} == {""}


def test_a_part_that_cannot_be_read_is_taken_to_be_like_the_rest(
    start: Start, tmp_path: Path
) -> None:
    names = [name for name in members("3,9\n" * 10) if name.endswith("tif")]
    files = members("3,9\n" * 10)
    files |= {name: files[name][:1000] for name in names[::3]}  # one of three in each minute
    run = start(support.write_tar(tmp_path / "2024-06-24/1450.tar", files))
    assert total(run) == pytest.approx(12 / 34, rel=1e-5)
    assert {row["share_of_hits"] for row in table(run)} == {"0.666667"}
    assert all("hits_unseen" in row["flags"] for row in table(run))


def test_images_moved_away(start: Start, tmp_path: Path) -> None:
    files = members("3,9\n" * 10)
    support.write_folder(
        tmp_path / "in/2024-06-24/1450", {"HitsMisses.txt": files.pop("HitsMisses.txt")}
    )
    support.write_folder(tmp_path / "in/sorted", {Path(k).name: v for k, v in files.items()})
    run = start(tmp_path / "in")
    assert {row["bin"] for row in table(run)} == {BIN}
    assert is_unknown(run)
    assert any("put them together" in text for text in run.tally.warnings)


def test_a_clock_that_is_an_hour_off(start: Start, tmp_path: Path) -> None:
    files = members(clock=timedelta(hours=1))
    run = start(support.write_tar(tmp_path / "2024-06-24/1450.tar", files))
    assert is_unknown(run)
    assert sum(int(row["count"]) for row in table(run)) == 30
    assert any("set the instrument's clock" in text for text in run.tally.warnings)
    flags = {row["flags"] for row in support.rows_of(run.out)}
    assert all("clock_outside_bin" in one for one in flags)


@pytest.mark.parametrize(
    "rows",
    [
        "3,9\n" * 11,
        "30,90\n" + "3,9\n" * 10,
        "3,9\n" * 10 + "30,90\n",
        "3,9\n" * 10 + "total,30,90\n",
    ],
)
def test_more_rows_than_minutes(start: Start, tmp_path: Path, rows: str) -> None:
    run = start(support.write_tar(tmp_path / "2024-06-24/1450.tar", members(rows)))
    assert total(run) == pytest.approx(12 / 34, rel=1e-5)
    assert {row["litres"] for row in table(run)} == {"340"}


def test_a_blank_row(start: Start, tmp_path: Path) -> None:
    rows = ["3,0"] * 2 + [""] + ["3,0"] * 3 + ["3,0"] * 4
    files = members("\n".join(rows) + "\n")
    run = start(support.write_tar(tmp_path / "2024-06-24/1450.tar", files))
    assert total(run) == pytest.approx(3 / 34, rel=1e-5)
    unknown = {row["minute"] for row in table(run, "counts.csv") if not row["per_litre"]}
    assert unknown == {"2024-06-24T14:52:00Z"}


def test_pooled_bins_have_exact_limits(start: Start, tmp_path: Path) -> None:
    for number in range(6):
        begin = BEGIN + timedelta(minutes=10 * number)
        support.write_tar(tmp_path / f"in/2024-06-24/{begin:%H%M}.tar", members(start=begin))
    run = start(tmp_path / "in")
    for label, density in run.tally.densities["all"].items():
        assert density
        k = run.tally.labels[label]
        assert density.low * 2040 == pytest.approx(chi2.ppf(0.025, 2 * k) / 2 if k else 0)
        assert density.high * 2040 == pytest.approx(chi2.ppf(0.975, 2 * k + 2) / 2)


def test_a_copy_beside_its_archive(start: Start, tmp_path: Path) -> None:
    files = members("3,9\n" * 10)
    archive = support.write_tar(tmp_path / "in/2024-06-24/1450.tar", files)
    once = start(archive, out="once")
    support.write_folder(tmp_path / "in/2024-06-24/1450", files)
    twice = start(tmp_path / "in")
    for one, other in zip(table(once), table(twice), strict=True):
        for name in ("raised_count", "per_litre", "per_litre_low", "per_litre_high"):
            assert other[name] == one[name]
        assert "images_beyond_hits" in other["flags"]
    assert any("remove copies" in text for text in twice.tally.warnings)


def test_a_clock_that_was_never_set(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    files = members()
    for name in list(files)[:3]:
        files[name] = support.particle(1, datetime(2000, 1, 1, 0, 0, 7, tzinfo=UTC))
    run = start(support.write_tar(tmp_path / "2024-06-24/1450.tar", files))
    assert {row["start"] for row in table(run)} == {"2024-06-24T14:50:00Z"}
    from pi10_classifier.report.page import write_report

    page = write_report(run.out).read_text()
    assert "Imaged 2024-06-24 14:51:01" in page
    assert "2000-01-01" not in page


def test_a_clock_that_is_three_minutes_off(start: Start, tmp_path: Path) -> None:
    files = members(clock=timedelta(minutes=3))
    run = start(support.write_tar(tmp_path / "2024-06-24/1450.tar", files))
    known = [row for row in table(run, "counts.csv") if row["per_litre"]]
    assert known
    assert all("clock_shifted" in row["flags"] for row in known)
    assert {row["quality_l20"] for row in known} == {"4"}


@pytest.mark.parametrize("same", [True, False])
def test_two_sidecars_of_one_bin(start: Start, tmp_path: Path, same: bool) -> None:
    """They must agree: the order in which they are read decides nothing."""
    files = members("3,9\n" * 10)
    other = files["HitsMisses.txt"] if same else b"3,99\n" * 10
    run = start(support.write_folder(tmp_path / "in", files | {"RawImages/HitsMisses.txt": other}))
    if same:
        assert total(run) == pytest.approx(12 / 34, rel=1e-5)
    else:
        assert is_unknown(run)
        assert any("two different ones" in text for text in run.tally.warnings)


def test_half_a_bin_that_is_there_twice_is_told(start: Start, tmp_path: Path) -> None:
    files = members("6,0\n" * 10)  # half of the hits, in an archive and beside it
    support.write_tar(tmp_path / "in/2024-06-24/1450.tar", files)
    support.write_folder(tmp_path / "in/2024-06-24/1450", files)
    run = start(tmp_path / "in")
    assert all("several_places" in row["flags"] for row in table(run))
    assert {row["quality_l20"] for row in table(run)} == {"3"}


def test_each_particle_has_the_factor_of_its_minute(start: Start, tmp_path: Path) -> None:
    """From an archive and from loose files, whose sidecar lies in another part, alike."""
    rows = "".join(f"3,{9 * minute}\n" for minute in range(10))
    files = members(rows)
    archive = start(support.write_tar(tmp_path / "2024-06-24/1450.tar", files), out="archive")
    support.write_folder(tmp_path / "in/2024-06-24/1450", files)
    loose = start(tmp_path / "in", out="loose")
    for run in (archive, loose):
        for row in support.rows_of(run.out):
            minute = int(row["particle_id"][-8:]) // 3
            assert row["raising_factor"] == pytest.approx(1 + 3 * minute)
