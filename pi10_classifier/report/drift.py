"""Which bins differ from the reference, from the column ``drift`` of ``bins.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COLUMN = "drift"
SHOWN = 5  # bins of each subject


@dataclass(slots=True)
class Drift:
    """Bins with alarms by subject; ``told`` where the table has the column. bins: all of them."""

    told: bool = False
    bins: set[str] = field(default_factory=set)
    _alarms: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row of ``bins.csv``."""
        cell = row.get(COLUMN)
        if not isinstance(cell, str):
            return
        self.told = True
        name = str(row.get("bin"))
        self.bins.add(name)
        for alarm in filter(None, cell.split(";")):
            subject, _, quantity = alarm.partition(":")
            self._alarms.setdefault(subject, {}).setdefault(name, set()).add(quantity)

    @property
    def subjects(self) -> list[tuple[str, int, list[str], list[str]]]:
        """Subject, its number of bins, the quantities that alarm, and the first bins."""
        return [
            (subject, len(bins), sorted(set().union(*bins.values())), sorted(bins)[:SHOWN])
            for subject, bins in sorted(self._alarms.items())
        ]
