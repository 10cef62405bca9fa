"""A minute's line: complete, additive, below 500 bytes, with the densities of `abundance`."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watching import BEGIN

from pi10_classifier.abundance.density import Sums
from pi10_classifier.abundance.minutes import minute_rows
from pi10_classifier.instrument.names import Bin
from pi10_classifier.shore.receiver.lines import parse
from pi10_classifier.watch.ashore.minute_summary import LINE_BYTES, LinkState, compose, fitted
from pi10_classifier.watch.ledger import Counts, Entry, Ledger

CLASSES = ("copepod", "detritus")
BIN = "pia7.2024-06-24.1450"
NOTHING = LinkState(0, False, "")


def entry(number: int, counts: Counts, **more: object) -> Entry:
    inputs = [(f"{number}-{i}", "1", "r") for i in range(sum(counts.values()))]
    fields = {"failed": 0, "skipped": 0, **more}
    return Entry(number, f"part-{number}", inputs, counts=counts, **fields)  # type: ignore[arg-type]


def minute(number: int) -> str:
    return f"2024-06-24T14:{50 + number}:00Z"


def said(ledger: Ledger, number: int, *, quiet: bool = False, state: LinkState = NOTHING) -> dict:
    at = BEGIN + timedelta(minutes=number)
    return json.loads(compose(ledger, at, "ab" * 32, CLASSES, state, lambda *_: quiet))


def test_each_part_is_counted_in_one_line(ledger: Ledger) -> None:
    ledger.enter(entry(1, {("", "", "copepod"): 3}, failed=1, skipped=2), lambda: None)
    ledger.enter(entry(2, {("", "", "copepod"): 1, ("", "", "detritus"): 4}), lambda: None)
    first = said(ledger, 0, state=LinkState(7, True, "disk_full"))
    assert first == {
        "id": ledger.id, "seq": 1, "minute": "2026-05-04T03:02Z", "model": "abababab",
        "n": {"copepod": 4, "detritus": 4}, "failed": 1, "skipped": 2, "backlog": 7,
        "more": True, "trouble": "disk_full",
    }  # fmt: skip
    second = said(ledger, 1)
    assert (second["seq"], second["n"], second["failed"]) == (2, {"copepod": 0, "detritus": 0}, 0)


def test_density_is_that_of_abundance_once_a_minute_is_complete(ledger: Ledger) -> None:
    table = ((4, 12), (2, 6), (5, 0))
    folder = "in|2024-06-24/1450"
    ledger.enter(
        entry(1, {(BIN, minute(0), "copepod"): 3, (BIN, minute(1), "detritus"): 1}),
        lambda: None,
    )
    assert "density" not in said(ledger, 0)
    more = {"folders": {folder: {BIN}}, "hits_misses": {folder: table}}
    ledger.enter(entry(2, {(BIN, minute(0), "detritus"): 1}, **more), lambda: None)
    line = said(ledger, 1)
    # the first is complete; of the second an image is awaited, and the third may still grow
    assert (line["from"], line["minutes"]) == ("2024-06-24T14:50Z", 1)
    assert (line["hits"], line["misses"]) == (4, 12)
    start = Bin.parse(BIN)
    assert start
    counts = {(BIN, start.start, "copepod"): 3, (BIN, start.start, "detritus"): 1}
    rows = minute_rows(counts, {BIN: table}, {BIN: start.start}, CLASSES)
    for row in rows[:2]:
        wanted = [row.raised_count, row.per_litre, row.per_litre_low, row.per_litre_high]
        assert line["density"][row.label] == pytest.approx(wanted, rel=1e-3)
    assert "density" not in said(ledger, 2)
    late = said(ledger, 3, quiet=True)  # nothing more is expected
    assert (late["from"], late["minutes"], late["hits"]) == ("2024-06-24T14:51Z", 1, 2)
    # the only image that came stands for all eight; of the third minute none came: unknown
    assert late["density"]["detritus"][0] == 8
    assert late["no_density"] == 1
    assert "density" not in said(ledger, 4, quiet=True)


def test_minutes_of_one_line_pool_exactly(ledger: Ledger) -> None:
    table = ((4, 12), (2, 1), (1, 0))
    counts = {(BIN, minute(0), "copepod"): 4, (BIN, minute(1), "copepod"): 2}
    more = {"folders": {"in|": {BIN}}, "hits_misses": {"in|": table}}
    ledger.enter(entry(1, counts, **more), lambda: None)
    line = said(ledger, 0)
    assert (line["minutes"], line["weight"]) == (2, 4)
    raised, _, _, _, variance, sd = line["density"]["copepod"]
    sums = Sums.of_minute(16, 4) + Sums.of_minute(3, 1.5)
    assert [raised, variance, sd] == pytest.approx([sums.raised, sums.variance, sums.sd], rel=1e-3)
    assert line["flags"] == ["factor_above_2"]


def test_the_newest_fix_is_told_once(ledger: Ledger) -> None:
    def enter(number: int, minute: int) -> None:
        fix = (f"2026-05-04T02:{minute}:07Z", 50.123456, -4.0)
        ledger.enter(entry(number, {}, fix=fix), lambda: None)

    enter(1, 51)
    enter(2, 50)
    assert said(ledger, 0)["at"] == [50.1235, -4.0, 11]
    enter(3, 49)
    assert "at" not in said(ledger, 1)
    enter(4, 52)
    assert said(ledger, 2)["at"][2] == 12


def test_minute_with_broken_images_is_told_once_it_is_quiet(ledger: Ledger) -> None:
    """Though its bin goes on: the instrument's hits count broken images as well."""
    more = {"folders": {"in|": {BIN}}, "hits_misses": {"in|": ((3, 0), (2, 0))}}
    ledger.enter(entry(1, {(BIN, minute(0), "copepod"): 2}, **more), lambda: None)
    at = BEGIN + timedelta(minutes=1)
    text = compose(ledger, at, "ab", CLASSES, NOTHING, lambda _, when: when == minute(0))
    line = json.loads(text)
    assert (line["from"], line["minutes"], line["hits"]) == ("2024-06-24T14:50Z", 1, 3)


