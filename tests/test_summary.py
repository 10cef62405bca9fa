"""The journal -> tables and totals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import support

from pi10_classifier.errors import Code, Failure
from pi10_classifier.results import PartWriter, RunFolder, UnitRecord
from pi10_classifier.summary import Tally, summarise

BIN = "pia7.2024-06-24.1450"
MINUTES = tuple((10, 30) for _ in range(10))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "out", ("copepod", "detritus"))
    folder.open({"tables": 1}, resume=False, overwrite=False)
    return folder


def add(folder: RunFolder, unit: str, **fields: Any) -> None:
    PartWriter(folder, unit).publish(UnitRecord(unit, "", "1", **fields))


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
    assert (line["raised_count"], line["litres"]) == ("8", "34")
    assert float(line["per_litre"]) == pytest.approx(8 / 34, rel=1e-5)
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
    assert "one HitsMisses.txt for 2 bins" in tally.warnings[0]
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


def test_bin_without_a_saved_particle_is_a_zero(folder: RunFolder) -> None:
    key = "cruise/2024-06-24/1450.tar|"
    add(folder, "1450.tar", inputs=1, skipped=1, hits_misses={key: ((0, 0),) * 10})
    tally = summarise(folder)
    assert tally.bins == 1
    assert [(r["bin"], r["count"], r["per_litre"]) for r in bins(folder)] == [
        ("2024-06-24.1450", "0", "0")
    ] * 2


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
