"""The bounded queue of inputs, which has each name once, and files only once they have settled."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import count, islice

from pi10_classifier.watch.inputs.base import InputVersion
from pi10_classifier.watch.inputs.departed import SeenNames, remove_missing
from pi10_classifier.watch.ledger import Ledger

CAPACITY = 50_000
_PAGE = 500


class InputQueue:
    """Inputs that were seen and are not done. Other threads offer them, the watcher takes them.

    An input stays in the queue until ``done``, also after it was taken; until then its name is not
    queued again. settle_s: seconds to wait before an offered input is looked at again.
    overflowed: True where an input was dropped for lack of room.
    """

    def __init__(self, ledger: Ledger, settle_s: float, capacity: int = CAPACITY) -> None:
        self._ledger = ledger
        self._settle_s = settle_s
        self._capacity = capacity
        self._names: set[str] = set()
        self._ready: deque[InputVersion] = deque()
        self._ready_since = 0.0
        self._due: list[tuple[float, int, InputVersion]] = []
        self._order = count()
        self._change = threading.Condition()
        self._closed = False
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._names)

    @property
    def is_full(self) -> bool:
        """True where no more inputs are accepted."""
        return len(self._names) >= self._capacity

    @property
    def is_drained(self) -> bool:
        """True where all queued inputs have been taken."""
        return not self._ready and not self._due

    def holds(self, name: str) -> bool:
        """True where the input is queued or in work."""
        return name in self._names

    def offer(self, candidates: Iterable[InputVersion], *, patient: bool) -> bool:
        """Queue the inputs that are neither done nor queued; False where the queue was closed.

        patient: wait for room, as a scan does; else inputs without room are left to the next scan.
        """
        source = iter(candidates)
        while page := list(islice(source, _PAGE)):
            page = [candidate for candidate in page if candidate.name not in self._names]
            names = [candidate.name for candidate in page]
            if patient and self._ledger.gone:
                self._ledger.restore(names)
            done = self._ledger.versions_of(names)
            fresh = [
                candidate for candidate in page if done.get(candidate.name) != candidate.version
            ]
            with self._change:
                while patient and self.is_full and not self._closed:
                    self._change.wait(1)
                if self._closed:
                    return False
                if self.is_full:
                    self.overflowed = True
                    continue
                for candidate in fresh:
                    if candidate.name not in self._names:
                        self._names.add(candidate.name)
                        self._put(candidate, self._settle_s)
                self._change.notify_all()
        return True

    def finish_scan(self, seen_names: SeenNames) -> None:
        """End a complete scan: inputs that are done and that it did not see are gone."""
        remove_missing(self._ledger, seen_names, self.holds)

    def start_scan(self) -> SeenNames:
        """Begin a scan; returns the names that it has seen, none yet."""
        self._ledger.new_parts.clear()
        return SeenNames()

    def _put(self, candidate: InputVersion, seconds: float) -> None:
        if seconds > 0:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), candidate))
        else:
            if not self._ready:
                self._ready_since = time.monotonic()
            self._ready.append(candidate)

    def due(self) -> list[InputVersion]:
        """Inputs whose wait is over, to be looked at; ``ready``, ``settle`` or ``done`` is next."""
        now, out = time.monotonic(), []
        with self._change:
            while self._due and self._due[0][0] <= now:
                out.append(heapq.heappop(self._due)[2])
        return out

    def ready(self, candidate: InputVersion) -> None:
        """Let the input be taken."""
        with self._change:
            self._put(candidate, 0)

    def later(self, candidate: InputVersion, seconds: float) -> None:
        """Make the input due after ``seconds``."""
        with self._change:
            self._put(candidate, max(seconds, 1e-3))

    def settle(self, candidate: InputVersion) -> None:
        """Make the input wait again, as it has changed since it was seen."""
        self.later(candidate, self._settle_s)

    def take(self, most: int, enough: int, wait_s: float) -> list[InputVersion]:
        """Up to ``most`` inputs that are ready; an input waits up to ``wait_s`` for ``enough``.

        More than ``enough`` are taken in multiples of it, as the engine works on so many at once.
        Empty where inputs have become due, which the caller looks at first.
        """
        until = time.monotonic() + wait_s
        with self._change:
            while (number := min(most, len(self._ready))) < enough:
                now = time.monotonic()
                ends = min(until, self._ready_since + wait_s) if number else until
                if now >= ends:
                    break
                if self._due and self._due[0][0] <= now:
                    return []
                self._change.wait(min(ends, self._due[0][0] if self._due else ends) - now)
            number -= number % enough if number > enough else 0
            return [self._ready.popleft() for _ in range(number)]

    def done(self, names: Sequence[str]) -> None:
        """Remove inputs that are entered in the ledger, or that are gone."""
        with self._change:
            self._names.difference_update(names)
            self._change.notify_all()

    def close(self) -> None:
        """Accept no more inputs; a thread that waits for room continues."""
        with self._change:
            self._closed = True
            self._change.notify_all()
