"""Normalised biovolume size spectra for the report: of each class, and of all that lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pi10_classifier.report.density_series import Floats, parse_minute
from pi10_classifier.sizes.reading import add_batch
from pi10_classifier.sizes.slope import Slope, SlopeSums, fit_slope, line
from pi10_classifier.sizes.spectrum import SpectrumRow, spectrum
from pi10_classifier.sizes.sums import Cell, MinuteFactors, SizeSums, together
from pi10_classifier.sizes.tables import LITRES_PER_M3, LIVING, NOT_LIVING

_GOOD, _BAD = "good", "bad"  # the quality of minutes, as strata of their water


@dataclass(frozen=True, slots=True)
class Spectrum:
    """One class over all minutes. fitted: of all minutes; good: without those of bad quality.

    points: rows ESD in µm at the middle of the class, normalised biovolume, low, high; classes that
    hold a particle. fit: rows ESD, normalised biovolume of the line, empty without a slope.
    """

    label: str
    rows: list[SpectrumRow]
    fitted: Slope | None
    good: Slope | None
    fit: Floats

    @property
    def points(self) -> Floats:
        rows = [
            (
                np.sqrt(row.esd_from_um * row.esd_to_um),
                row.normalised_biovolume,
                row.normalised_biovolume_low,
                row.normalised_biovolume_high,
            )
            for row in self.rows
            if row.particles
        ]
        return np.array(rows, np.float64).reshape(-1, 4).T


@dataclass(slots=True)
class Spectra:
    """Spectra over a run. Minutes come first, as rows of ``counts.csv``; then the particles."""

    factors: MinuteFactors = field(
        default_factory=lambda: MinuteFactors(lambda _, bad: _BAD if bad else _GOOD)
    )
    sums: SizeSums = field(default_factory=SizeSums)

    def add_minute(self, row: Mapping[str, str]) -> None:
        try:
            self.factors.add(
                {key: row.get(key) or "" for key in _COLUMNS},
                parse_minute(row.get("minute")),
            )
        except ValueError:  # a number that is none: the minute has no spectrum
            return

    def add(self, batch: Any) -> None:
        add_batch(batch, self.factors, self.sums)

    @property
    def has_bad(self) -> bool:
        return _BAD in self.factors.litres

    def of(self, label: str, parts: Sequence[str]) -> Spectrum | None:
        """The spectrum of several classes as one; None where no particle has a size."""
        litres = sum(self.factors.litres.values())
        cells = together([self._cells(name, quality) for name in parts for quality in _QUALITIES])
        weight = max(self.factors.largest.values(), default=0.0)
        if not litres:
            return None
        m3, limits = litres / LITRES_PER_M3, self.sums.limits
        rows = list(spectrum(cells, m3, weight, limits, "sphere"))
        if not rows:
            return None
        good, bad = (self._slope(parts, quality) for quality in _QUALITIES)
        every = good + bad
        fitted = fit_slope(every, limits.span)
        fit = np.zeros((2, 0))
        if fitted and np.isfinite(fitted.slope):
            last = np.log(rows[-1].volume_to_mm3 / limits.low)
            x = np.array([0.0, min(last, limits.span)])
            esd = np.cbrt(6 / np.pi * limits.low * np.exp(x) * 1e9)
            fit = np.array([esd, line(fitted.slope, every.w / m3, limits.span, x)])
        return Spectrum(label, rows, fitted, fit_slope(good, limits.span), fit)

    def _cells(self, label: str, quality: str) -> dict[int, Cell]:
        return self.sums.cells.get((quality, label), {})

    def _slope(self, labels: Sequence[str], quality: str) -> SlopeSums:
        total = SlopeSums()
        for label in labels:
            total += self.sums.slopes.get((quality, label), SlopeSums())
        return total

    def by_class(self, labels: Sequence[str]) -> dict[str, Spectrum]:
        """Of each class that has sizes, and last of all that lives, where that is several."""
        living = [label for label in labels if label not in NOT_LIVING]
        groups = {label: [label] for label in labels}
        if LIVING not in groups and len(living) > 1:
            groups[LIVING] = living
        made = {label: self.of(label, parts) for label, parts in groups.items()}
        return {label: its for label, its in made.items() if its}


_QUALITIES = (_GOOD, _BAD)
_COLUMNS = ("bin", "label", "raised_count", "litres", "hits", "misses", "images", "quality_l20")
