"""The normalised biovolume size spectrum: its classes, and its slope with an interval.

Size classes double in volume: class k holds volumes from 2^k to 2^(k+1) mm³ (Platt and Denman
1978). The normalised biovolume of a class is its biovolume per m³ of water over the width of the
class, mm³ m-3 mm-3. On a power law of volumes, n(V) ~ V^(slope - 1), it is a straight line of this
slope in a plot of logarithms.

The slope is not fitted to that line: classes with few particles would bias it. It is the maximum of
the likelihood of a bounded power law for the volumes themselves (Edwards et al. 2017, Methods in
Ecology and Evolution 8:57, https://doi.org/10.1111/2041-210X.12641), each particle weighted by the
particles that its image stands for. ``benchmarks/size_spectrum.py`` compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.abundance.density import CONFIDENCE
from pi10_classifier.errors import SettingError
from pi10_classifier.sizes.biovolume import sphere_mm3

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

FROM_UM, TO_UM = 180.0, 35_000.0  # what the instrument is built to catch
LEAST_PARTICLES = 10  # fewer give no slope
_STEEPEST = 200.0


def class_of(volume_mm3: F64) -> I64:
    """The size class of each volume above 0: the whole part of its binary logarithm, exactly."""
    return np.frexp(volume_mm3)[1].astype(np.int64) - 1


def class_limits(number: int) -> tuple[float, float]:
    """Lower and upper limit of a class, mm³."""
    return 2.0**number, 2.0 ** (number + 1)


@dataclass(frozen=True, slots=True)
class Range:
    """The volumes that a slope is fitted to: from ``low`` to ``high``, mm³."""

    low: float
    high: float

    @classmethod
    def of_esd(cls, from_um: float = FROM_UM, to_um: float = TO_UM) -> Range:
        """By equivalent spherical diameter. Raises SettingError for an empty range."""
        if not 0 < from_um < to_um < math.inf:
            raise SettingError(
                f"sizes from {from_um:g} to {to_um:g} µm are no range; give two sizes above 0, the "
                "smaller one first"
            )
        low, high = sphere_mm3(np.array([from_um, to_um])).tolist()
        return cls(low, high)

    @property
    def span(self) -> float:
        """Its width in natural logarithms."""
        return math.log(self.high / self.low)

    def logs(self, volume_mm3: F64) -> F64:
        """ln(V / low) of each volume within the range, NaN of the others: (n,)."""
        inside = (volume_mm3 >= self.low) & (volume_mm3 < self.high)
        return np.log(np.where(inside, volume_mm3, np.nan) / self.low)


@dataclass(slots=True)
class SlopeSums:
    """Sums over the particles in a range, with x = ln(V / low) and the weight w of each.

    All that a slope needs; sums of two sets can be added.
    """

    particles: int = 0
    w: float = 0.0
    wx: float = 0.0
    ww: float = 0.0
    wwx: float = 0.0
    wwxx: float = 0.0

    @classmethod
    def of(cls, x: F64, weight: F64) -> SlopeSums:
        """x, weight: (n,), without NaN."""
        square = weight**2
        sums = (weight, weight * x, square, square * x, square * x**2)
        return cls(len(x), *(float(values.sum()) for values in sums))

    def __add__(self, other: SlopeSums) -> SlopeSums:
        return SlopeSums(
            self.particles + other.particles, self.w + other.w, self.wx + other.wx,
            self.ww + other.ww, self.wwx + other.wwx, self.wwxx + other.wwxx,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slope:
    """Slope of the normalised biovolume size spectrum, with its 95 % limits.

    The limits cover the chance of counting alone. effective: as many particles of equal weight
    would tell as much.
    """

    slope: float
    low: float
    high: float
    particles: int
    effective: float


def fit_slope(sums: SlopeSums, span: float) -> Slope | None:
    """The slope over a range of ``span``; None where the particles are too few.

    The weighted mean of x is all that the likelihood depends on. The limits are those of a score
    test: the means m for which (sum w (x - m))² is at most t² sum w² (x - m)², with Student's t of
    the effective number less one.
    """
    from scipy.special import stdtrit

    if sums.particles < LEAST_PARTICLES or sums.ww <= 0:
        return None
    effective = sums.w**2 / sums.ww
    t = float(stdtrit(effective - 1, (1 + CONFIDENCE) / 2)) if effective > 1 else math.inf
    a = sums.w**2 - t**2 * sums.ww
    if not a > 0:
        return None
    b = sums.w * sums.wx - t**2 * sums.wwx
    c = sums.wx**2 - t**2 * sums.wwxx
    root = math.sqrt(max(b * b - a * c, 0.0))
    mean = sums.wx / sums.w
    slope, low, high = (slope_of_mean(m, span) for m in (mean, (b - root) / a, (b + root) / a))
    return Slope(slope, low, high, sums.particles, effective)


def mean_of_slope(slope: float, span: float) -> float:
    """The mean of x on [0, span] where its density goes with exp(slope x)."""
    z = slope * span
    if abs(z) < 1e-4:
        return span * (0.5 + z / 12)
    if abs(z) > 500:
        return -1 / slope if z < 0 else span - 1 / slope
    return span / -math.expm1(-z) - 1 / slope


def slope_of_mean(mean: float, span: float) -> float:
    """The inverse of ``mean_of_slope``; -inf or inf for a mean outside the range."""
    low, high = -_STEEPEST, _STEEPEST
    if mean <= mean_of_slope(low, span):
        return -math.inf
    if mean >= mean_of_slope(high, span):
        return math.inf
    while high - low > 1e-10:  # halved about 40 times; the mean grows with the slope
        middle = (low + high) / 2
        if mean_of_slope(middle, span) < mean:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def line(slope: float, total: float, span: float, x: F64) -> F64:
    """Normalised biovolume at x = ln(V / low) of a power law with ``total`` particles per m³."""
    z = slope * span
    scale = 1 / span if abs(z) < 1e-9 else slope / math.expm1(z)
    return np.asarray(total * scale * np.exp(slope * x), np.float64)
