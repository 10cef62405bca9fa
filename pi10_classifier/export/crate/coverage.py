"""When and where a run's images were taken, from its tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pi10_classifier.export.positions import bounds
from pi10_classifier.export.run_tables import RunTables


@dataclass(frozen=True, slots=True)
class Coverage:
    """begin, end: UTC, None where no minute is known. box: south, west, north, east, degrees;
    across the antimeridian west is greater than east.
    """

    begin: datetime | None
    end: datetime | None
    box: tuple[float, float, float, float] | None
    bins: int

    @property
    def interval(self) -> str:
        """ISO 8601; "" where no minute is known."""
        if self.begin is None or self.end is None:
            return ""
        return f"{self.begin:%Y-%m-%dT%H:%M:%SZ}/{self.end:%Y-%m-%dT%H:%M:%SZ}"


def coverage_of(tables: RunTables) -> Coverage:
    """Of all minutes of the run."""
    times = [minute.time for minute in tables.minutes if minute.time]
    fixes = [minute.position for minute in tables.minutes if minute.position]
    box = None
    if fixes:
        west, east, south, north = bounds(fixes)
        box = (south, west, north, east)
    return Coverage(
        min(times, default=None),
        max(times) + timedelta(minutes=1) if times else None,
        box,
        len(tables.bins),
    )
