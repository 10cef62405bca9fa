"""Statistics of the current request: its id, the seconds per stage, the images by outcome."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

Drift = dict[str, dict[str, float]]
TOTALS = ("inputs", "results", "failures", "skipped")
_SOUND_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=@-]{0,127}")


@dataclass(slots=True)
class RequestStats:
    """One request: ``stages`` in seconds, ``totals`` of images, ``failures`` by code.

    drift: bin -> quantity -> height of its chart over the limit, of bins compared with a reference.
    """

    request_id: str
    began: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    drift: dict[str, dict[str, float]] = field(default_factory=dict)
    error: str = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to the stage ``name``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        self.stages[name] = self.stages.get(name, 0.0) + seconds

    def count(
        self, totals: Mapping[str, Any], failures: Mapping[str, Any], drift: Drift | None = None
    ) -> None:
        """Add the images of one run."""
        self.drift |= drift or {}
        self.totals.update({name: int(totals.get(name, 0)) for name in TOTALS})
        self.failures.update({str(code): int(count) for code, count in failures.items()})

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began


# the statistics of the request that is being handled, in the server and in a worker
CURRENT: ContextVar[RequestStats | None] = ContextVar("pi10_request_stats", default=None)


def note(
    totals: Mapping[str, Any], failures: Mapping[str, Any], drift: Drift | None = None
) -> None:
    """Add images to the current request; without one, do nothing."""
    stats = CURRENT.get()
    if stats:
        stats.count(totals, failures, drift)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the block's time to the current request."""
    with (CURRENT.get() or RequestStats("")).stage(name):
        yield


def request_id(given: str | None) -> str:
    """The client's own id if it is short and plain, else a new one."""
    if given and _SOUND_ID.fullmatch(given):
        return given
    return uuid.uuid4().hex
