"""Density over time: coarsened as it grows, sums kept."""

import numpy as np
import pytest
from report_folder import CLASSES, after
from scipy.stats import chi2

from pi10_classifier.report.density_series import Series


def row(minute, label="copepod", count=17, raised="68", **more):
    """17 of 50 images, each of which stands for four particles."""
    known = {"hits": "50", "misses": "150", "images": "50", "litres": "34", "raised_count": raised}
    return {"bin": "b", "minute": minute, "label": label, "count": str(count), **known, **more}


def limits(count):
    """Garwood's, of so many images that stand for four particles each."""
    return chi2.ppf(0.025, 2 * count) * 2, chi2.ppf(0.975, 2 * count + 2) * 2


def test_a_series_coarsens_and_keeps_its_sums():
    series = Series(limit=50)
    for i in range(6, 606):
        for label in CLASSES:
            series.add(row(after(minutes=i), label), "minute")
    assert series.step_name == "hour"
    times, *curve = series.curve("detritus", density=True)
    assert len(times) == 10 and set(np.diff(times)) == {60}
    expected = [2, *(limit / 34 / 60 for limit in limits(17 * 60))]
    assert np.array(curve) == pytest.approx(np.repeat(expected, 10).reshape(3, 10))
    assert series.curve("detritus", density=False)[1] == pytest.approx([17 * 60.0] * 10)
    assert series.density(times.astype(int)) == pytest.approx([6.0] * 10)


def test_a_minute_without_density_is_not_zero():
    series = Series(limit=50)
    series.add(row(after()), "minute")
    series.add(row(after(minutes=1), raised=""), "minute")
    series.add(row("", count=5), "minute")
    series.add(row("not a time", count=2), "minute")
    assert series.curve("copepod", density=True).shape == (4, 1)
    assert series.curve("copepod", density=False).shape == (4, 2)
    assert (series.without_density, series.untimed) == (1, 7)
    mean = series.mean("copepod")
    assert (mean.per_litre, mean.low, mean.high) == pytest.approx(
        [2, *(limit / 34 for limit in limits(17))]
    )


def test_times_outside_their_bin_shape_no_axis():
    series = Series(limit=50)
    series.add(row(after()), "minute")
    series.add(row("2000-01-01T00:00:00Z", raised="", flags="clock_outside_bin"), "minute")
    assert series.curve("copepod", density=False).shape == (4, 1)
    assert series.untimed == 17


def test_bad_minutes_are_left_out_of_the_second_mean():
    series = Series(limit=50)
    series.add(row(after(), quality_l20="1"), "minute")
    series.add(row(after(minutes=1), raised="6800", misses="19950", quality_l20="4"), "minute")
    assert series.bad == 1
    assert series.mean("copepod").per_litre == pytest.approx((2 + 200) / 2)
    assert series.good_mean("copepod").per_litre == pytest.approx(2)
