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

from pi10_classifier.abundance.bins import BinRow, bin_rows, means, pool
from pi10_classifier.abundance.density import Sums, densities, gamma_limits
from pi10_classifier.abundance.minutes import CountRow, minute_rows
from pi10_classifier.abundance.quality import FLAGS

START = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)
BIN = "pia7.2024-06-24.1450"
LABELS = ("copepod", "detritus", "noncopepod")
BESIDE = ("no_position", "gap_before", "hits_misses_rows")  # not what is asked about
SURVEY = Path(__file__).parents[3] / "shared" / "data" / "hits_misses_cend0824.csv"


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
        assert (row.images, row.share_of_hits, row.raising_factor) == (100, 1, 10)
        assert row.flags == ("factor_above_2", "no_position")

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

    def test_without_particles_of_the_class_has_density_zero_and_an_upper_limit(self):
        row = one_minute(0, hits=7, misses=0)
        assert (row.raised_count, row.per_litre, row.per_litre_low) == (0, 0, 0)
        assert row.per_litre_high == pytest.approx(3.6889 / 34, abs=1e-5)
        assert (row.quality_l20, row.quality_qartod) == ("1", 1)

    def test_of_which_nothing_can_be_read_is_unknown_not_zero(self):
        (row,) = minute_rows({}, {BIN: [(30, 0)]}, {BIN: START}, ["a"])
        assert (row.count, row.per_litre, row.per_litre_high, row.litres) == (0, None, None, None)
        assert "hits_without_images" in row.flags
        assert (row.share_of_hits, row.quality_l20, row.quality_qartod) == (0, "9", 9)

    def test_in_which_nothing_passed_holds_no_water(self):
        (row,) = minute_rows({}, {BIN: [(0, 0)]}, {BIN: START}, ["a"])
        assert (row.per_litre, row.litres, row.flags) == (None, None, ("no_flow", "no_position"))
        assert row.quality_l20 == "9"

    @pytest.mark.parametrize(("read", "flags"), [(95, set()), (80, {"hits_unseen"})])
    def test_what_cannot_be_read_is_taken_to_be_like_what_can(self, read, flags):
        counts = {(BIN, START, "a"): read // 5, (BIN, START, "rest"): read - read // 5}
        row = minute_rows(counts, {BIN: [(100, 0)]}, {BIN: START}, ["a"])[0]
        assert row.raised_count == pytest.approx(20)
        assert row.share_of_hits == read / 100
        assert set(row.flags) - {"no_position"} == flags

    def test_images_that_are_there_twice_count_once(self):
        once = one_minute(6, hits=30, misses=90)
        counts = {(BIN, START, "a"): 12, (BIN, START, "rest"): 48}
        twice = minute_rows(counts, {BIN: [(30, 90)]}, {BIN: START}, ["a"])[0]
        assert twice.count == 12
        assert "images_beyond_hits" in twice.flags
        for name in ("raised_count", "per_litre", "per_litre_low", "per_litre_high"):
            assert getattr(twice, name) == pytest.approx(getattr(once, name))

    def test_blank_images_are_among_the_images_but_have_no_density(self):
        counts = {(BIN, START, "a"): 10, (BIN, START, "no_particle"): 10}
        rows = {r.label: r for r in minute_rows(counts, {BIN: [(20, 20)]}, {BIN: START}, ["a"])}
        assert rows["a"].raised_count == 20
        assert rows["no_particle"].count == 10
        assert rows["no_particle"].per_litre is None
        assert "no_particle" in rows["no_particle"].flags
        bins = {row.label: row for row in bin_rows(list(rows.values()))}
        assert bins["no_particle"].count == bins["no_particle"].count_without_density == 10
        assert "no_particle" not in means(rows.values())["all"]

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
            (BIN, at(-1), [(5, 5)], START, ("clock_outside_bin",)),
            (BIN, None, [(5, 5)], START, ("no_datetime",)),
            (BIN, at(0), [(5, 5)], None, ("no_bin_start",)),
            (BIN, at(0), [(0, 9)], START, ("no_hits", "images_beyond_hits")),
            (BIN, at(0), [(0, 0)], START, ("no_hits", "images_beyond_hits")),
            (BIN, at(0), [None, (5, 5)], START, ("hits_misses_unknown",)),
            (BIN, at(60), [(5, 5)] * 10, START, ("clock_outside_bin",)),
            (BIN, at(-90), [(5, 5)] * 10, START, ("clock_outside_bin",)),
            (BIN, at(60), None, START, ("clock_outside_bin", "no_hits_misses")),
            ("", at(0), None, None, ("no_bin",)),
            ("", None, None, None, ("no_bin", "no_datetime")),
        ],
    )
    def test_keeps_the_count_and_says_why(self, bin_id, minute, table, start, flags):
        tables = {} if table is None else {bin_id: table}
        rows = minute_rows({(bin_id, minute, "a"): 4}, tables, {bin_id: start}, ["a"])
        (row,) = [row for row in rows if row.minute == minute]
        assert row.count == 4
        assert tuple(flag for flag in row.flags if flag not in BESIDE) == flags
        assert (row.quality_l20, row.quality_qartod) == ("9", 9)
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
        unseen = {row.minute for row in rows if "hits_unseen" in row.flags}
        assert unseen == {at(1)}
        assert {row.minute: row.share_of_hits for row in rows} == {at(0): 1, at(1): 0.5}

    @pytest.mark.parametrize(("misses", "flagged"), [(500, False), (501, True)])
    def test_mostly_missed_begins_above_fifty_misses_a_hit(self, misses, flagged):
        assert ("mostly_missed" in one_minute(1, 10, misses).flags) is flagged

    def test_columns_are_those_of_the_published_table(self):
        names = [field.name for field in dataclasses.fields(CountRow)]
        assert names[:11] == [
            "bin", "minute", "label", "count", "hits", "misses", "raised_count", "litres",
            "per_litre", "per_litre_low", "per_litre_high",
        ]  # fmt: skip
        assert names[-1] == "flags"
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
        assert used <= {*FLAGS, "no_position"}


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


