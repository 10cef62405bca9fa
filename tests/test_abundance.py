"""Individuals per litre: worked numbers, limits, flags and invariants."""

import csv
import dataclasses
from collections import defaultdict
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi10_classifier.abundance import FLAGS, BinRow, CountRow, bin_rows, gamma_limits, minute_rows

START = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)
BIN = "pia7.2024-06-24.1450"
LABELS = ("copepod", "detritus", "noncopepod")
SURVEY = Path(__file__).parents[2] / "shared" / "data" / "hits_misses_cend0824.csv"


def at(minute):
    return START + timedelta(minutes=minute)


def one_minute(count, hits, misses):
    """The row of a bin of one label and one minute, where all hits have that label or 'rest'."""
    counts = {(BIN, START, "a"): count, (BIN, START, "rest"): hits - count}
    return minute_rows(counts, {BIN: [(hits, misses)]}, {BIN: START}, ["a"])[0]


class TestOneMinute:
    def test_is_raised_by_its_own_hits_and_misses(self):
        row = one_minute(10, hits=100, misses=900)
        assert row.raised_count == 100
        assert row.litres == 34
        assert row.per_litre == pytest.approx(100 / 34)
        assert row.flags == ()

    @pytest.mark.parametrize(
        ("count", "low", "high"),
        # Garwood's limits, as tabulated (Ulm 1990, table 1).
        [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904), (100, 81.364, 121.627)],
    )
    def test_has_garwood_limits_times_the_factor(self, count, low, high):
        row = one_minute(count, hits=100, misses=900)
        assert row.per_litre_low * 34 / 10 == pytest.approx(low, abs=1e-3)
        assert row.per_litre_high * 34 / 10 == pytest.approx(high, abs=1e-3)

    def test_limits_hold_the_poisson_tails(self):
        stats = pytest.importorskip("scipy.stats")
        n = np.array([0.0, 1, 7, 50, 1000, 60_000])
        low, high = gamma_limits(n, n, np.ones_like(n))
        np.testing.assert_allclose(stats.poisson.cdf(n, high), 0.025, rtol=1e-6)
        np.testing.assert_allclose(stats.poisson.sf(n[1:] - 1, low[1:]), 0.025, rtol=1e-6)

    def test_without_particles_has_density_zero_and_an_upper_limit(self):
        row = one_minute(0, hits=0, misses=0)
        assert (row.raised_count, row.per_litre, row.per_litre_low) == (0, 0, 0)
        assert row.per_litre_high == pytest.approx(3.6889 / 34, abs=1e-5)
        assert row.flags == ()

    def test_seconds_and_zones_are_brought_to_the_minute_in_utc(self):
        paris = timezone(timedelta(hours=2))
        moments = [at(0).replace(second=59), at(0).astimezone(paris), at(0).replace(tzinfo=None)]
        counts = dict.fromkeys(((BIN, moment, "a") for moment in moments), 1)
        (row,) = minute_rows(counts, {BIN: [(3, 0)]}, {BIN: START}, ["a"])
        # Two of the three moments are equal as keys.
        assert row.minute == START
        assert row.minute.tzinfo is UTC
        assert row.count == len(counts)


