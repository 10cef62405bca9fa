"""Ranges that were sent to workers: which units are missing, and when a range is lost.

OSCAR reports nothing about a job. So the worker of a range writes a heartbeat, a small object
that changes regularly. When it changed is measured by our own clock, so clocks may differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pi10_classifier.oscar.batch.plan import HEARTBEATS
from pi10_classifier.oscar.batch.published import published
from pi10_classifier.oscar.batch.units import PlannedUnit
from pi10_classifier.oscar.bucket import Bucket


@dataclass(slots=True)
class InFlight:
    """A range in flight. ``left``: its units without a part, by their paths, in order."""

    start: int
    end: int
    at: int
    left: dict[str, PlannedUnit]
    posted: float
    seen: float | None = None
    etag: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)
    looked_at: object = None

    @property
    def heartbeat(self) -> str:
        """The name of its heartbeat in the output folder."""
        return f"{HEARTBEATS}{self.start}-{self.end}.json"

    @property
    def images(self) -> int:
        """Inputs that its worker has processed so far."""
        return int(self.status.get("inputs", 0))


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds without a heartbeat until a range is lost: after the last one, before the first."""

    lost_s: float = 180.0
    start_s: float = 900.0


class InFlightRanges:
    """All ranges in flight; their number is limited by the cluster's capacity."""

    def __init__(self, out: Bucket, patience: Patience, clock: Callable[[], float]) -> None:
        self._out, self._patience, self._clock = out, patience, clock
        self._all: dict[tuple[int, int], InFlight] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[InFlight]:
        return iter(list(self._all.values()))

    def add(
        self, start: int, end: int, at: int, units: Mapping[str, PlannedUnit], ago_s: float = 0.0
    ) -> InFlight:
        """Add a range that is sent; ``units`` are its units without a part."""
        sent = InFlight(start, end, at, dict(units), self._clock() - ago_s)
        self._all[start, end] = sent
        return sent

    def remove(self, sent: InFlight) -> None:
        self._all.pop((sent.start, sent.end), None)

    def look(self) -> list[PlannedUnit]:
        """Read the heartbeats; removes the units that are done from their ranges, returns them."""
        now = self._clock()
        heartbeats = self._out.etags(HEARTBEATS) if self._all else {}
        done: list[PlannedUnit] = []
        for sent in self:
            etag = heartbeats.get(sent.heartbeat, "")
            if etag and etag != sent.etag:
                data = self._out.get_if_there(sent.heartbeat)
                sent.etag, sent.seen = etag, now
                sent.status = _parse_status(data or b"{}")
            # parts are listed only if a worker reports progress, or stops reporting
            state = (sent.status.get("done"), sent.status.get("ended"))
            if state != sent.looked_at or self.lost(sent):
                sent.looked_at = state
                done += self._land(sent)
        return done

    def _land(self, sent: InFlight) -> list[PlannedUnit]:
        done = []
        for partition in {unit.partition: None for unit in sent.left.values()}:
            parts = published(self._out, partition)
            for path in [path for path in sent.left if path in parts]:
                done.append(sent.left.pop(path))
        return done

    def lost(self, sent: InFlight) -> str:
        """Why the range is lost; empty if it is not."""
        now = self._clock()
        error = sent.status.get("error")
        if isinstance(error, dict):
            return f"its worker ended: {error.get('message')}"
        if sent.seen is None:
            waited = now - sent.posted
            late = waited > self._patience.start_s
            return f"no heartbeat of a worker for {waited:.0f} s" if late else ""
        if now - sent.seen > self._patience.lost_s:
            return f"no heartbeat of its worker for {now - sent.seen:.0f} s"
        return ""

    def to_json(self, now: float) -> list[dict[str, Any]]:
        """The state that a resuming coordinator needs. ``now``: the time of day in seconds.

        The time at which a range was posted must be stored. Otherwise a coordinator that is
        killed repeatedly would wait for ever for a range that never started.
        """
        offset = now - self._clock()
        return [
            {"start": f.start, "end": f.end, "at": f.at, "posted": round(f.posted + offset, 1)}
            for f in self
        ]


def _parse_status(data: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(data))
    except (ValueError, TypeError):
        return {}
