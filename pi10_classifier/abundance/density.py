"""Turns sums over minutes into individuals per litre, with both 95 % intervals.

Tables, report, service and the watcher's lines all use this module, so that they agree.
``bins`` says what the intervals include.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

LITRES_PER_MINUTE = 34.0
CONFIDENCE = 0.95
LEAST_MINUTES = 3  # fewer give no interval of the water mass


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over minutes that have a density; the sums of two stretches can be added.

    raised: individuals; variance: sum of weight² x count; largest: the greatest weight;
    squares: sum of the minutes' squared densities, (per litre)².
    """

    minutes: int = 0
    raised: float = 0.0
    variance: float = 0.0
    largest: float = 0.0
    litres: float = 0.0
    squares: float = 0.0

    @classmethod
    def of_minute(cls, raised: float, weight: float) -> Sums:
        """One minute of ``raised`` individuals; each image stands for ``weight`` of them."""
        litres = LITRES_PER_MINUTE
        return cls(1, raised, raised * weight, weight, litres, (raised / litres) ** 2)

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.minutes + other.minutes,
            self.raised + other.raised,
            self.variance + other.variance,
            max(self.largest, other.largest),
            self.litres + other.litres,
            self.squares + other.squares,
        )

    @property
    def sd(self) -> float | None:
        """Standard deviation between the minutes' densities, per litre; None for one minute."""
        if self.minutes < 2:
            return None
        mean = self.raised / self.litres
        return float(np.sqrt(max(self.squares - self.minutes * mean**2, 0.0) / (self.minutes - 1)))

    @classmethod
    def of_stretch(
        cls, minutes: int, raised: float, variance: float, largest: float, litres: float, sd: float
    ) -> Sums:
        """The sums of several minutes, from the columns of ``bins.csv``; sd: 0 for one minute."""
        squares = (minutes - 1) * sd**2 + minutes * (raised / litres) ** 2
        return cls(minutes, raised, variance, largest, litres, squares)


@dataclass(frozen=True, slots=True)
class Density:
    """Individuals per litre over some minutes, with both 95 % intervals.

    The limits of the water mass are None where there are fewer than three minutes.
    """

    minutes: int
    raised_count: float
    litres: float
    per_litre: float
    low: float
    high: float
    water_mass_low: float | None
    water_mass_high: float | None


def densities(sums: Sequence[Sums | None]) -> list[Density | None]:
    """Densities of many stretches at once; None for a stretch without a minute."""
    stretches = [stretch if stretch and stretch.minutes else None for stretch in sums]
    columns = [
        (s.raised, s.variance, s.largest, s.litres, s.sd or 0.0, s.minutes) for s in stretches if s
    ]
    if not columns:
        return [None] * len(stretches)
    raised, variance, largest, litres, sd, minutes = np.array(columns, np.float64).T
    low, high = (limit / litres for limit in gamma_limits(raised, variance, largest))
    mean = raised / litres
    half = _student(minutes) * sd / np.sqrt(minutes)
    mass_low = np.minimum(np.maximum(mean - half, 0.0), low)
    mass_high = np.maximum(mean + half, high)
    rows = iter(
        zip(*(c.tolist() for c in (raised, litres, mean, low, high, mass_low, mass_high)),
            strict=True)
    )  # fmt: skip
    out: list[Density | None] = []
    for stretch in stretches:
        if stretch is None:
            out.append(None)
            continue
        *values, mass_from, mass_to = next(rows)
        enough = stretch.minutes >= LEAST_MINUTES
        water_mass = (mass_from, mass_to) if enough else (None, None)
        out.append(Density(stretch.minutes, *values, *water_mass))
    return out


def total_of(sums: Iterable[Sums | None]) -> Sums:
    """The sums of all minutes together."""
    total = Sums()
    for stretch in sums:
        if stretch:
            total += stretch
    return total


def gamma_limits(total: F64, variance: F64, largest: F64) -> tuple[F64, F64]:
    """95 % limits of sums of weighted Poisson counts; arrays (n,), NaN stays NaN.

    total: sum of w k over counts k of weight w; variance: sum of w^2 k; largest: the
    greatest w. Fay and Feuer 1997; with one weight, Garwood 1936.
    """
    from scipy.special import gammaincinv  # type: ignore[import-untyped, unused-ignore]

    tail = (1 - CONFIDENCE) / 2
    some = total > 0
    scale = np.divide(variance, total, out=np.zeros_like(total), where=some)
    shape = np.divide(total, scale, out=np.ones_like(total), where=some)
    low = np.where(some, scale * gammaincinv(shape, tail), total)
    total, variance = total + largest, variance + largest**2
    high = variance / total * gammaincinv(total**2 / variance, 1 - tail)
    return low, high


def _student(minutes: F64) -> F64:
    """The upper 2.5 % point of Student's t for a mean over ``minutes``; 0 for one minute."""
    from scipy.special import stdtrit

    several = np.maximum(minutes - 1, 1)
    out: F64 = np.where(minutes > 1, stdtrit(several, (1 + CONFIDENCE) / 2), 0.0)
    return out