def test_one_hits_misses_for_two_bins_is_not_used(ledger: Ledger) -> None:
    other = "pia7.2024-06-24.1500"
    more = {"folders": {"in|": {BIN, other}}, "hits_misses": {"in|": ((1, 1), (1, 1))}}
    ledger.enter(entry(1, {(BIN, minute(0), "copepod"): 1}, **more), lambda: None)
    assert "density" not in said(ledger, 0, quiet=True)


@given(
    st.dictionaries(st.text(min_size=1, max_size=60), st.integers(0, 10**9), max_size=60),
    st.text(max_size=300),
)
def test_any_line_is_below_500_bytes_and_keeps_the_sum(
    counts: dict[str, int], trouble: str
) -> None:
    counts.pop("_rest", None)
    density = {label: [1234.5, 0.1234, 0.1111, 0.2222] for label in counts}
    line = fitted(
        {"id": "0123abcd", "seq": 10**9, "minute": "2026-05-04T03:02Z", "model": "abababab",
         "n": counts, "failed": 10**6, "skipped": 10**6, "backlog": 50_000, "more": True,
         "trouble": trouble, "dropped": 10**6, "from": "2024-06-24T14:50Z", "minutes": 10,
         "hits": 10**7, "misses": 10**9, "density": density}
    )  # fmt: skip
    assert len(line.encode()) + 1 < LINE_BYTES
    assert sum(json.loads(line)["n"].values()) == sum(counts.values())
    told = json.loads(line)
    raised = [values[0] for values in told.get("density", {}).values()]
    raised += [*told.get("raised", {}).values(), told.get("rest", 0)]
    assert sum(raised) == pytest.approx(1234.5 * len(density), rel=5e-4 * max(len(density), 1))


@pytest.mark.parametrize(("classes", "in_rest"), [(8, False), (30, True)])
def test_rare_classes_have_their_raised_count_where_there_is_no_room_for_more(
    classes: int, in_rest: bool
) -> None:
    counts = {f"class {number:02d}": 1 + 3 * number**2 for number in range(classes)}
    density = {label: [4 * n, 4 * n / 34, 3 * n / 34, 6 * n / 34] for label, n in counts.items()}
    fields = {"id": "0123abcd", "seq": 10, "minute": "2026-05-04T03:02Z", "model": "abababab",
              "n": counts | {"none": 0}, "from": "2024-06-24T14:50Z", "minutes": 1, "hits": 10,
              "misses": 30, "weight": 4,
              "density": density | {"none": [0, 0, 0, 0.434]}}  # fmt: skip
    text = fitted(fields)
    assert len(text) + 1 < LINE_BYTES
    line = parse(text, 2**40)
    assert line.complete
    assert "none" not in line.sums
    assert ("_rest" in line.sums) == in_rest
    assert sum(line.counts.values()) == sum(counts.values())
    assert sum(s.raised for s in line.sums.values()) == pytest.approx(
        4 * sum(counts.values()), rel=1e-3
    )
    commonest = f"class {classes - 1:02d}"
    assert line.sums[commonest].raised == 4 * counts[commonest]


def test_the_highest_of_drift_stays_when_others_do_not_fit() -> None:
    counts = dict.fromkeys(("copepod", "detritus", "noncopepod"), 62_455)
    density = {label: [1_234_000, 12.34, 11.11, 122.2] for label in counts}
    drift = {"ground": -1.2, "spread": 1.1, "stripe": 2.0, "sharpness": -1.1, "score": 1.0,
             "novelty": 1.0, "size": -1.4, "mix": 1.9}  # fmt: skip
    said = {"id": "0123abcd", "seq": 10**7, "minute": "2026-05-04T03:02Z", "model": "abababab",
            "n": counts, "failed": 1000, "skipped": 1000, "backlog": 50_000, "more": True,
            "from": "2024-06-24T14:50Z", "minutes": 1, "hits": 10**6, "misses": 10**6,
            "flags": ["step"] * 9, "drift": drift, "density": density}  # fmt: skip
    line = fitted(said)
    assert len(line.encode()) + 1 < LINE_BYTES
    assert json.loads(line)["drift"] == {"stripe": 2.0}
    assert json.loads(line)["density"] == density


def test_three_classes_fit_whole() -> None:
    counts = dict.fromkeys(("copepod", "detritus", "noncopepod"), 62_455)
    density = {label: [1_234_000, 12.34, 11.11, 122.2] for label in counts}
    said = {"id": "0123abcd", "seq": 10**7, "minute": "2026-05-04T03:02Z", "model": "abababab",
            "n": counts, "failed": 1000, "skipped": 1000, "backlog": 50_000, "more": True,
            "trouble": "storage_unavailable", "from": "2024-06-24T14:50Z", "minutes": 10,
            "at": [-50.1234, -104.1234, 1000],
            "hits": 62_455, "misses": 10**7, "weight": 12.34, "density": density}  # fmt: skip
    assert json.loads(fitted(said)) == said
    more = {label: [*values, 43_210_000, 1.234] for label, values in density.items()}
    assert json.loads(fitted({**said, "density": more})) == said  # these go first
