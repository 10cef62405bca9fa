"""Counts and densities over time for the report: the rows of ``counts.csv`` and ``bins.csv``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.abundance.density import Density, Sums, densities, total_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = (1, 10, 60, 360, 1440, 10080)  # minutes
STEP_NAMES = ("minute", "ten-minute bin", "hour", "six hours", "day", "week")


@dataclass(slots=True)
class Series:
    """Counts and densities over time; the step grows until the points are few enough."""

    limit: int
    level: int = 0  # place in STEPS
    rows: int = 0  # distinct times of distinct bins
    without_density: int = 0
    untimed: int = 0  # particles whose time is unknown, or lies outside their bin
    litres: dict[int, float] = field(default_factory=dict)
    images: Counter[tuple[int, str]] = field(default_factory=Counter)
    sums: dict[tuple[int, str], Sums] = field(default_factory=dict)
    bad: int = 0  # minutes with a density whose quality is bad
    good: dict[str, Sums] = field(default_factory=dict)  # by label, without bad minutes
    flags: Counter[str] = field(default_factory=Counter)
    _key: tuple[str | None, str | None] | None = None
    _key_flags: set[str] = field(default_factory=set)

    @property
    def step(self) -> int:
        """Minutes per point."""
        return STEPS[self.level]

    @property
    def step_name(self) -> str:
        return STEP_NAMES[self.level]

    def add(self, row: dict[str, str], time: str) -> None:
        """Take a row of ``counts.csv`` or ``bins.csv``; those of one minute lie together."""
        key = (row.get("bin"), row.get(time))
        fresh, self._key = key != self._key, key
        self._key_flags = set() if fresh else self._key_flags
        found = set(split_flags(row.get("flags", ""))) - self._key_flags
        self.flags.update(sorted(found))
        self._key_flags |= found
        minute, count = parse_minute(row.get(time)), parse_number(row.get("count")) or 0.0
        if minute is None or "clock_outside_bin" in found:
            self.untimed += int(count)
            return
        sums = sums_of(row)
        bucket = minute // self.step * self.step
        label = row.get("label", "")
        self.litres.setdefault(bucket, 0.0)
        self.rows += fresh
        self.images[bucket, label] += int(count)
        if sums is None:
            self.without_density += fresh
        else:
            self.litres[bucket] += sums.litres if fresh else 0.0
            self.sums[bucket, label] = self.sums.get((bucket, label), Sums()) + sums
            if row.get("quality_l20") != "4":
                self.good[label] = self.good.get(label, Sums()) + sums
            else:
                self.bad += fresh
        while len(self.litres) > self.limit and self.level + 1 < len(STEPS):
            self._coarsen()

    def _coarsen(self) -> None:
        self.level += 1
        step, litres, images, sums = self.step, self.litres, self.images, self.sums
        self.litres, self.images, self.sums = {}, Counter(), {}
        for bucket, amount in litres.items():
            wide = bucket // step * step
            self.litres[wide] = self.litres.get(wide, 0.0) + amount
        for (bucket, label), count in images.items():
            self.images[bucket // step * step, label] += count
        for (bucket, label), its in sums.items():
            key = (bucket // step * step, label)
            self.sums[key] = self.sums.get(key, Sums()) + its

    def curve(self, label: str, density: bool) -> Floats:
        """Rows time (minutes since 1970), value, low, high: per litre, or raw counts."""
        times = sorted(k for k, litres in self.litres.items() if litres > 0 or not density)
        if not density:
            return np.array([times, *[[self.images[t, label] for t in times]] * 3], np.float64)
        pooled = densities([self.sums.get((t, label)) for t in times])
        rows = [
            (t, its.per_litre, its.low, its.high)
            for t, its in zip(times, pooled, strict=True)
            if its
        ]
        return np.array(rows, np.float64).reshape(-1, 4).T

    def mean(self, label: str) -> Density | None:
        """Individuals per litre over all minutes with a density."""
        return densities([total_of(v for (_, x), v in self.sums.items() if x == label)])[0]

    def good_mean(self, label: str) -> Density | None:
        """The same without minutes whose quality is bad."""
        return densities([self.good.get(label)])[0]

    def density(self, minutes: Ints) -> Floats:
        """Individuals of all classes per litre at each minute; NaN where unknown."""
        step, raised = self.step, dict[int, float]()
        for (bucket, _), its in self.sums.items():
            raised[bucket] = raised.get(bucket, 0.0) + its.raised
        known = {k: raised.get(k, 0.0) / litres for k, litres in self.litres.items() if litres > 0}
        return np.array([known.get(x // step * step, np.nan) for x in minutes.tolist()])


def sums_of(row: Mapping[str, str]) -> Sums | None:
    """What a row of ``counts.csv`` or ``bins.csv`` adds to a pooled density; None if nothing."""
    raised, litres = parse_number(row.get("raised_count")), parse_number(row.get("litres"))
    if raised is None or not litres:
        return None
    minutes = parse_number(row.get("minutes_observed"))
    if minutes is None:  # a minute
        hits, misses, images = (
            parse_number(row.get(name)) or 0.0 for name in ("hits", "misses", "images")
        )
        seen = min(hits, images)
        return Sums.of_minute(raised, (hits + misses) / seen) if seen else None
    variance, largest, sd = (
        parse_number(row.get(name)) or 0.0
        for name in ("raised_variance", "largest_factor", "per_litre_sd")
    )
    return Sums.of_stretch(int(minutes), raised, variance, largest, litres, sd)


def parse_number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def parse_minute(text: str | None) -> int | None:
    try:
        when = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return int(when.replace(tzinfo=when.tzinfo or UTC).timestamp() // 60)


def split_flags(text: str) -> list[str]:
    return [x for x in dict.fromkeys(y.strip() for y in text.split(";")) if x]
