"""Minutes pooled: one density and its limits."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import numpy as np
import pytest
from bin_tables import at, full_bin

from pi10_classifier.abundance.bins import pool
from pi10_classifier.abundance.density import Sums, densities
from pi10_classifier.abundance.minutes import minute_rows


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