class TestUnknownDensity:
    @pytest.mark.parametrize(
        ("bin_id", "minute", "table", "start", "flags"),
        [
            (BIN, at(0), None, START, ("no_hits_misses",)),
            (BIN, at(0), [], START, ("no_hits_misses",)),
            (BIN, at(1), [(5, 5)], START, ("minute_outside_hits_misses",)),
            (BIN, at(-1), [(5, 5)], START, ("minute_outside_hits_misses",)),
            (BIN, None, [(5, 5)], START, ("no_datetime",)),
            (BIN, at(0), [(5, 5)], None, ("no_bin_start",)),
            (BIN, at(0), [(0, 9)], START, ("no_hits", "images_differ_from_hits", "mostly_missed")),
            (BIN, at(0), [(0, 0)], START, ("no_hits", "images_differ_from_hits")),
            ("", at(0), None, None, ("no_bin",)),
            ("", None, None, None, ("no_bin", "no_datetime")),
        ],
    )
    def test_keeps_the_count_and_says_why(self, bin_id, minute, table, start, flags):
        tables = {} if table is None else {bin_id: table}
        rows = minute_rows({(bin_id, minute, "a"): 4}, tables, {bin_id: start}, ["a"])
        (row,) = [row for row in rows if row.minute == minute]
        assert row.count == 4
        assert row.flags == flags
        assert {row.raised_count, row.litres, row.per_litre} == {None}
        assert {row.per_litre_low, row.per_litre_high} == {None}
        (total,) = [r for r in bin_rows(rows) if r.bin == bin_id]
        assert total.count_without_density == 4
        assert "minutes_without_density" in total.flags

    def test_misses_without_hits_leave_no_density_even_without_images(self):
        (row,) = minute_rows({}, {BIN: [(0, 7)]}, {BIN: START}, ["a"])
        assert (row.hits, row.misses, row.per_litre) == (0, 7, None)
        assert "no_hits" in row.flags

    def test_missing_start_of_a_bin_without_images_gives_no_rows(self):
        assert minute_rows({}, {BIN: [(3, 7)]}, {}, ["a"]) == []


class TestRows:
    def test_every_minute_has_every_label_in_order(self):
        counts = {
            ("b", None, "detritus"): 2,
            ("b", at(1), "copepod"): 3,
            ("a", at(0), "ghost"): 1,
        }
        rows = minute_rows(counts, {"b": [(1, 0), (3, 0)]}, {"b": at(0), "a": at(0)}, LABELS)
        labels = sorted({*LABELS, "ghost"})
        places = [("a", at(0)), ("b", at(0)), ("b", at(1)), ("b", None)]
        assert [(r.bin, r.minute, r.label) for r in rows] == [
            (*place, label) for place in places for label in labels
        ]
        assert sum(row.count for row in rows) == 6

    def test_images_are_compared_with_hits_over_all_labels(self):
        counts = {(BIN, at(0), "copepod"): 3, (BIN, at(0), "detritus"): 4, (BIN, at(1), "x"): 1}
        rows = minute_rows(counts, {BIN: [(7, 0), (2, 0)]}, {BIN: START}, LABELS)
        differing = {row.minute for row in rows if "images_differ_from_hits" in row.flags}
        assert differing == {at(1)}

    @pytest.mark.parametrize(("misses", "flagged"), [(500, False), (501, True)])
    def test_mostly_missed_begins_above_fifty_misses_a_hit(self, misses, flagged):
        assert ("mostly_missed" in one_minute(1, 10, misses).flags) is flagged

    def test_columns_are_those_of_the_published_table(self):
        names = [field.name for field in dataclasses.fields(CountRow)]
        assert names[:3] == ["bin", "minute", "label"]
        assert names[-4:] == ["per_litre", "per_litre_low", "per_litre_high", "flags"]
        assert [f.name for f in dataclasses.fields(BinRow)][:4] == [
            "bin",
            "start",
            "label",
            "minutes_observed",
        ]

    def test_nothing_gives_nothing(self):
        assert minute_rows({}, {}, {}, LABELS) == []
        assert bin_rows([]) == []

    def test_all_flags_are_explained(self):
        counts = {(b, m, "a"): 1 for b in ("", BIN) for m in (None, at(0), at(50))}
        rows = minute_rows(counts, {BIN: [(0, 60)]}, {BIN: START}, ["a"])
        used = {flag for row in [*rows, *bin_rows(rows)] for flag in row.flags}
        assert used <= set(FLAGS)


def full_bin(counts, table):
    """One label "a" with the given counts per minute; the other hits are "rest"."""
    images = {(BIN, at(i), "a"): n for i, n in enumerate(counts)}
    images |= {
        (BIN, at(i), "rest"): h - n for i, (n, (h, _)) in enumerate(zip(counts, table, strict=True))
    }
    rows = minute_rows(images, {BIN: table}, {BIN: START}, ["a", "rest"])
    return rows, bin_rows(rows)[0]


