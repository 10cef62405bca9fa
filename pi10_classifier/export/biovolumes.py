"""Biovolumes of a run's bins by class, for exports; a run may have lost its particles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pi10_classifier.foundation.record_batches import parts_of
from pi10_classifier.results.run_folder import PREDICTIONS
from pi10_classifier.sizes.by_bin import Biovolume, bin_biovolumes, together


@dataclass(frozen=True, slots=True)
class Biovolumes:
    """By bin and class. notes: why there are none."""

    by_class: Mapping[tuple[str, str], Biovolume] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, name: str, labels: Sequence[str]) -> Biovolume | None:
        """Of the classes of a taxon in a bin; None where no image of them is known."""
        parts = [part for label in labels if (part := self.by_class.get((name, label)))]
        return together(parts) if parts else None


def read_biovolumes(run: Path) -> Biovolumes:
    """Raises SettingError where a table of the run cannot be read."""
    if not parts_of(run / PREDICTIONS):
        return Biovolumes(
            notes=(f"{run / PREDICTIONS} holds no particles, so there is no biovolume",)
        )
    return Biovolumes(bin_biovolumes(run))
