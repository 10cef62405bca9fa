"""Numbers minutes once and in order, even if the machine's clock is changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

MINUTE = timedelta(minutes=1)
FILLED_MINUTES = 1440  # a longer gap means that the clock was set, not that the machine was busy
_SLACK = timedelta(seconds=1)


def utc_now() -> datetime:
    """The current time with the time zone UTC."""
    return datetime.now(UTC)


class MinuteClock:
    """Gives each minute once it has ended. current: the minute that has not ended yet.

    Where the clock is set back, minutes are counted by the time that passes, each twice as long,
    until the clock has caught up.
    """

    def __init__(self, clock: Callable[[], datetime], last: datetime | None) -> None:
        """last: the newest minute with a line, from an earlier start; None for none."""
        self._clock = clock
        wall = clock()
        self._anchor = (max(wall, last + MINUTE) if last else wall, time.monotonic())
        self.current = _floor(self._anchor[0])

    def ended(self) -> list[datetime]:
        """Minutes that have ended since the last call, also those without any input."""
        now = _floor(self._now())
        if now <= self.current:
            return []
        passed = (now - self.current) // MINUTE
        count = passed if passed <= FILLED_MINUTES else 1
        ended = [self.current + number * MINUTE for number in range(count)]
        self.current = now
        return ended

    def _now(self) -> datetime:
        wall, monotonic = self._clock(), time.monotonic()
        expected = self._anchor[0] + timedelta(seconds=monotonic - self._anchor[1])
        if wall >= expected:
            expected = wall
        elif expected - wall > _SLACK:
            expected = self._anchor[0] + (expected - self._anchor[0]) / 2
        else:  # clocks differ by milliseconds all the time
            return expected
        self._anchor = (expected, monotonic)
        return expected


def _floor(when: datetime) -> datetime:
    return when.replace(second=0, microsecond=0)