class TestBin:
    def test_sums_raised_minutes_over_the_litres_observed(self):
        table = [(100, 0)] * 9 + [(100, 900)]
        _, total = full_bin([5] * 10, table)
        assert total.raised_count == 9 * 5 + 50
        assert total.litres == 340
        assert total.per_litre == pytest.approx(95 / 340)
        assert (total.count, total.count_without_density) == (50, 0)
        assert (total.minutes_observed, total.start, total.flags) == (10, START, ())

    def test_one_factor_for_the_whole_bin_would_be_biased(self):
        # Copepods come in the minute in which the camera falls behind.
        table = [(100, 0)] * 9 + [(100, 9900)]
        _, total = full_bin([0] * 9 + [50], table)
        hits, misses = (sum(column) for column in zip(*table, strict=True))
        by_bin = 50 * (hits + misses) / hits
        assert total.raised_count == 5000
        assert by_bin == pytest.approx(545)

    def test_equal_factors_reduce_to_garwood(self):
        _, total = full_bin([1] * 10, [(100, 300)] * 10)
        assert total.per_litre_low * 340 / 4 == pytest.approx(4.7954, abs=1e-3)
        assert total.per_litre_high * 340 / 4 == pytest.approx(18.3904, abs=1e-3)

    def test_unequal_factors_follow_fay_and_feuer(self):
        chi2 = pytest.importorskip("scipy.stats").chi2
        _, total = full_bin([4, 1], [(10, 0), (10, 90)])
        y, v, w = 4 + 10, 4 + 100, 10
        low = v / (2 * y) * chi2.ppf(0.025, 2 * y**2 / v)
        high = (v + w**2) / (2 * (y + w)) * chi2.ppf(0.975, 2 * (y + w) ** 2 / (v + w**2))
        assert total.per_litre_low * 68 == pytest.approx(low)
        assert total.per_litre_high * 68 == pytest.approx(high)

    def test_limits_hold_the_true_density_at_least_95_times_in_100(self):
        random = np.random.default_rng(1)
        factors, means = np.array([1.0, 1, 4, 30]), np.array([20.0, 10, 5, 2])
        k = random.poisson(means, (4000, 4))
        low, high = gamma_limits(k @ factors, k @ factors**2, np.full(4000, 30.0))
        truth = means @ factors
        assert ((low <= truth) & (truth <= high)).mean() >= 0.945

    def test_zero_counts_keep_an_upper_limit_at_the_largest_factor(self):
        _, total = full_bin([0, 0], [(10, 0), (10, 90)])
        assert (total.per_litre, total.per_litre_low) == (0, 0)
        assert total.per_litre_high == pytest.approx(10 * 3.6889 / 68, abs=1e-4)

    def test_minutes_without_density_are_left_out_and_counted_apart(self):
        images = {(BIN, at(0), "a"): 5, (BIN, at(1), "a"): 6, (BIN, None, "a"): 7}
        table = [(5, 5), (0, 8)]
        (total,) = bin_rows(minute_rows(images, {BIN: table}, {BIN: START}, ["a"]))
        assert (total.minutes_observed, total.litres) == (1, 34)
        assert (total.count, total.count_without_density) == (5, 13)
        assert total.per_litre == pytest.approx(10 / 34)
        assert {"no_hits", "no_datetime", "minutes_without_density"} <= set(total.flags)

    def test_without_hits_misses_reports_the_count_alone(self):
        (total,) = bin_rows(minute_rows({(BIN, at(3), "a"): 8}, {}, {BIN: START}, ["a"]))
        assert (total.start, total.minutes_observed, total.count) == (at(3), 0, 0)
        assert (total.count_without_density, total.per_litre, total.litres) == (8, None, None)
        assert total.flags == ("no_hits_misses", "minutes_without_density")

    @pytest.mark.parametrize(
        ("start", "minutes", "flags"),
        [
            (START, 10, set()),
            (START + timedelta(minutes=4), 6, {"partial_bin", "hits_misses_rows"}),
            (START + timedelta(minutes=4), 10, {"partial_bin"}),
            (START, 9, {"partial_bin", "hits_misses_rows"}),
            (START, 11, {"hits_misses_rows"}),
        ],
    )
    def test_incomplete_bins_are_flagged(self, start, minutes, flags):
        (total,) = bin_rows(minute_rows({}, {BIN: [(0, 0)] * minutes}, {BIN: start}, ["a"]))
        assert set(total.flags) == flags
        assert total.start == start


