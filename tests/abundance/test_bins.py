"""Individuals per litre: worked numbers, limits, flags and invariants."""

import csv
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from bin_tables import BIN, LABELS, START, at, full_bin, one_minute
from hypothesis import given, settings
from hypothesis import strategies as st

from pi10_classifier.abundance.bins import bin_rows, means
from pi10_classifier.abundance.density import gamma_limits
from pi10_classifier.abundance.minutes import minute_rows

SURVEY = Path(__file__).parents[3] / "shared" / "data" / "hits_misses_cend0824.csv"


class TestBin:
    def test_sums_raised_minutes_over_the_litres_observed(self):
        table = [(100, 0)] * 9 + [(100, 900)]
        _, total = full_bin([5] * 10, table)
        assert total.raised_count == 9 * 5 + 50
        assert total.litres == 340
        assert total.per_litre == pytest.approx(95 / 340)
        assert (total.count, total.count_without_density) == (50, 0)
        assert (total.minutes_observed, total.start) == (10, START)
        assert total.flags == ("factor_above_2", "no_position")
        assert (total.largest_factor, total.raised_variance) == (10, 9 * 5 + 10**2 * 5)

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
        assert (total.count, total.count_without_density) == (18, 13)
        assert total.per_litre == pytest.approx(10 / 34)
        assert {"no_hits", "no_datetime", "minutes_without_density"} <= set(total.flags)

    def test_without_hits_misses_reports_the_count_alone(self):
        (total,) = bin_rows(minute_rows({(BIN, at(3), "a"): 8}, {}, {BIN: START}, ["a"]))
        assert (total.start, total.minutes_observed, total.count) == (START, 0, 8)
        assert (total.count_without_density, total.per_litre, total.litres) == (8, None, None)
        assert total.flags == ("no_hits_misses", "minutes_without_density", "no_position")

    @pytest.mark.parametrize(
        ("offset", "minutes", "flags"),
        [
            (0, 10, set()),
            (4, 6, {"partial_bin", "hits_misses_rows"}),
            (4, 10, {"partial_bin"}),
            (0, 9, {"partial_bin", "hits_misses_rows"}),
            (0, 11, {"surplus_rows"}),
        ],
    )
    def test_incomplete_bins_are_flagged(self, offset, minutes, flags):
        start = at(offset)
        bin_id = f"pia7.2024-06-24.{start:%H%M}"
        counts = {(bin_id, start + timedelta(minutes=i), "a"): 3 for i in range(min(minutes, 10))}
        (total,) = bin_rows(
            minute_rows(counts, {bin_id: [(3, 0)] * minutes}, {bin_id: start}, ["a"])
        )
        assert set(total.flags) - {"no_position"} == flags
        assert (total.start, total.minutes_observed) == (start, min(minutes, 10))
        assert total.quality_l20 == ("3" if flags else "1")

    def test_rows_beyond_ten_minutes_add_no_water(self):
        counts = {(BIN, at(i), "a"): 3 for i in range(10)}
        (total,) = bin_rows(minute_rows(counts, {BIN: [(3, 9)] * 11}, {BIN: START}, ["a"]))
        assert (total.minutes_observed, total.litres) == (10, 340)
        assert total.per_litre == pytest.approx(120 / 340)

    @pytest.mark.parametrize("rows", [3, 9])
    def test_a_row_of_totals_is_no_minute(self, rows):
        counts = {(BIN, at(i), "a"): 3 for i in range(rows)}
        table = [(3, 9)] * rows + [(3 * rows, 9 * rows)]
        out = minute_rows(counts, {BIN: table}, {BIN: START}, ["a"])
        assert len(out) == rows
        assert all("surplus_rows" in row.flags for row in out)

    def test_a_row_that_happens_to_be_the_sum_is_a_minute_where_images_are_in_it(self):
        counts = {(BIN, at(i), "a"): n for i, n in enumerate([1, 2, 3])}
        out = minute_rows(counts, {BIN: [(1, 0), (2, 0), (3, 0)]}, {BIN: START}, ["a"])
        assert [row.per_litre for row in out] == [1 / 34, 2 / 34, 3 / 34]

    def test_a_blank_row_leaves_the_others_where_they_are(self):
        counts = {(BIN, at(i), "a"): 3 for i in range(10)}
        table = [(3, 0), (3, 0), None, *[(3, 0)] * 3, *[(3, 300)] * 4]
        rows = minute_rows(counts, {BIN: table}, {BIN: START}, ["a"])
        assert [row.raised_count for row in rows] == [3, 3, None, 3, 3, 3, *[303] * 4]
        assert rows[2].flags == ("hits_misses_unknown", "no_position")
        (total,) = bin_rows(rows)
        assert (total.minutes_observed, total.count, total.count_without_density) == (9, 30, 3)


