"""The normalised biovolume size spectrum of a class, from its sums."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pi10_classifier.abundance.density import gamma_limits
from pi10_classifier.sizes.biovolume import esd_um
from pi10_classifier.sizes.slope import Range, class_limits
from pi10_classifier.sizes.sums import AMOUNTS, UNSIZED, Cell


@dataclass(frozen=True, slots=True)
class SpectrumRow:
    """One size class of a spectrum; a line of ``size_spectrum.csv``.

    normalised_biovolume: mm³ m-3 mm-3, with its limits. complete: the whole class lies in the range
    that the slope is fitted to.
    """

    stratum: str
    label: str
    size_class: int
    volume_from_mm3: float
    volume_to_mm3: float
    volume_middle_mm3: float
    esd_from_um: float
    esd_to_um: float
    particles: int
    normalised_biovolume: float
    normalised_biovolume_low: float
    normalised_biovolume_high: float
    complete: bool


def esd_limits(number: int) -> tuple[float, float]:
    """Diameters, µm, of spheres of a class's limits."""
    low, high = esd_um(np.array(class_limits(number))).tolist()
    return low, high


def spectrum(
    cells: Mapping[int, Cell], m3: float, weight: float, limits: Range, volume: str,
    stratum: str = "", label: str = "",
) -> Iterator[SpectrumRow]:  # fmt: skip
    """The classes of a spectrum from the smallest to the largest that holds a particle.

    m3: of water. weight: the greatest that an image has in it. volume: the kind of volume.
    """
    numbers = sorted(set(cells) - {UNSIZED})
    if not numbers:
        return
    at = AMOUNTS.sphere if volume == "sphere" else AMOUNTS.ellipsoid
    every = [cells.get(number, Cell()) for number in range(numbers[0], numbers[-1] + 1)]
    total = np.array([cell.total[at] for cell in every])
    variance = np.array([cell.variance[at] for cell in every])
    width = np.exp2(np.arange(numbers[0], numbers[-1] + 1))  # that of a class is its lower limit
    low, high = gamma_limits(total, variance, weight * 2 * width)
    values, lows, highs = (its / width / m3 for its in (total, low, high))
    for place, cell in enumerate(every):
        number = numbers[0] + place
        begin, end = class_limits(number)
        esd_from, esd_to = esd_limits(number)
        yield SpectrumRow(
            stratum, label, number, begin, end, begin * math.sqrt(2), esd_from, esd_to,
            cell.particles, float(values[place]), float(lows[place]), float(highs[place]),
            complete=begin >= limits.low and end <= limits.high,
        )  # fmt: skip
