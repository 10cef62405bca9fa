"""Sums of raised particles by stratum, class and size class, for size tables and charts.

Particles come in batches of any size, and only sums are kept: memory grows with the minutes, strata
and size classes, not with the particles.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.abundance.quality import BAD
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.sizes.biovolume import Conversion, ellipsoid_mm3, sphere_mm3
from pi10_classifier.sizes.slope import Range, SlopeSums, class_of

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

UNSIZED = -(2**31)  # in place of a size class: particles without a size
NO_MINUTE = np.iinfo(np.int64).min
_WIDE, _HALF = 2**32, 2**31  # of the minutes that one bin may have
_CHUNK = 8192


class Amounts(NamedTuple):
    """Kinds of amount that are summed for each particle; the place in the arrays of ``Cell``."""

    individuals: int = 0
    sphere: int = 1  # mm³
    ellipsoid: int = 2  # mm³
    carbon_sphere: int = 3  # mg
    carbon_ellipsoid: int = 4  # mg


AMOUNTS = Amounts()


@dataclass(slots=True)
class Cell:
    """One class and size class of a stratum: sums over particles of weight w and amount a.

    total: of w a. variance: of (w a)². largest: the greatest w a. Each is (5,), as ``AMOUNTS``.
    """

    particles: int = 0
    total: F64 = field(default_factory=lambda: np.zeros(len(AMOUNTS)))
    variance: F64 = field(default_factory=lambda: np.zeros(len(AMOUNTS)))
    largest: F64 = field(default_factory=lambda: np.zeros(len(AMOUNTS)))

    def add(self, other: Cell) -> None:
        self.particles += other.particles
        self.total = self.total + other.total
        self.variance = self.variance + other.variance
        self.largest = np.maximum(self.largest, other.largest)


class MinuteFactors:
    """The raising factor of each minute that has a density, from the rows of ``counts.csv``.

    stratum_of: from bin and whether the minute is bad (L20 code 4) to its stratum; None leaves the
    minute out. litres, largest (the greatest weight of an image): by stratum. left_out: minutes.
    """

    def __init__(self, stratum_of: Callable[[str, bool], str | None] = lambda *_: "all") -> None:
        self.litres: dict[str, float] = {}
        self.largest: dict[str, float] = {}
        self.left_out = 0
        self._stratum_of = stratum_of
        self._bins: dict[str, int] = {}
        self._strata: dict[str, int] = {}
        self._keys, self._places = array("q"), array("q")
        self._factors, self._weights = array("d"), array("d")
        self._sorted: tuple[I64, I64, F64, F64] | None = None
        self._last: tuple[str, int] | None = None

    def add(self, row: Mapping[str, str], minute: int | None) -> None:
        """Take a row; those of one minute lie together. minute: since 1970. Raises ValueError."""
        name = row["bin"]
        if minute is None or not row["raised_count"] or row["label"] == NO_PARTICLE:
            return
        if (name, minute) == self._last:
            return
        self._last = (name, minute)
        hits, misses, images = (int(row[key] or 0) for key in ("hits", "misses", "images"))
        seen = min(hits, images)
        if not seen:
            return
        stratum = self._stratum_of(name, row.get("quality_l20") == BAD.l20)
        if stratum is None:
            self.left_out += 1
            return
        self.litres[stratum] = self.litres.get(stratum, 0.0) + float(row["litres"])
        # images beyond the hits are copies: they add no evidence
        weight = (hits + misses) / seen
        self.largest[stratum] = max(self.largest.get(stratum, 0.0), weight)
        number = self._bins.setdefault(name, len(self._bins))
        self._keys.append(int(_key(number, minute)))
        self._places.append(self._strata.setdefault(stratum, len(self._strata)))
        self._factors.append((hits + misses) / images)
        self._weights.append(weight)
        self._sorted = None

    def of(self, bins: Sequence[str], codes: I64, minutes: I64) -> tuple[list[str], I64, F64, F64]:
        """Of each particle its stratum, factor and weight.

        bins: the names that ``codes`` (n,) refer to. minutes: (n,) since 1970, NO_MINUTE where
        unknown. Returns the names of strata, and (n,) places among them, factors and weights; the
        factor is NaN where the minute has no density.
        """
        keys, places, factors, weights = self._by_key()
        number = np.array([self._bins.get(name, -1) for name in bins], np.int64)[codes]
        known = (number >= 0) & (minutes > -_HALF) & (minutes < _HALF)
        if not len(keys):
            unknown = np.full(len(codes), np.nan)
            return [], np.zeros(len(codes), np.int64), unknown, unknown
        wanted = _key(np.where(known, number, -1), np.where(known, minutes, 0))
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        there = known & (keys[at] == wanted)
        factor, weight = (np.where(there, values[at], np.nan) for values in (factors, weights))
        return list(self._strata), np.where(there, places[at], 0), factor, weight

    def _by_key(self) -> tuple[I64, I64, F64, F64]:
        if self._sorted is None:
            keys, places = (np.array(its, np.int64) for its in (self._keys, self._places))
            factors, weights = (np.array(its, np.float64) for its in (self._factors, self._weights))
            order = np.argsort(keys, kind="stable")
            self._sorted = (keys[order], places[order], factors[order], weights[order])
        return self._sorted


def _key(number: I64 | int, minute: I64 | int) -> I64:
    return np.asarray(number * _WIDE + minute + _HALF, np.int64)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some particles, by column.

    labels, strata: the names that codes and places (n,) refer to. factor, weight: (n,), NaN without
    a density. sizes: esd_um, major_um, minor_um, (n,) each, NaN where unknown.
    """

    labels: Sequence[str]
    codes: I64
    strata: Sequence[str]
    places: I64
    factor: F64
    weight: F64
    sizes: Mapping[str, F64]

    def rows(self, rows: Any) -> Batch:
        """The particles that an index or a slice picks."""
        return replace(
            self,
            codes=self.codes[rows],
            places=self.places[rows],
            factor=self.factor[rows],
            weight=self.weight[rows],
            sizes={name: values[rows] for name, values in self.sizes.items()},
        )