class TestFlagsAlongTime:
    def bins(self, *tables):
        hits_misses, starts, counts = {}, {}, {}
        for start, table in tables:
            bin_id = f"pia7.{start:%Y-%m-%d.%H%M}"
            hits_misses[bin_id], starts[bin_id] = table, start
            counts |= {
                (bin_id, start + timedelta(minutes=i), "a"): hits
                for i, (hits, _) in enumerate(table)
                if hits
            }
        return minute_rows(counts, hits_misses, starts, ["a"])

    def flagged(self, rows, flag):
        return [row.minute for row in rows if flag in row.flags]

    def test_a_tenfold_step_between_minutes_is_bad(self):
        rows = self.bins((START, [(30, 0), (30, 0), (30, 300), (40, 0), (30, 0)]))
        assert self.flagged(rows, "step") == [at(2)]
        assert rows[2].quality_l20 == "4"
        assert not self.flagged(self.bins((START, [(1, 0), (11, 0), (1, 0)])), "step")

    @pytest.mark.parametrize(
        ("misses", "flags", "code"),
        [(0, set(), "1"), (100, set(), "1"), (101, {"factor_above_2"}, "3"),
         (900, {"factor_above_2"}, "3"), (901, {"factor_above_10"}, "4"),
         (5001, {"factor_above_10", "mostly_missed"}, "4")],
    )  # fmt: skip
    def test_factors_that_are_seldom_plankton(self, misses, flags, code):
        row = one_minute(3, 100, misses)
        assert set(row.flags) - {"no_position"} == flags
        assert row.quality_l20 == code

    def test_bins_that_overlap_and_gaps(self):
        rows = self.bins((START, [(30, 0)] * 3), (at(2), [(30, 0)] * 2), (at(20), [(30, 0)]))
        assert self.flagged(rows, "overlapping_bins") == [at(2), at(2)]
        assert self.flagged(rows, "gap_before") == [at(20)]

    def test_cruise_means_are_given_with_and_without_bad_minutes(self):
        rows = self.bins((START, [(34, 0)] * 4 + [(34, 34 * 99)]))
        found = means(rows)
        assert found["all"]["a"].per_litre == pytest.approx((4 + 100) / 5)
        assert found["without_bad"]["a"].per_litre == pytest.approx(1)
        assert (found["all"]["a"].minutes, found["without_bad"]["a"].minutes) == (5, 4)

    def test_a_dark_flow_cell_is_flagged(self):
        counts = {(BIN, at(0), "a"): 3}
        for grey, dark in ((149.0, True), (150.0, False)):
            (row,) = minute_rows(counts, {BIN: [(3, 0)]}, {BIN: START}, ["a"], {BIN: grey})
            assert ("dark_background" in row.flags) is dark


minutes = st.tuples(st.integers(1, 60), st.integers(0, 60), st.integers(0, 5000))  # n, rest, misses


class TestInvariants:
    @given(st.lists(minutes, min_size=1, max_size=10))
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
