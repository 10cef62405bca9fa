"""The queue of inputs: bounded, each name once, files only when they have settled."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import count, islice

from pi10_classifier.watch.inputs.base import InputVersion
from pi10_classifier.watch.inputs.departed import Roll, depart
from pi10_classifier.watch.ledger import Ledger

CAPACITY = 50_000
_PAGE = 500


class InputQueue:
    """What was seen and is not done; threads offer, the watcher takes.

    An input leaves when it is ``done`` or ``gone``; until then its name is not taken in again.
    """

    def __init__(self, ledger: Ledger, settle_s: float, capacity: int = CAPACITY) -> None:
        self._ledger = ledger
        self._settle_s = settle_s
        self._capacity = capacity
        self._names: set[str] = set()
        self._ready: deque[InputVersion] = deque()
        self._due: list[tuple[float, int, InputVersion]] = []
        self._order = count()
        self._change = threading.Condition()
        self._closed = False
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._names)

    @property
    def is_full(self) -> bool:
        return len(self._names) >= self._capacity

    @property
    def is_drained(self) -> bool:
        """True where all that waits has been taken."""
        return not self._ready and not self._due

    def holds(self, name: str) -> bool:
        return name in self._names

    def offer(self, found: Iterable[InputVersion], *, patient: bool) -> bool:
        """Take in what is neither done nor waiting already; False where it was cut short.

        patient: wait for room, as a scan does; else what has no room is left to the next scan.
        """
        source = iter(found)
        while page := list(islice(source, _PAGE)):
            page = [one for one in page if one.name not in self._names]
            names = [one.name for one in page]
            if patient and self._ledger.gone:
                self._ledger.come_back(names)
            known = self._ledger.known(names)
            fresh = [one for one in page if known.get(one.name) != one.version]
            with self._change:
                while patient and self.is_full and not self._closed:
                    self._change.wait(1)
                if self._closed:
                    return False
                if self.is_full:
                    self.overflowed = True
                    continue
                for one in fresh:
                    if one.name not in self._names:
                        self._names.add(one.name)
                        self._put(one, self._settle_s)
                self._change.notify_all()
        return True

    def call(self, roll: Roll) -> None:
        """A scan has met all that is there: what is done and was not met is gone."""
        depart(self._ledger, roll, self.holds)

    def roll(self) -> Roll:
        """For a scan that begins."""
        self._ledger.news.clear()
        return Roll()

    def _put(self, found: InputVersion, seconds: float) -> None:
        if seconds > 0:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), found))
        else:
            self._ready.append(found)

    def due(self) -> list[InputVersion]:
        """Inputs to be looked at once more, before they are ``ready`` or put off again."""
        now, out = time.monotonic(), []
        with self._change:
            while self._due and self._due[0][0] <= now:
                out.append(heapq.heappop(self._due)[2])
        return out

    def ready(self, found: InputVersion) -> None:
        with self._change:
            self._put(found, 0)

    def later(self, found: InputVersion, seconds: float) -> None:
        """Look at it again after so many seconds."""
        with self._change:
            self._put(found, max(seconds, 1e-3))

    def settle(self, found: InputVersion) -> None:
        """It has changed since it was seen: wait until it has not."""
        self.later(found, self._settle_s)

    def take(self, most: int, enough: int, wait_s: float) -> list[InputVersion]:
        """Up to ``most`` inputs that are ready; waits up to ``wait_s`` for ``enough``."""
        until = time.monotonic() + wait_s
        with self._change:
            while len(self._ready) < enough and (left := until - time.monotonic()) > 0:
                self._change.wait(left)
            return [self._ready.popleft() for _ in range(min(most, len(self._ready)))]

    def done(self, names: Sequence[str]) -> None:
        """They are entered as done, or are gone before they were read."""
        with self._change:
            self._names.difference_update(names)
            self._change.notify_all()

    def close(self) -> None:
        """Take in no more; whoever waits for room goes on."""
        with self._change:
            self._closed = True
            self._change.notify_all()
