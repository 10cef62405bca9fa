"""Volumes and carbon of single particles, against values worked out elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.sizes.biovolume import (
    CONVERSIONS,
    conversions_of,
    ellipsoid_mm3,
    esd_um,
    sphere_mm3,
)


def test_volumes():
    assert sphere_mm3(np.array([1000.0]))[0] == pytest.approx(0.5235988)
    assert ellipsoid_mm3(np.array([2000.0]), np.array([500.0]))[0] == pytest.approx(0.2617994)
    same = np.array([180.0, 35_000.0])
    assert np.allclose(ellipsoid_mm3(same, same), sphere_mm3(same))
    assert np.allclose(esd_um(sphere_mm3(same)), same)
    assert math.isnan(sphere_mm3(np.array([np.nan]))[0])


@pytest.mark.parametrize(
    ("name", "volume_um3", "picograms"),
    [
        # of the examples of R's iRfcb: vol2C_nondiatom and vol2C_lgdiatom
        ("menden_deuer2000_protist", 5000.0, 643.1804),
        ("menden_deuer2000_protist", 10_000.0, 1233.1048),
        ("menden_deuer2000_diatom", 5000.0, 211.7350),
        ("menden_deuer2000_diatom", 20_000.0, 718.1372),
        ("gallienne2001", 1e9, 0.0475e9),  # 0.0475 mg of a mm³
    ],
)
def test_carbon(name, volume_um3, picograms):
    carbon = CONVERSIONS[name].carbon_ug(np.array([volume_um3 * 1e-9]))
    assert carbon[0] * 1e6 == pytest.approx(picograms, rel=1e-6)


def test_conversions_are_chosen_by_class():
    assert {label: its.name for label, its in conversions_of(()).items()} == {
        "copepod": "gallienne2001"
    }
    chosen = conversions_of(("copepod=none", "a=b=menden_deuer2000_diatom"))
    assert {label: its.name for label, its in chosen.items()} == {"a=b": "menden_deuer2000_diatom"}
    for text in ("copepod", "copepod=lehette", "=none"):
        with pytest.raises(SettingError, match="gallienne2001"):
            conversions_of((text,))
