"""Limits how many requests run or wait; refuses new ones when full or draining."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_RETRY_S = 60
_SMOOTHING = 0.1


class Full(Exception):  # noqa: N818  a normal state, not an error
    """The limit is reached, or the service is stopping. ``retry_after`` is in seconds."""

    def __init__(self, code: str, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


class AdmissionLimit:
    """Counts the requests that are being received, waiting or running.

    limit: the most of them. side_by_side: how many of them can run at once.
    """

    def __init__(self, limit: int, side_by_side: int) -> None:
        self.limit = limit
        self.inside = 0
        self.draining = False
        self._side_by_side = side_by_side
        self._usual_s = 1.0
        self._changed = asyncio.Event()

    @contextmanager
    def pass_through(self) -> Iterator[None]:
        """Hold a place for the block. Raises Full if there is none."""
        if self.draining:
            raise Full("stopping", "the service is stopping; try again shortly", 5)
        if self.inside >= self.limit:
            message = f"{self.inside} requests are running or waiting, which is the limit"
            raise Full("full", f"{message}; try again after Retry-After seconds", self.retry_after)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
            self._changed.set()

    def took(self, seconds: float) -> None:
        """Record the duration of a request's work, for ``retry_after``."""
        self._usual_s += _SMOOTHING * (seconds - self._usual_s)

    @property
    def retry_after(self) -> int:
        """Seconds until half of the current requests are probably done."""
        wait = self._usual_s * self.inside / 2 / self._side_by_side
        return max(1, min(LONGEST_RETRY_S, math.ceil(wait)))

    async def drain(self, seconds: float) -> bool:
        """Admit no more requests; True if all current ones end within ``seconds``."""
        self.draining = True
        try:
            async with asyncio.timeout(seconds):
                while self.inside:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True
