"""``sizes.csv``, ``size_spectrum.csv`` and ``size_slopes.csv`` of a finished run.

A line is a class in a stratum of water: the whole cruise, a day or a bin. Particles are raised by
the factors of their minutes, as in ``bins.csv``, and all limits are 95 % limits of the water
sampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pi10_classifier.abundance.density import F64, gamma_limits
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import write_records
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.sizes.biovolume import conversions_of
from pi10_classifier.sizes.reading import read_minutes, read_particles
from pi10_classifier.sizes.slope import (
    FROM_UM,
    TO_UM,
    Range,
    Slope,
    SlopeSums,
    fit_slope,
)
from pi10_classifier.sizes.spectrum import SpectrumRow, esd_limits, spectrum
from pi10_classifier.sizes.sums import (
    AMOUNTS,
    UNSIZED,
    Cell,
    MinuteFactors,
    SizeSums,
    together,
)

LIVING = "living"
NOT_LIVING = ("detritus",)
ALL_SIZES = "all"
TABLES = ("sizes.csv", "size_spectrum.csv", "size_slopes.csv")
LITRES_PER_M3 = 1000.0


@dataclass(frozen=True, slots=True)
class SizeRow:
    """One class in one size class of a stratum; a line of ``sizes.csv``.

    size_class: the whole part of log2 of the volume in mm³, or ``all``, which also has particles
    without a size. particles: images; raised: individuals they stand for. Limits are None where no
    particle tells how much one may hold.
    """

    stratum: str
    label: str
    size_class: str
    esd_from_um: float | None
    esd_to_um: float | None
    particles: int
    without_size: int
    litres: float
    raised: float
    per_m3: float
    per_m3_low: float | None
    per_m3_high: float | None
    biovolume_sphere_mm3_per_m3: float
    biovolume_sphere_low: float | None
    biovolume_sphere_high: float | None
    biovolume_ellipsoid_mm3_per_m3: float
    biovolume_ellipsoid_low: float | None
    biovolume_ellipsoid_high: float | None
    carbon_sphere_mg_per_m3: float | None
    carbon_ellipsoid_mg_per_m3: float | None
    carbon_conversion: str


@dataclass(frozen=True, slots=True)
class SlopeRow:
    """The slope of a spectrum; a line of ``size_slopes.csv``. None where particles are too few.

    particles: in the range; effective: as many of equal weight would tell as much.
    """

    stratum: str
    label: str
    slope: float | None
    slope_low: float | None
    slope_high: float | None
    particles: int
    effective_particles: float | None
    per_m3_in_range: float
    esd_from_um: float
    esd_to_um: float
    volume: str


@dataclass(frozen=True, slots=True)
class SizeOptions:
    """volume: ``sphere`` or ``ellipsoid``.

    from_um, to_um: range of the slope, as diameters of spheres of these volumes. carbon: CLASS=NAME
    of ``sizes.biovolume``. not_living: classes that are left out of ``living``. without_bad:
    leave out minutes whose quality is bad (L20 code 4).
    """

    volume: str = "sphere"
    from_um: float = FROM_UM
    to_um: float = TO_UM
    carbon: Sequence[str] = ()
    not_living: Sequence[str] = NOT_LIVING
    without_bad: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What was written. without_factor: particles by class in minutes without a density.

    left_out: minutes that were left out, bad or of no stratum. without_carbon: classes that have no
    conversion.
    """

    paths: tuple[Path, ...]
    particles: int
    strata: int
    litres: float
    slopes: list[SlopeRow]
    without_factor: dict[str, int] = field(default_factory=dict)
    left_out: int = 0
    without_carbon: tuple[str, ...] = ()


def write_sizes(
    run: Path,
    classes: Sequence[str],
    stratum_of: Callable[[str], str | None],
    options: SizeOptions,
    out: Path | None = None,
) -> Written:
    """Write the three tables of a finished run into ``out``, by default the run's folder.

    classes: the model's. stratum_of: bin -> stratum; None leaves the bin out. Raises SettingError
    where the run's tables cannot be read, or no minute has a density; OutputError where a table
    cannot be written.
    """
    limits = Range.of_esd(options.from_um, options.to_um)
    conversions = conversions_of(options.carbon)

    def stratum(name: str, bad: bool) -> str | None:
        return None if bad and options.without_bad else stratum_of(name)

    factors = MinuteFactors(stratum)
    sums = SizeSums(limits, options.volume, conversions)
    read_minutes(run, factors)
    if not factors.litres:
        raise SettingError(
            f"no minute in {run / 'counts.csv'} has a density"
            + (" and is not left out" if factors.left_out else "")
            + ", so sizes cannot be given per volume of water; its flags say why "
            "(docs/results.md)"
        )
    particles = read_particles(run, factors, sums)
    labels = [label for label in sorted({*classes, *(x for _, x in sums.cells)}) if label]
    named = [pair.partition("=")[0] for pair in options.carbon]
    for option, names in (("--not-living", options.not_living), ("--carbon", named)):
        strange = [name for name in names if name not in (*labels, *NOT_LIVING)]
        if strange:
            raise SettingError(
                f"{option} names {strange[0]!r}, which is no class of {run}; they are "
                f"{', '.join(labels)}"
            )
    labels = [label for label in labels if label != NO_PARTICLE]
    tables = _Tables(factors, sums, labels, options)
    slopes = list(tables.slopes())
    folder = out or run
    if not folder.is_dir():
        raise SettingError(f"--out {folder} is no folder; make it first")
    paths = tuple(folder / name for name in TABLES)
    write_records(paths[0], SizeRow, tables.sizes())
    write_records(paths[1], SpectrumRow, tables.spectra())
    write_records(paths[2], SlopeRow, slopes)
    return Written(
        paths,
        particles,
        len(factors.litres),
        sum(factors.litres.values()),
        slopes,
        {label: count for label, count in sums.without_factor.items() if label != NO_PARTICLE},
        factors.left_out,
        tuple(label for label in tables.living if label not in conversions),
    )


