"""Injects faults: lost, doubled and shuffled events, and killed workers.

They are for tests, and to try what `reconcile` repairs. All are off by default.
"""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.local.supervisor import kill


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares (0 to 1) of events that are lost or delivered twice, and of jobs that are killed.

    shuffle: the next event is drawn from so many waiting ones; 1 keeps their order.
    """

    drop: float = 0.0
    double: float = 0.0
    kill: float = 0.0
    shuffle: int = 1
    seed: int = 0
    kill_within_s: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("drop", "double", "kill") and not 0 <= value <= 1:
                raise SettingError(f"--{field.name} is {value}; it must be a share from 0 to 1")
        if self.shuffle < 1:
            raise SettingError(f"--shuffle is {self.shuffle}; it must be 1 or more")


class FaultInjector:
    """Draws the faults; all threads share one."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._random = random.Random(faults.seed)  # noqa: S311  no secret  # nosec B311
        self._lock = threading.Lock()

    def copies(self) -> int:
        """How many times the next event is delivered: 0, 1 or 2."""
        with self._lock:
            drawn = self._random.random()
        if drawn < self._faults.drop:
            return 0
        return 2 if drawn < self._faults.drop + self._faults.double else 1

    def draw(self, waiting: list[Any]) -> Any:
        """Remove one of the waiting events, and return it."""
        with self._lock:
            return waiting.pop(self._random.randrange(min(len(waiting), self._faults.shuffle)))

    def watch(self) -> Callable[[subprocess.Popen[bytes]], None]:
        """A function that is called with the next job's process, and may kill it."""
        with self._lock:
            doomed = self._random.random() < self._faults.kill
            after = self._random.uniform(0, self._faults.kill_within_s)
        if not doomed:
            return lambda _: None

        def kill_later(process: subprocess.Popen[bytes]) -> None:
            timer = threading.Timer(after, kill, (process,))
            timer.daemon = True
            timer.start()

        return kill_later
