"""Stretches of time with what was sampled in them, pooled to minutes, hours or days.

A ship's lines and a finished run are both read as stretches, so one page shows either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pi10_classifier.abundance.density import Density, Sums, densities
from pi10_classifier.instrument.names import NO_PARTICLE

STEPS = {"minute": 1, "hour": 60, "day": 1440}
Fix = tuple[int, float, float]
"""Epoch minute, latitude, longitude in degrees."""


@dataclass(slots=True)
class Stretch:
    """Some minutes from ``start`` (epoch minute). sums: by class, over minutes with a density.

    unknown: minutes of a class whose spread is unknown. images, failed, lines: as sent.
    flags: minutes by flag.
    """

    start: int
    sums: dict[str, Sums] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    failed: int = 0
    skipped: int = 0
    minutes: int = 0
    no_density: int = 0
    hits: int = 0
    misses: int = 0

    def add(self, other: Stretch) -> None:
        """Add the sums of another stretch."""
        for label, sums in other.sums.items():
            self.sums[label] = self.sums.get(label, Sums()) + sums
        for name in ("unknown", "images", "flags"):
            getattr(self, name).update(getattr(other, name))
        for name in ("lines", "failed", "skipped", "minutes", "no_density", "hits", "misses"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def densities(self) -> dict[str, Density]:
        """Individuals per litre by class, with both intervals."""
        return densities_of([self])[0]


@dataclass(frozen=True, slots=True)
class Gap:
    """Epoch minutes (from, to) without a line. missing: lines that were made and not received."""

    start: int
    end: int
    missing: int


class Voyage(Protocol):
    """What the page shows: a ship's lines, or a finished run."""

    name: str

    def extent(self) -> tuple[int, int] | None:
        """The first epoch minute, and the one after the last; None where there is nothing."""

    def stretches(self, start: int, end: int, step: int) -> list[Stretch]:
        """What lies in [start, end), in stretches of ``step`` minutes or less, by time."""

    def without_bad(self, start: int, end: int) -> Stretch:
        """Sums and minutes in [start, end), without minutes whose quality is bad (L20 code 4)."""

    def track(self, start: int, end: int, *, fine: bool = False) -> list[Fix]:
        """Positions in [start, end), by time; fine: all of them, and not one in some minutes."""

    def gaps(self, start: int, end: int) -> list[Gap]:
        """Minutes without a line in [start, end), by time."""


def pooled(stretches: Iterable[Stretch], step: int) -> list[Stretch]:
    """Stretches of ``step`` minutes, on multiples of it in UTC; each is the sum of its parts."""
    by_start: dict[int, Stretch] = {}
    for stretch in stretches:
        start = stretch.start // step * step
        by_start.setdefault(start, Stretch(start)).add(stretch)
    return [by_start[start] for start in sorted(by_start)]


def densities_of(stretches: Sequence[Stretch]) -> list[dict[str, Density]]:
    """Densities of each stretch by class, computed at once; classes without one are left out."""
    keys = [
        (number, label)
        for number, stretch in enumerate(stretches)
        for label in stretch.sums
        if label != NO_PARTICLE
    ]
    every = densities([stretches[number].sums[label] for number, label in keys])
    out: list[dict[str, Density]] = [{} for _ in stretches]
    for (number, label), density in zip(keys, every, strict=True):
        if density is None:
            continue
        if stretches[number].unknown[label]:
            density = replace(density, water_mass_low=None, water_mass_high=None)
        out[number][label] = density
    return out
