"""Counts and densities over time for the report: the rows of ``counts.csv`` and ``bins.csv``."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    untimed: int = 0  # particles whose time is unknown
    litres: dict[int, float] = field(default_factory=dict)
    cells: dict[tuple[int, str], Floats] = field(default_factory=dict)
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
        if minute is None:
            self.untimed += int(count)
            return
        density, litres = parse_number(row.get("per_litre")), parse_number(row.get("litres"))
        bucket = minute // self.step * self.step
        self.litres.setdefault(bucket, 0.0)
        cell = self.cells.setdefault((bucket, row.get("label", "")), np.zeros(4))
        self.rows += fresh
        cell[0] += count
        if density is None or not litres:
            self.without_density += fresh
        else:
            low, high = (parse_number(row.get(f"per_litre_{x}")) for x in ("low", "high"))
            below = density - low if low is not None else 0.0
            above = high - density if high is not None else 0.0
            self.litres[bucket] += litres if fresh else 0.0
            # Independent errors add as squares: the half-widths of a sum of minutes.
            cell[1:] += density * litres, (below * litres) ** 2, (above * litres) ** 2
        while len(self.litres) > self.limit and self.level + 1 < len(STEPS):
            self._coarsen()

    def _coarsen(self) -> None:
        self.level += 1
        step, litres, cells = self.step, self.litres, self.cells
        self.litres, self.cells = {}, {}
        for bucket, amount in litres.items():
            wide = bucket // step * step
            self.litres[wide] = self.litres.get(wide, 0.0) + amount
        for (bucket, label), values in cells.items():
            self.cells.setdefault((bucket // step * step, label), np.zeros(4))[:] += values

    def curve(self, label: str, density: bool) -> Floats:
        """Rows time (minutes since 1970), value, low, high: per litre, or raw counts."""
        times = sorted(k for k, litres in self.litres.items() if litres > 0 or not density)
        nothing = np.zeros(4)
        cells = np.array([self.cells.get((t, label), nothing) for t in times]).reshape(-1, 4)
        if not density:
            return np.array([times, *[cells[:, 0]] * 3])
        return np.array([times, *_interval(cells.T, np.array([self.litres[t] for t in times]))])

    def mean(self, label: str) -> Floats | None:
        """Individuals per litre over all minutes with a density, and its interval."""
        litres = sum(self.litres.values())
        cells = [v for (_, x), v in self.cells.items() if x == label]
        return _interval(np.sum([np.zeros(4), *cells], axis=0), litres) if litres else None

    def density(self, minutes: Ints) -> Floats:
        """Individuals of all classes per litre at each minute; NaN where unknown."""
        step, raised = self.step, Counter[int]()
        for (bucket, _), cell in self.cells.items():
            raised[bucket] += cell[1]
        known = {k: raised[k] / litres for k, litres in self.litres.items() if litres > 0}
        return np.array([known.get(x // step * step, np.nan) for x in minutes.tolist()])


def _interval(cells: Floats, litres: Any) -> Floats:
    value = cells[1] / litres
    low = np.maximum(value - np.sqrt(cells[2]) / litres, 0.0)
    return np.array([value, low, value + np.sqrt(cells[3]) / litres])


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
