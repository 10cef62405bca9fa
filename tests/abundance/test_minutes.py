"""Each minute: raised by hits and misses, or empty with a reason."""

from __future__ import annotations

import dataclasses
from datetime import UTC, timedelta, timezone

import numpy as np
import pytest
from bin_tables import BESIDE, BIN, LABELS, START, at, one_minute

from pi10_classifier.abundance.bins import BinRow, bin_rows, means
from pi10_classifier.abundance.density import gamma_limits
from pi10_classifier.abundance.minutes import CountRow, minute_rows
from pi10_classifier.abundance.quality import FLAGS


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

    @pytest.mark.parametrize(("blank", "bad"), [(10, False), (11, True), (20, True)])
    def test_a_bin_of_mostly_blank_images_is_no_absence(self, blank, bad):
        counts = {(BIN, START, "a"): 20 - blank, (BIN, START, "no_particle"): blank}
        row = minute_rows(counts, {BIN: [(20, 0)]}, {BIN: START}, ["a"])[0]
        assert ("mostly_blank" in row.flags, row.quality_l20 == "4") == (bad, bad)

    def test_of_few_images_most_may_be_blank_by_chance(self):
        counts = {(BIN, START, "no_particle"): 9}
        row = minute_rows(counts, {BIN: [(9, 0)]}, {BIN: START}, ["a"])[0]
        assert "mostly_blank" not in row.flags

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
