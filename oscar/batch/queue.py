"""The queue of units to send: units of the plan, and units to retry."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pi10_classifier.oscar.batch.units import PlannedUnit, read_units

# byte offset of the unit's line in the plan, path of its part, unit
Waiting = tuple[int, str, PlannedUnit]


class Queue:
    """Hands out ranges. Only units to retry are in memory; the rest is read from the plan."""

    def __init__(self, table: Path, identity: str) -> None:
        self._table, self._identity = table, identity
        self._again: deque[list[Waiting]] = deque()
        self._unread: Iterator[Waiting] = iter(())
        self._head: Waiting | None = None

    def __bool__(self) -> bool:
        return bool(self._again) or self._head is not None

    def begin(self, wanted: Callable[[str], bool]) -> None:
        """Read the plan from its beginning, and queue the units whose paths are wanted."""
        self._unread = (waiting for waiting in self.all() if wanted(waiting[1]))
        self._head = next(self._unread, None)

    def all(self, at: int = 0) -> Iterator[Waiting]:
        """All units of the plan, from a byte offset on."""
        for offset, unit in read_units(self._table, at):
            yield offset, unit.path(self._identity), unit

    def range(self, at: int, end: int) -> Iterator[Waiting]:
        """The units of a range: from a byte offset of the plan up to a line of the index."""
        for waiting in self.all(at):
            if waiting[2].start >= end:
                return
            yield waiting

    def take(self, chunk: int, chunk_bytes: int) -> list[Waiting]:
        """Take consecutive units, at least one, up to a count and bytes; none at the end."""
        if self._again:
            return self._again.popleft()
        units: list[Waiting] = []
        held = 0
        while self._head is not None and len(units) < chunk:
            unit = self._head[2]
            gap = units and unit.start != units[-1][2].end
            if gap or (units and held + unit.size > chunk_bytes):
                break
            units.append(self._head)
            held += unit.size
            self._head = next(self._unread, None)
        return units

    def put_back(self, units: list[Waiting]) -> None:
        """Return a range that could not be sent; it is the next to be taken."""
        self._again.appendleft(units)

    def put_each(self, units: Iterable[Waiting]) -> None:
        """Queue units to be sent again, each alone."""
        self._again.extend([waiting] for waiting in units)

    def put(self, units: Iterable[Waiting]) -> None:
        """Queue units to be sent again, consecutive ones together."""
        run: list[Waiting] = []
        for waiting in units:
            if run and run[-1][2].end != waiting[2].start:
                self._again.append(run)
                run = []
            run.append(waiting)
        if run:
            self._again.append(run)
