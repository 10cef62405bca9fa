"""Raised biovolume of each bin and class, for exports; whatever the sizes, as one sum.

Memory grows with the bins and classes, not with the particles nor the size classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.abundance.density import gamma_limits
from pi10_classifier.sizes.biovolume import sphere_mm3
from pi10_classifier.sizes.reading import read_minutes, read_particles
from pi10_classifier.sizes.sums import Batch, MinuteFactors

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_PARTICLES, _UNSIZED, _TOTAL, _VARIANCE, _LARGEST = range(5)
LITRES_PER_M3 = 1000.0


@dataclass(frozen=True, slots=True)
class Biovolume:
    """Biovolume of particles of weight w and sphere's volume v in mm³, and of how many images.

    total: the sum of w v. variance: of (w v)². largest: the greatest w v. without_size: those of
    the images that nothing is known of, and that are not in the sums.
    """

    images: int
    without_size: int
    total: float
    variance: float
    largest: float

    def per_m3(self, litres: float) -> tuple[float, float | None, float | None]:
        """mm³ in a cubic metre of water, with 95 % limits for the water sampled."""
        m3 = litres / LITRES_PER_M3
        if not self.largest:
            return 0.0, None, None
        low, high = gamma_limits(
            np.array([self.total]), np.array([self.variance]), np.array([self.largest])
        )
        return self.total / m3, float(low[0]) / m3, float(high[0]) / m3


def together(parts: Iterable[Biovolume]) -> Biovolume:
    """Several classes as one: each image is in one of them, so the sums add up."""
    rows = list(parts)
    return Biovolume(
        sum(row.images for row in rows),
        sum(row.without_size for row in rows),
        sum(row.total for row in rows),
        sum(row.variance for row in rows),
        max((row.largest for row in rows), default=0.0),
    )


def bin_biovolumes(run: Path) -> dict[tuple[str, str], Biovolume]:
    """Bin and class -> the biovolume of its particles, in minutes that have a density.

    Raises SettingError where ``counts.csv`` or ``predictions.parquet`` cannot be read.
    """
    factors = MinuteFactors(lambda name, is_bad: name)
    read_minutes(run, factors)
    sums = _BinSums()
    read_particles(run, factors, sums)
    return sums.rows()


class _BinSums:
    """Takes particles as ``SizeSums`` does; strata are bins."""

    def __init__(self) -> None:
        self._bins: Sequence[str] = ()
        self._of: dict[str, F64] = {}  # class -> (bins, 5)

    def add(self, batch: Batch) -> None:
        self._bins = batch.strata
        raised = np.isfinite(batch.factor)
        for code, label in enumerate(batch.labels):
            its = batch.rows(np.flatnonzero(raised & (batch.codes == code)))
            if not len(its.codes):
                continue
            sums = self._of.setdefault(label, np.zeros((len(batch.strata), 5)))
            esd = its.sizes["esd_um"]
            sized = np.isfinite(esd) & (esd > 0)
            volume = sphere_mm3(np.where(sized, esd, 0.0))
            total = volume * its.factor
            for column, values in (
                (_PARTICLES, None), (_UNSIZED, ~sized * 1.0), (_TOTAL, total),
                (_VARIANCE, total * volume * its.weight),
            ):  # fmt: skip
                sums[:, column] += np.bincount(its.places, values, len(batch.strata))
            np.maximum.at(sums[:, _LARGEST], its.places, volume * its.weight)

    def rows(self) -> dict[tuple[str, str], Biovolume]:
        return {
            (name, label): Biovolume(int(row[0]), int(row[1]), *row[2:].tolist())
            for label, sums in self._of.items()
            for name, row in zip(self._bins, sums, strict=True)
            if row[_PARTICLES]
        }
