"""The journal -> tables and totals."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import support

from pi10_classifier.errors import Code, Failure
from pi10_classifier.results.columns import Row
from pi10_classifier.results.part_writer import PartWriter
from pi10_classifier.results.raising_factor import write_factors
from pi10_classifier.results.run_folder import RunFolder, UnitRecord
from pi10_classifier.results.tables import Tally, summarise

BIN = "pia7.2024-06-24.1450"
MINUTES = tuple((10, 30) for _ in range(10))


WHEN = datetime(2024, 6, 24, 14, 53, 7, tzinfo=UTC)
ROWS = [
    Row(f"p{n}", "a.tar", "m", "pia7", BIN, WHEN, 54.0, 2.5, 20, 30, "copepod", 0.75, (0.75, 0.25),
        *(1.0,) * 11, *(None,) * 7, "", "tiny", "00")
    for n in range(3)
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "out", ("copepod", "detritus"))
    folder.open({"tables": 1}, resume=False, overwrite=False)
    return folder


def add(folder: RunFolder, unit: str, rows: Any = (), **fields: Any) -> None:
    writer = PartWriter(folder, unit)
    writer.add(rows)
    writer.publish(UnitRecord(unit, "", "1", **fields))


def counts(folder: RunFolder) -> list[dict[str, str]]:
    return support.csv_of(folder.path / "counts.csv")


def bins(folder: RunFolder) -> list[dict[str, str]]:
    return support.csv_of(folder.path / "bins.csv")


def one_bin(minute: str = "2024-06-24T14:53:00Z", **more: Any) -> dict[str, Any]:
    return {
        "inputs": 4,
        "results": 3,
        "skipped": 1,
        "counts": {(BIN, minute, "copepod"): 2, (BIN, minute, "detritus"): 1},
        "folders": {"a.tar|": {BIN}},
        "hits_misses": {"a.tar|": MINUTES},
        **more,
    }


def test_nothing_published(folder: RunFolder) -> None:
    tally = summarise(folder)
    assert dict(tally.totals) == {"inputs": 0, "results": 0, "failures": 0, "skipped": 0}
    assert tally.adds_up
    assert (folder.path / "failures.csv").read_text() == "source,member,code,message,retryable\n"
    assert counts(folder) == bins(folder) == []


def test_totals_are_sums_over_units(folder: RunFolder) -> None:
    failures = [Failure("b.tar", "x", Code.CORRUPT_IMAGE, "cut")]
    add(folder, "a.tar", **one_bin())
    add(folder, "b.tar", inputs=1, failures=failures)
    tally = summarise(folder)
    assert dict(tally.totals) == {"inputs": 5, "results": 3, "failures": 1, "skipped": 1}
    assert tally.adds_up
    assert tally.failures_by_code == {"corrupt_image": 1}
    assert tally.labels == {"copepod": 2, "detritus": 1}
    assert support.csv_of(folder.path / "failures.csv") == [
        {"source": "b.tar", "member": "x", "code": "corrupt_image", "message": "cut",
         "retryable": "false"},
    ]  # fmt: skip


def test_lost_inputs_do_not_add_up() -> None:
    tally = Tally()
    tally.totals.update(inputs=3, results=1, failures=1, skipped=0)
    assert not tally.adds_up


def test_minutes_are_raised_by_their_own_factor(folder: RunFolder) -> None:
    add(folder, "a.tar", **one_bin())
    summarise(folder)
    (line,) = [r for r in counts(folder) if r["minute"] == "2024-06-24T14:53:00Z"
               and r["label"] == "copepod"]  # fmt: skip
    assert (line["count"], line["hits"], line["misses"]) == ("2", "10", "30")
    assert (line["images"], line["share_of_hits"]) == ("3", "0.3")
    assert (line["raising_factor"], line["litres"]) == ("13.3333", "34")
    assert float(line["per_litre"]) == pytest.approx(2 * 40 / 3 / 34, rel=1e-5)
    assert "hits_unseen" in line["flags"]
    assert len(counts(folder)) == 20, "every minute and class has its line, zeros too"
    assert [(r["bin"], r["label"]) for r in bins(folder)] == [(BIN, "copepod"), (BIN, "detritus")]


def test_hits_misses_in_another_block_of_the_folder(folder: RunFolder) -> None:
    add(folder, "cruise#000000", **one_bin(hits_misses={}))
    add(folder, "cruise#000001", inputs=1, skipped=1, hits_misses={"a.tar|": MINUTES})
    summarise(folder)
    assert bins(folder)[0]["per_litre"] != ""


def test_no_hits_misses_leaves_density_empty_with_a_reason(folder: RunFolder) -> None:
    add(folder, "a.tar", **one_bin(hits_misses={}))
    summarise(folder)
    for line in counts(folder):
        assert line["per_litre"] == line["raised_count"] == ""
        assert "no_hits_misses" in line["flags"]


def test_one_hits_misses_for_two_bins_is_not_used(folder: RunFolder) -> None:
    add(folder, "a.tar", **one_bin(folders={"a.tar|": {BIN, "pia7.2024-06-24.1500"}}))
    tally = summarise(folder)
    assert "there are 2 bins" in tally.warnings[0]
    assert bins(folder)[0]["per_litre"] == ""


def test_bin_in_two_places_warns(folder: RunFolder) -> None:
    add(folder, "a.tar", **one_bin())
    add(folder, "b.tar", **one_bin(folders={"b.tar|": {BIN}}, hits_misses={"b.tar|": MINUTES}))
    tally = summarise(folder)
    assert "2 places (a.tar, b.tar)" in tally.warnings[0]
    assert bins(folder)[0]["count"] == "4"


def test_copies_that_disagree_have_no_density(folder: RunFolder) -> None:
    add(folder, "a.tar", **one_bin())
    other = {"b.tar|": ((1, 1),)}
    add(folder, "b.tar", **one_bin(folders={"b.tar|": {BIN}}, hits_misses=other))
    summarise(folder)
    assert bins(folder)[0]["per_litre"] == ""


def test_bin_through_which_nothing_passed_is_there_and_unknown(folder: RunFolder) -> None:
    key = "cruise/2024-06-24/1450.tar|"
    add(folder, "1450.tar", inputs=1, skipped=1, hits_misses={key: ((0, 0),) * 10})
    tally = summarise(folder)
    assert tally.bins == 1
    assert [(r["bin"], r["count"], r["per_litre"]) for r in bins(folder)] == [
        ("2024-06-24.1450", "0", "")
    ] * 2
    assert all("no_flow" in row["flags"] for row in bins(folder))
    assert any("check whether the pump ran" in warning for warning in tally.warnings)


@pytest.mark.parametrize("readable", [0, 6])
def test_bin_that_cannot_be_read_is_unknown_not_zero(folder: RunFolder, readable: int) -> None:
    """Known by the names of its failures; a minute of which some can be read has a density."""
    fields = one_bin(results=readable, failures=[Failure("a.tar", "x", Code.CORRUPT_IMAGE, "cut")])
    fields["counts"] = {(BIN, "2024-06-24T14:53:00Z", "copepod"): readable} if readable else {}
    add(folder, "a.tar", **fields)
    tally = summarise(folder)
    known = [r for r in counts(folder) if r["per_litre"] and r["label"] == "copepod"]
    assert len(known) == bool(readable)
    assert {r["bin"] for r in counts(folder)} == {BIN}
    (total,) = [r for r in bins(folder) if r["label"] == "copepod"]
    assert bool(total["per_litre"]) is bool(readable)
    assert "hits_without_images" in total["flags"]
    assert any("check failures.csv" in warning for warning in tally.warnings)


def test_images_moved_away_from_their_hits_misses(folder: RunFolder) -> None:
    """One bin, without a density, and a warning that says what to do."""
    add(folder, "cruise#0", inputs=1, skipped=1, hits_misses={"cruise|2024-06-24/1450": MINUTES})
    add(folder, "sorted#0", **one_bin(folders={"cruise|sorted": {BIN}}, hits_misses={}))
    tally = summarise(folder)
    assert {r["bin"] for r in bins(folder)} == {BIN}
    assert {r["per_litre"] for r in bins(folder)} == {""}
    assert any("put them together" in warning for warning in tally.warnings)


def test_positions_stand_in_both_tables(folder: RunFolder) -> None:
    minute = "2024-06-24T14:53:00Z"
    fixes = {(BIN, minute): ((minute, 54.0, 2.5), ("2024-06-24T14:53:40Z", 54.002, 2.5))}
    add(folder, "a.tar", **one_bin(minute, fixes=fixes))
    summarise(folder)
    for table in (counts(folder), bins(folder)):
        (row, *_) = [r for r in table if r["latitude"]]
        assert (row["latitude"], row["longitude"]) == ("54.00100", "2.50000")
        assert (row["first_latitude"], row["day_night"]) == ("54.00000", "day")
        assert (row["position_l20"], row["position_qartod"]) == ("1", "1")
    (other, *_) = [r for r in counts(folder) if not r["latitude"]]
    assert "no_position" in other["flags"]
    assert (other["day_night"], other["position_l20"]) == ("", "9")


def test_factors_are_written_into_parts_that_know_them_too_late(folder: RunFolder) -> None:
    add(folder, "cruise#000000", **one_bin(hits_misses={}), rows=ROWS)
    add(folder, "cruise#000001", inputs=1, skipped=1, hits_misses={"a.tar|": MINUTES})
    table = pq.read_table(folder.parts)
    assert table["raising_factor"].to_pylist() == [None] * 3
    assert write_factors(folder, summarise(folder).factors) == ["cruise#000000"]
    table = pq.read_table(folder.parts)
    assert table["raising_factor"].to_pylist() == pytest.approx([40 / 3] * 3)
    assert folder.is_done("cruise#000000", "1")
    assert write_factors(folder, summarise(folder).factors) == []


@pytest.mark.parametrize(
    ("bin_id", "minute"),
    [
        ("", ""),
        ("", "2024-06-24T14:53:00Z"),
        (BIN, ""),
        (BIN, "0001-01-01T00:00:00Z"),
        (BIN, "9999-12-31T23:59:00Z"),
        ("pia7.0001-01-01.0000", "0001-01-01T00:00:00Z"),
        ("pia7.9999-12-31.2359", "9999-12-31T23:59:00Z"),
    ],
)
def test_impossible_times_are_counted_all_the_same(
    folder: RunFolder, bin_id: str, minute: str
) -> None:
    add(
        folder,
        "a.tar",
        inputs=1,
        results=1,
        counts={(bin_id, minute, "copepod"): 1},
        folders={"a.tar|": {bin_id}} if bin_id else {},
        hits_misses={"a.tar|": MINUTES},
    )
    summarise(folder)
    assert sum(int(line["count"]) for line in counts(folder)) == 1
    seen = {line["minute"] for line in counts(folder) if line["count"] == "1"}
    assert seen == {minute}
