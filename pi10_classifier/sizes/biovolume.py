"""Biovolume and carbon of single particles, from their measured sizes.

Volumes are in mm³, sizes in µm, carbon in µg. A silhouette has no depth, so a volume is a model:
the sphere of the silhouette's area, or the ellipsoid whose third axis equals the minor one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError

F64 = NDArray[np.float64]

_MM3 = 1e-9  # mm³ of one µm³


def sphere_mm3(esd_um: F64) -> F64:
    """Volume of a sphere, pi / 6 ESD³: (n,) mm³; NaN stays NaN."""
    return np.asarray(math.pi / 6 * esd_um**3 * _MM3, np.float64)


def ellipsoid_mm3(major_um: F64, minor_um: F64) -> F64:
    """Volume of a prolate ellipsoid, pi / 6 major minor²: (n,) mm³; NaN stays NaN."""
    return np.asarray(math.pi / 6 * major_um * minor_um**2 * _MM3, np.float64)


def esd_um(volume_mm3: F64) -> F64:
    """Diameter of the sphere of a volume: (n,) µm."""
    return np.asarray(np.cbrt(6 / math.pi * volume_mm3 / _MM3), np.float64)


@dataclass(frozen=True, slots=True)
class Conversion:
    """Carbon of one individual, factor x volume^exponent, in µg of a volume in mm³.

    citation: where the constants are published. suits: what they were measured on.
    """

    name: str
    factor: float
    exponent: float
    suits: str
    citation: str

    def carbon_ug(self, volume_mm3: F64) -> F64:
        """(n,) µg of carbon; NaN stays NaN."""
        return np.asarray(self.factor * volume_mm3**self.exponent, np.float64)


def _of_cells(name: str, log_a: float, exponent: float, suits: str) -> Conversion:
    """log10 pg C = log_a + exponent log10 µm³, the form of Menden-Deuer and Lessard 2000."""
    factor = 10**log_a * 1e-6 / _MM3**exponent
    return Conversion(name, factor, exponent, suits, _MENDEN_DEUER)


_MENDEN_DEUER = (
    "Menden-Deuer & Lessard 2000, Limnology and Oceanography 45:569-579, "
    "https://doi.org/10.4319/lo.2000.45.3.0569"
)

CONVERSIONS = {
    conversion.name: conversion
    for conversion in (
        Conversion(
            "gallienne2001", 47.5, 1.0, "mesozooplankton dominated by copepods: 0.0475 mg C mm-3",
            "Gallienne et al. 2001, Deep-Sea Research II 48:925-949, as applied to plankton "
            "counters by Basedow et al. 2014, Journal of Marine Systems 130:147-159",
        ),
        _of_cells("menden_deuer2000_protist", -0.665, 0.939, "protists other than diatoms"),
        _of_cells("menden_deuer2000_diatom", -0.933, 0.881, "diatoms above 3000 µm³"),
    )
}  # fmt: skip

# noncopepod holds larvae, gelatinous animals and protists: no published constant is for them all
CARBON_OF_CLASS: Mapping[str, str] = {"copepod": "gallienne2001"}


def conversions_of(chosen: Sequence[str]) -> dict[str, Conversion]:
    """Class -> conversion: the defaults, changed by ``CLASS=NAME`` (NAME ``none`` takes one away).

    Raises SettingError for an unknown name.
    """
    names = dict(CARBON_OF_CLASS)
    for text in chosen:
        label, equals, name = text.rpartition("=")
        if not (equals and label and (name in CONVERSIONS or name == "none")):
            raise SettingError(
                f"--carbon is {text!r}; give CLASS=NAME, where NAME is one of "
                f"{', '.join(CONVERSIONS)}, or none"
            )
        names[label] = name
    return {label: CONVERSIONS[name] for label, name in names.items() if name != "none"}
