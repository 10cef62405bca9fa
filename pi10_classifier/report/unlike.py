"""Images unlike the model's training images, of a run and of its bins: the rows of ``bins.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.report.density_series import parse_number

COLUMN = "unlike_training"
LEAST_IMAGES = 50  # of a bin: of fewer, a large share may be chance
SHOWN = 5


@dataclass(slots=True)
class Part:
    """A bin, or the run: its images with a particle, and those of them that are flagged."""

    name: str
    images: int = 0
    flagged: int = 0

    @property
    def share(self) -> float:
        return self.flagged / self.images if self.images else 0.0


@dataclass(slots=True)
class UnlikeTraining:
    """Sums of the column ``unlike_training``; ``told`` where the table has it.

    most: the bins with the largest shares, the largest first.
    """

    told: bool = False
    run: Part = field(default_factory=lambda: Part(""))
    most: list[Part] = field(default_factory=list)
    _bin: Part | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row of ``bins.csv``; those of one bin lie together."""
        flagged = parse_number(row.get(COLUMN))
        if flagged is None or row.get("label") == NO_PARTICLE:
            return
        self.told = True
        name, images = str(row.get("bin")), int(parse_number(row.get("count")) or 0)
        if self._bin is None or self._bin.name != name:
            self.end()
            self._bin = Part(name)
        for part in (self.run, self._bin):
            part.images += images
            part.flagged += int(flagged)

    def end(self) -> None:
        """Rank the last bin; to be called after the last row."""
        last, self._bin = self._bin, None
        if last and last.name and last.flagged and last.images >= LEAST_IMAGES:
            self.most = sorted([*self.most, last], key=lambda p: (-p.share, p.name))[:SHOWN]