class _Tables:
    """The rows of the three tables, in order of stratum and class."""

    def __init__(
        self, factors: MinuteFactors, sums: SizeSums, labels: Sequence[str], options: SizeOptions
    ) -> None:
        self.factors, self.sums, self.labels = factors, sums, labels
        self.span = sums.limits.span
        self.options = options
        self.living = [label for label in labels if label not in options.not_living]

    def groups(self, stratum: str) -> Iterator[tuple[str, dict[int, Cell], SlopeSums]]:
        """Each class, and all that lives as one."""
        for label in self.labels:
            key = (stratum, label)
            yield label, self.sums.cells.get(key, {}), self.sums.slopes.get(key, SlopeSums())
        if LIVING not in self.labels:
            keys = [(stratum, label) for label in self.living]
            slope = SlopeSums()
            for key in keys:
                slope += self.sums.slopes.get(key, SlopeSums())
            yield LIVING, together([self.sums.cells.get(key, {}) for key in keys]), slope

    def sizes(self) -> Iterator[SizeRow]:
        for stratum in sorted(self.factors.litres):
            for label, cells, _ in self.groups(stratum):
                whole = together([{0: cell} for cell in cells.values()]).get(0, Cell())
                unsized = cells.get(UNSIZED, Cell()).particles
                yield self._size(stratum, label, ALL_SIZES, (None, None), whole, unsized)
                for number in sorted(set(cells) - {UNSIZED}):
                    yield self._size(
                        stratum, label, str(number), esd_limits(number), cells[number], 0
                    )

    def _size(
        self, stratum: str, label: str, size_class: str,
        limits: tuple[float | None, float | None], cell: Cell, unsized: int,
    ) -> SizeRow:  # fmt: skip
        litres = self.factors.litres[stratum]
        m3 = litres / LITRES_PER_M3
        largest = cell.largest.copy()
        # an individual that was not met could have come in any minute
        largest[AMOUNTS.individuals] = self.factors.largest[stratum]
        low, high = (
            [None if math.isnan(value) else value / m3 for value in values.tolist()]
            for values in _limits_of(cell, largest)
        )
        per_m3 = (cell.total / m3).tolist()
        conversion = self._conversion(label)
        ball, oval = AMOUNTS.sphere, AMOUNTS.ellipsoid
        carbon: tuple[float | None, float | None] = (None, None)
        if conversion:
            carbon = per_m3[AMOUNTS.carbon_sphere], per_m3[AMOUNTS.carbon_ellipsoid]
        esd_from, esd_to = limits
        return SizeRow(
            stratum, label, size_class, esd_from, esd_to, cell.particles, unsized, litres,
            float(cell.total[AMOUNTS.individuals]), per_m3[0], low[0], high[0],
            per_m3[ball], low[ball], high[ball], per_m3[oval], low[oval], high[oval],
            carbon[0], carbon[1], conversion,
        )  # fmt: skip

    def _conversion(self, label: str) -> str:
        """The names of the conversions of a class; '' where one of its parts has none."""
        parts = self.living if label == LIVING and LIVING not in self.labels else [label]
        conversions = [self.sums.conversions.get(part) for part in parts]
        if not conversions or None in conversions:
            return ""
        return ";".join(sorted({conversion.name for conversion in conversions if conversion}))

    def spectra(self) -> Iterator[SpectrumRow]:
        for stratum in sorted(self.factors.litres):
            m3 = self.factors.litres[stratum] / LITRES_PER_M3
            largest = self.factors.largest[stratum]
            for label, cells, _ in self.groups(stratum):
                yield from spectrum(
                    cells, m3, largest, self.sums.limits, self.options.volume, stratum, label
                )

    def slopes(self) -> Iterator[SlopeRow]:
        for stratum in sorted(self.factors.litres):
            m3 = self.factors.litres[stratum] / LITRES_PER_M3
            for label, _, sums in self.groups(stratum):
                fitted = fit_slope(sums, self.span)
                yield SlopeRow(
                    stratum, label, *_limits(fitted), sums.particles,
                    sums.w**2 / sums.ww if sums.ww else None,
                    sums.w / m3, self.options.from_um, self.options.to_um, self.options.volume,
                )  # fmt: skip


def _limits_of(cell: Cell, largest: F64) -> tuple[F64, F64]:
    """Limits of the raised sums, as ``AMOUNTS``; NaN where no particle says how much one may be."""
    low, high = np.full(len(AMOUNTS), np.nan), np.full(len(AMOUNTS), np.nan)
    known = largest > 0
    low[known], high[known] = gamma_limits(cell.total[known], cell.variance[known], largest[known])
    return low, high


def _limits(fitted: Slope | None) -> tuple[float | None, float | None, float | None]:
    return (fitted.slope, fitted.low, fitted.high) if fitted else (None, None, None)