class SizeSums:
    """Cells by stratum, class and size class; and what the slopes need, by stratum and class.

    by: which volume decides the size class, ``sphere`` or ``ellipsoid``. conversions: by class.
    without_factor: particles of a class in minutes that have no density.
    """

    def __init__(
        self,
        limits: Range | None = None,
        by: str = "sphere",
        conversions: Mapping[str, Conversion] | None = None,
    ) -> None:
        self.limits = limits or Range.of_esd()
        self.by = by
        self.conversions = dict(conversions or {})
        self.cells: dict[tuple[str, str], dict[int, Cell]] = {}
        self.slopes: dict[tuple[str, str], SlopeSums] = {}
        self.without_factor: dict[str, int] = {}

    def add(self, batch: Batch) -> None:
        """Take a batch of any size."""
        for start in range(0, len(batch.codes), _CHUNK):  # bounds what is held of a large batch
            self._add(batch.rows(slice(start, start + _CHUNK)))

    def _add(self, batch: Batch) -> None:
        labels, raised = batch.labels, np.isfinite(batch.factor)
        lost = np.bincount(batch.codes[~raised], minlength=len(labels))
        for label, count in zip(labels, lost.tolist(), strict=True):
            if count:
                self.without_factor[label] = self.without_factor.get(label, 0) + count
        alive = np.array([label != NO_PARTICLE for label in labels], bool)
        batch = batch.rows(np.flatnonzero(raised & alive[batch.codes]))
        if not len(batch.codes):
            return
        codes = batch.codes
        esd, major, minor = (batch.sizes[name] for name in ("esd_um", "major_um", "minor_um"))
        amounts = np.zeros((len(codes), len(AMOUNTS)))
        amounts[:, AMOUNTS.individuals] = 1.0
        sphere = sphere_mm3(np.where(np.isfinite(esd) & (esd > 0), esd, np.nan))
        whole = np.isfinite(major) & np.isfinite(minor) & (minor > 0)
        ellipsoid = ellipsoid_mm3(np.where(whole, major, np.nan), minor)
        volume = sphere if self.by == "sphere" else ellipsoid
        amounts[:, AMOUNTS.sphere], amounts[:, AMOUNTS.ellipsoid] = sphere, ellipsoid
        for code, label in enumerate(labels):
            conversion = self.conversions.get(label)
            if conversion and (its := codes == code).any():
                amounts[its, AMOUNTS.carbon_sphere] = conversion.carbon_ug(sphere[its]) / 1000
                amounts[its, AMOUNTS.carbon_ellipsoid] = conversion.carbon_ug(ellipsoid[its]) / 1000
        sized = np.isfinite(volume)
        number = np.where(sized, class_of(np.where(sized, volume, 1.0)), UNSIZED)
        self._sum(batch, number, amounts)
        self._sum_slopes(batch, volume)

    def _sum(self, batch: Batch, number: I64, amounts: F64) -> None:
        order = np.lexsort((number, batch.codes, batch.places))
        batch, number = batch.rows(order), number[order]
        codes, places, weight = batch.codes, batch.places, batch.weight[:, None]
        amounts = np.nan_to_num(amounts[order])
        total = amounts * batch.factor[:, None]
        square = total * amounts * weight
        changed = (np.diff(places) != 0) | (np.diff(codes) != 0) | (np.diff(number) != 0)
        starts = np.r_[0, np.flatnonzero(changed) + 1]
        counts = np.diff(np.r_[starts, len(order)]).tolist()
        totals, squares = np.add.reduceat(total, starts), np.add.reduceat(square, starts)
        largest = np.maximum.reduceat(amounts * weight, starts)
        for row, start in enumerate(starts.tolist()):
            key = (batch.strata[places[start]], batch.labels[codes[start]])
            cell = self.cells.setdefault(key, {}).setdefault(int(number[start]), Cell())
            cell.add(Cell(counts[row], totals[row], squares[row], largest[row]))

    def _sum_slopes(self, batch: Batch, volume: F64) -> None:
        x = self.limits.logs(volume)
        inside = np.flatnonzero(np.isfinite(x))
        if not len(inside):
            return
        group = batch.places[inside] * len(batch.labels) + batch.codes[inside]
        order = np.argsort(group, kind="stable")
        group, x, w = group[order], x[inside][order], batch.factor[inside][order]
        starts = np.r_[0, np.flatnonzero(np.diff(group)) + 1, len(group)]
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            place, code = divmod(int(group[start]), len(batch.labels))
            key = (batch.strata[place], batch.labels[code])
            sums = SlopeSums.of(x[start:end], w[start:end])
            self.slopes[key] = self.slopes.get(key, SlopeSums()) + sums


def together(cells: Sequence[Mapping[int, Cell]]) -> dict[int, Cell]:
    """The cells of several classes as one."""
    sums: dict[int, Cell] = {}
    for its in cells:
        for number, cell in its.items():
            sums.setdefault(number, Cell()).add(cell)
    return sums
