"""How far a minute's images lie from a reference, and how much of that chance explains.

A quantity is compared within each predicted class by ridits (Bross 1958, Biometrics 14:18,
https://doi.org/10.2307/2527727): an image's ridit is the share of the reference's images of its
class that lie below it. Their mean less a half is the shift. It is Mann and Whitney's U over the
product of both sizes, less a half. Classes are weighted by the reference's mix. So a change of the
mix alone shifts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.drift.quantities import MIX
from pi10_classifier.drift.reference import CELLS, Cells, Reference
from pi10_classifier.drift.sums import Table

LEAST_SD = 0.01  # of a shift between minutes: what is smaller is of no importance


class Shift(NamedTuple):
    """value: -0.5 (all below the reference) to 0.5. sd: by chance alone."""

    value: float
    sd: float


def shift(reference: Reference, table: Table, name: str) -> Shift | None:
    """The shift of a quantity; None where no image of a class of the reference has it."""
    total = weighted = variance = 0.0
    for label, cells, counts in _classes(reference, table, name):
        images, weight = int(counts.sum()), reference.mix[label]
        total += weight
        weighted += weight * (float(counts @ cells.ridits) / images - 0.5)
        variance += weight**2 * cells.variance / images
    if not variance > 0:  # no image, or all of the reference in one cell
        return None
    return Shift(weighted / total, math.sqrt(variance) / total)


def cells_psi(reference: Reference, table: Table, name: str) -> float | None:
    """The mean PSI of a quantity's cells over the classes, weighted by the reference's mix."""
    total = weighted = 0.0
    for label, cells, counts in _classes(reference, table, name):
        total += reference.mix[label]
        weighted += reference.mix[label] * psi(counts, np.array(cells.shares))
    return weighted / total if total else None


def _classes(
    reference: Reference, table: Table, name: str
) -> Iterator[tuple[str, Cells, NDArray[np.int64]]]:
    """The classes of which there are images, with a quantity's cells and the counts in them."""
    start = 1 + reference.quantities.index(name) * CELLS
    for label, row in zip(reference.classes, table, strict=True):
        cells = reference.cells.get(label, {}).get(name)
        if cells is not None:
            counts = row[start : start + len(cells.shares)]
            if counts.any():
                yield label, cells, counts


def psi(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> float:
    """Population stability index of counts (cells,) against a reference's shares (cells,).

    Sum of (p - q) ln(p / q) (Kullback and Leibler's J divergence, 1951, Ann. Math. Statist.
    22:79). Half an image is added to each cell, so that empty ones have a logarithm.
    """
    images = int(counts.sum())
    mine = (counts + 0.5) / (images + 0.5 * len(counts))
    theirs = (shares * images + 0.5) / (images + 0.5 * len(counts))
    return float(np.sum((mine - theirs) * np.log(mine / theirs)))


def mix_psi(reference: Reference, table: Table) -> float:
    """The PSI of the classes' shares."""
    return psi(table[:, 0], np.array(list(reference.mix.values())))


def deviations(reference: Reference, table: Table) -> dict[str, float]:
    """By quantity: how many sd a minute lies off, about standard normal for good minutes.

    Negative: below the reference; the mix has only positive surprises. The sd joins chance and the
    differences between the reference's minutes.
    """
    out = {}
    for name in reference.quantities:
        found = shift(reference, table, name)
        if found:
            usual = reference.between[name]
            sd = math.hypot(found.sd, usual.sd, LEAST_SD)
            out[name] = (found.value - usual.mean) / sd
    if images := int(table[:, 0].sum()):
        out[MIX] = _mix_deviation(reference, mix_psi(reference, table), images)
    return out


def _mix_deviation(reference: Reference, index: float, images: int) -> float:
    """Images x PSI is about chi-squared; its cube root is about normal.

    Wilson and Hilferty 1931, PNAS 17:684, https://doi.org/10.1073/pnas.17.12.684.
    """
    freedom = len(reference.classes) - 1
    usual = reference.mix_between + freedom / images
    spread = 2 / (9 * freedom)
    return (float(np.cbrt(index / usual)) - (1 - spread)) / math.sqrt(spread)


def between(reference: Reference, tables: Sequence[Table]) -> dict[str, tuple[float, float]]:
    """By quantity, the mean and sd of the minutes' shifts beyond chance; for the mix (PSI, 0)."""
    out = {}
    for name in reference.quantities:
        found = [s for s in (shift(reference, table, name) for table in tables) if s]
        values = np.array([s.value for s in found])
        chance = float(np.mean([s.sd**2 for s in found]))
        beyond = float(values.var(ddof=1)) - chance if len(found) > 1 else 0.0
        out[name] = (float(values.mean()), math.sqrt(max(0.0, beyond)))
    freedom = len(reference.classes) - 1
    excess = [
        mix_psi(reference, table) - freedom / int(table[:, 0].sum())
        for table in tables
        if table[:, 0].any()
    ]
    out[MIX] = (max(0.0, float(np.mean(excess))), 0.0)
    return out