minutes = st.tuples(st.integers(1, 60), st.integers(0, 60), st.integers(0, 5000))  # n, rest, misses


class TestInvariants:
    @given(st.lists(minutes, min_size=1, max_size=12))
    def test_value_lies_within_its_limits_and_bins_are_sums(self, drawn):
        table = [(n + rest, misses) for n, rest, misses in drawn]
        rows, total = full_bin([n for n, _, _ in drawn], table)
        for row in [*rows, total]:
            assert 0 <= row.per_litre_low <= row.per_litre <= row.per_litre_high
        own = [row for row in rows if row.label == "a"]
        assert total.raised_count == pytest.approx(sum(row.raised_count for row in own))
        assert total.litres == sum(row.litres for row in own)
        assert total.count == sum(row.count for row in own)

    @given(st.integers(0, 50), st.integers(0, 9999), st.integers(1, 9999))
    def test_more_misses_raise_value_and_upper_limit(self, count, misses, more):
        before, after = one_minute(count, 50, misses), one_minute(count, 50, misses + more)
        assert after.per_litre_high > before.per_litre_high
        assert after.per_litre > before.per_litre or count == 0

    @settings(max_examples=25)
    @given(st.lists(minutes, min_size=2, max_size=12), st.randoms(use_true_random=False))
    def test_order_of_arrival_does_not_matter(self, drawn, random):
        images = {(BIN, at(i), "a"): n for i, (n, _, _) in enumerate(drawn)}
        table = [(n + rest, misses) for n, rest, misses in drawn]
        shuffled = list(images.items())
        random.shuffle(shuffled)
        rows = minute_rows(images, {BIN: table}, {BIN: START}, LABELS)
        assert minute_rows(dict(shuffled), {BIN: table}, {BIN: START}, LABELS[::-1]) == rows
        mixed = list(rows)
        random.shuffle(mixed)
        assert bin_rows(mixed) == bin_rows(rows)


def test_a_hundred_thousand_rows_are_no_trouble():
    """What takes the square of the rows' number would meet the limit of every test."""
    bins = [f"b{i:05}" for i in range(3334)]
    starts = {b: START + timedelta(minutes=10 * i) for i, b in enumerate(bins)}
    counts = {(b, starts[b], label): 5 for b in bins for label in LABELS}
    rows = minute_rows(counts, dict.fromkeys(bins, [(15, 30)] * 10), starts, LABELS)
    totals = bin_rows(rows)
    assert (len(rows), len(totals)) == (100_020, 10_002)


@pytest.mark.skipif(not SURVEY.exists(), reason="the survey's table is not at hand")
def test_hits_and_misses_of_a_real_survey():
    tables, starts = defaultdict(list), {}
    with SURVEY.open(newline="") as file:
        for line in csv.DictReader(file):
            bin_id = f"{line['date']}.{line['bin']}"
            start = datetime.strptime(f"{bin_id} +0000", "%Y-%m-%d.%H%M %z")
            assert len(tables[bin_id]) == int(line["minute"])
            tables[bin_id].append((int(line["hits"]), int(line["misses"])))
            starts[bin_id] = start
    counts = {
        (b, starts[b] + timedelta(minutes=i), "all"): hits
        for b, table in tables.items()
        for i, (hits, _) in enumerate(table)
    }
    rows = minute_rows(counts, tables, starts, ["all"])
    totals = bin_rows(rows)
    assert len(totals) == len(tables) >= 99
    assert sum("partial_bin" in total.flags for total in totals) >= 1
    for total in totals:
        if total.count_without_density == 0 and total.minutes_observed == len(tables[total.bin]):
            passed = sum(hits + misses for hits, misses in tables[total.bin])
            assert total.raised_count == pytest.approx(passed)
