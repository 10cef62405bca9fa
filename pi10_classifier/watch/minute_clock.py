"""Numbers minutes once and in order, even if the machine's clock is changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

MINUTE = timedelta(minutes=1)
FILLED_MINUTES = 1440  # a gap beyond is a clock that was set, not a machine that was busy


def utc_now() -> datetime:
    return datetime.now(UTC)


class MinuteClock:
    """Tells which minutes are over. ``current`` is the one that goes on.

    Where the clock is set back, minutes go on by the time that passes, until it has caught up.
    """

    def __init__(self, clock: Callable[[], datetime], last: datetime | None) -> None:
        """last: the newest minute that a line was made of, in an earlier life."""
        self._clock = clock
        wall = clock()
        self._anchor = (max(wall, last + MINUTE) if last else wall, time.monotonic())
        self.current = _floor(self._anchor[0])

    def over(self) -> list[datetime]:
        """Minutes that have ended since the last call, idle ones too."""
        now = _floor(self._now())
        if now <= self.current:
            return []
        gone = (now - self.current) // MINUTE
        many = gone if gone <= FILLED_MINUTES else 1
        ended = [self.current + number * MINUTE for number in range(many)]
        self.current = now
        return ended

    def _now(self) -> datetime:
        wall, mono = self._clock(), time.monotonic()
        own = self._anchor[0] + timedelta(seconds=mono - self._anchor[1])
        if wall > own:
            self._anchor, own = (wall, mono), wall
        return own


def _floor(when: datetime) -> datetime:
    return when.replace(second=0, microsecond=0)
