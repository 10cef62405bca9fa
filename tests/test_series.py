"""Density over time: coarsened as it grows, sums kept."""

import numpy as np
import pytest
from report_folder import CLASSES, after

from pi10_classifier.series import Series


def row(minute, label="copepod", count=1, litres="34", density="2"):
    known = {"litres": litres, "per_litre": density, "per_litre_low": "1", "per_litre_high": "4"}
    return {"bin": "b", "minute": minute, "label": label, "count": str(count), **known}


def test_a_series_coarsens_and_keeps_its_sums():
    series = Series(limit=50)
    for i in range(6, 606):
        for label in CLASSES:
            series.add(row(after(minutes=i), label), "minute")
    assert series.step_name == "hour"
    times, *curve = series.curve("detritus", density=True)
    assert len(times) == 10 and set(np.diff(times)) == {60}
    expected = [2, 2 - 1 / 60**0.5, 2 + 2 / 60**0.5]
    assert np.array(curve) == pytest.approx(np.repeat(expected, 10).reshape(3, 10))
    assert series.curve("detritus", density=False)[1] == pytest.approx([60.0] * 10)
    assert series.density(times.astype(int)) == pytest.approx([6.0] * 10)


def test_a_minute_without_density_is_not_zero():
    series = Series(limit=50)
    series.add(row(after()), "minute")
    series.add(row(after(minutes=1), litres="", density=""), "minute")
    series.add(row("", count=5), "minute")
    series.add(row("not a time", count=2), "minute")
    assert series.curve("copepod", density=True).shape == (4, 1)
    assert series.curve("copepod", density=False).shape == (4, 2)
    assert (series.without_density, series.untimed) == (1, 7)
    assert series.mean("copepod") == pytest.approx([2, 1, 4])