class TestPooling:
    """One way to pool: gamma limits over all minutes."""

    def test_pooled_limits_are_exact_where_the_sum_of_half_widths_is_not(self):
        # 12 images in six bins of ten minutes: Garwood's limits of 12 over 2,040 litres
        rows = []
        for b in range(6):
            start = at(10 * b)
            bin_id = f"pia7.{start:%Y-%m-%d.%H%M}"
            counts = {(bin_id, start + timedelta(minutes=i), "rest"): 9 for i in range(10)}
            counts |= {(bin_id, start + timedelta(minutes=i), "a"): 1 for i in range(2)}
            table = [(10 if i < 2 else 9, 0) for i in range(10)]
            rows += minute_rows(counts, {bin_id: table}, {bin_id: start}, ["a", "rest"])
        mean = pool(row for row in rows if row.label == "a")
        assert mean.minutes == 60
        assert mean.low == pytest.approx(6.2006 / 2040, abs=1e-6)
        assert mean.high == pytest.approx(20.9616 / 2040, abs=1e-6)

    def test_bins_pool_to_the_same_as_their_minutes(self):
        table = [(100, 900 * (i % 3)) for i in range(10)]
        rows, total = full_bin(list(range(10)), table)
        again = Sums.of_stretch(
            total.minutes_observed, total.raised_count, total.raised_variance,
            total.largest_factor, total.litres, total.per_litre_sd,
        )  # fmt: skip
        one, other = densities([again])[0], pool(row for row in rows if row.label == "a")
        assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other))

    def test_a_class_that_is_absent_for_a_day_has_one_upper_limit_not_the_sum_of_many(self):
        rows, _ = full_bin([0] * 10, [(100, 0)] * 10)
        mean = densities([sum((row.sums for row in rows[:1] * 600), Sums())])[0]
        assert mean.high == pytest.approx(3.6889 / (34 * 600), rel=1e-4)

    def test_the_interval_of_the_water_mass_is_students(self):
        stats = pytest.importorskip("scipy.stats")
        counts = [300, 400, 250, 500, 300]
        _, total = full_bin(counts, [(1000, 0)] * 5)
        values = np.array(counts) / 34
        half = stats.t.ppf(0.975, 4) * values.std(ddof=1) / 5**0.5
        assert total.water_mass_low == pytest.approx(values.mean() - half)
        assert total.water_mass_high == pytest.approx(values.mean() + half)

    def test_the_interval_of_the_water_mass_takes_three_minutes_and_holds_the_other(self):
        for minutes in (1, 2):
            _, total = full_bin([5] * minutes, [(100, 0)] * minutes)
            assert (total.water_mass_low, total.water_mass_high) == (None, None)
        _, total = full_bin([5] * 3, [(100, 0)] * 3)  # equal by chance: no certainty of it
        assert total.water_mass_low == total.per_litre_low
        assert total.water_mass_high == total.per_litre_high

    def test_nothing_pools_to_nothing(self):
        assert pool([]) is None
        assert densities([None, Sums()]) == [None, None]


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
