"""Slopes of size spectra: the likelihood's maximum, and how often the interval holds the slope."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize

from pi10_classifier.errors import SettingError
from pi10_classifier.sizes.slope import (
    Range,
    SlopeSums,
    class_limits,
    class_of,
    fit_slope,
    line,
    mean_of_slope,
    slope_of_mean,
)

SPAN = Range.of_esd().span


def draw(number, slope, rng):
    return np.log1p(rng.random(number) * np.expm1(slope * SPAN)) / slope


def test_classes_double_and_their_limits_are_exact():
    volumes = np.array([2.0**-9, np.nextafter(2.0**-8, 0), 2.0**-8, 1.0, 1.999, 2.0, 2.0**40])
    assert class_of(volumes).tolist() == [-9, -9, -8, 0, 0, 1, 40]
    assert class_limits(-8) == (0.00390625, 0.0078125)


def test_the_fit_is_where_the_weighted_likelihood_is_greatest():
    rng = np.random.default_rng(0)
    x, w = draw(300, -0.9, rng), rng.uniform(1, 20, 300)

    def loss(slope):
        return -(w * (slope * x - np.log(np.expm1(slope * SPAN) / slope))).sum()

    best = optimize.minimize_scalar(loss, bounds=(-3, -0.1), method="bounded").x
    found = fit_slope(SlopeSums.of(x, w), SPAN)
    assert found.slope == pytest.approx(best, abs=1e-4)
    assert found.low < found.slope < found.high
    assert found.effective == pytest.approx(w.sum() ** 2 / (w**2).sum())
    halves = SlopeSums.of(x[:100], w[:100]) + SlopeSums.of(x[100:], w[100:])
    assert fit_slope(halves, SPAN).low == pytest.approx(found.low)


@pytest.mark.parametrize("slope", [-1.0, -0.6])
def test_the_interval_holds_the_slope_in_about_95_of_100(slope):
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        weight = rng.choice([1.0, 3.0, 30.0], 200, p=[0.6, 0.3, 0.1])
        found = fit_slope(SlopeSums.of(draw(200, slope, rng), weight), SPAN)
        held += found is not None and found.low <= slope <= found.high
    assert 368 <= held <= 396  # 95 % is 380; two in three thousand lie outside by chance


def test_too_few_particles_or_one_that_outweighs_all_give_no_slope():
    rng = np.random.default_rng(2)
    assert fit_slope(SlopeSums(), SPAN) is None
    assert fit_slope(SlopeSums.of(draw(9, -1.0, rng), np.ones(9)), SPAN) is None
    weight = np.r_[1000.0, np.ones(29)]
    assert fit_slope(SlopeSums.of(draw(30, -1.0, rng), weight), SPAN) is None


def test_means_and_slopes_are_each_others_inverse():
    for slope in (-80.0, -1.3, -1e-6, 0.0, 1e-6, 0.7, 60.0):
        assert slope_of_mean(mean_of_slope(slope, SPAN), SPAN) == pytest.approx(slope, abs=1e-6)
    assert slope_of_mean(-1.0, SPAN) == -math.inf and slope_of_mean(SPAN + 1, SPAN) == math.inf


@pytest.mark.parametrize("slope", [-1.2, 0.0, 0.4])
def test_the_line_holds_all_particles(slope):
    area, _ = integrate.quad(lambda x: float(line(slope, 500.0, SPAN, np.array(x))), 0, SPAN)
    assert area == pytest.approx(500.0)


@pytest.mark.parametrize("sizes", [(0.0, 100.0), (180.0, 180.0), (400.0, 200.0), (math.nan, 1.0)])
def test_a_range_that_is_none_is_refused(sizes):
    with pytest.raises(SettingError, match="smaller one first"):
        Range.of_esd(*sizes)
