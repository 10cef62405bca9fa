"""Charts over minutes: cumulative sums that rise while a quantity stays off its reference.

Page's CUSUM (1954, Biometrika 41:100, https://doi.org/10.1093/biomet/41.1-2.100), one upwards and
one downwards for each quantity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pi10_classifier.drift.quantities import MIX, subject_of
from pi10_classifier.drift.reference import Reference
from pi10_classifier.drift.statistics import deviations
from pi10_classifier.drift.sums import Table, empty

# sd that a minute may lie off without adding to the sum: good minutes differ for long stretches, so
# less would make the sum climb over those
ALLOWANCE = 2.0
# more of it for each sd that the mix lies off: then other particles are mistaken for a class, so
# all that is compared within it moves, by up to 0.37 sd (benchmarks/drift.py)
MIX_ALLOWANCE = 0.37
LIMIT = 6.0  # of a sum; above it the chart alarms. From streams apart (docs/drift.md)
MOST = 4.0  # sd that one minute counts: no single odd minute alarms
LEAST_IMAGES = 50  # of a step; fewer wait for the next minute's


class Monitor:
    """The charts of all quantities of a reference, fed minute by minute in order of time."""

    def __init__(
        self,
        reference: Reference,
        state: Mapping[str, Any] | None = None,
        *,
        limit: float = LIMIT,
    ) -> None:
        """state: of ``state``, from an earlier start; None for new charts.

        limit: of a sum, above which a chart alarms. Sums end at twice that, so that an alarm ends
        some minutes after its cause.
        """
        self._reference, self._limit = reference, limit
        self._sums: dict[str, tuple[float, float]] = dict.fromkeys(reference.names, (0.0, 0.0))
        self._waiting: Table = empty(reference)
        if state and state.get("reference") == reference.digest:
            self._sums |= {name: (up, down) for name, (up, down) in state["sums"].items()}
            self._waiting = np.array(state["waiting"], np.int64)

    @property
    def state(self) -> dict[str, Any]:
        """What a later start needs, for JSON."""
        return {
            "reference": self._reference.digest,
            "sums": self._sums,
            "waiting": self._waiting.tolist(),
        }

    @property
    def alarms(self) -> dict[str, float]:
        """Quantity -> height of its sum over the limit, signed, for those that alarm now."""
        heights = {}
        for name, (up, down) in self._sums.items():
            if max(up, down) > self._limit:
                heights[name] = (up if up >= down else -down) / self._limit
        return heights

    def take(self, table: Table) -> dict[str, float]:
        """Take one minute's counts; returns its deviations, in sd, empty while too few images."""
        self._waiting = self._waiting + table
        if self._waiting[:, 0].sum() < LEAST_IMAGES:
            return {}
        off = deviations(self._reference, self._waiting)
        self._waiting = empty(self._reference)
        self.advance(off)
        return off

    def advance(self, off: Mapping[str, float]) -> None:
        """Add the deviations of one step to the sums."""
        cap = 2 * self._limit
        mix = min(max(off.get(MIX, 0.0), 0.0), MOST)
        for name, deviation in off.items():
            allowance = ALLOWANCE + (0.0 if name == MIX else MIX_ALLOWANCE * mix)
            step = min(max(deviation, -MOST), MOST)
            up, down = self._sums[name]
            up = min(max(0.0, up + step - allowance), cap)
            # the mix has no below: a mix like the reference's is no surprise
            down = 0.0 if name == MIX else min(max(0.0, down - step - allowance), cap)
            self._sums[name] = (up, down)


def subjects(names: Iterable[str]) -> tuple[str, ...]:
    """What alarms speak of: camera, model, sea; each once, sorted."""
    return tuple(sorted({subject_of(name) for name in names}))


class Monitors:
    """A monitor for each instrument, as each has a camera of its own."""

    def __init__(self, reference: Reference, state: Mapping[str, Any] | None = None) -> None:
        self._reference = reference
        self._monitors = {name: Monitor(reference, told) for name, told in (state or {}).items()}

    @property
    def state(self) -> dict[str, Any]:
        """By instrument, what a later start needs, for JSON."""
        return {name: monitor.state for name, monitor in self._monitors.items()}

    @property
    def alarms(self) -> dict[str, float]:
        """As of ``Monitor``, the highest of all instruments."""
        highest: dict[str, float] = {}
        for monitor in self._monitors.values():
            for name, height in monitor.alarms.items():
                if abs(height) > abs(highest.get(name, 0.0)):
                    highest[name] = height
        return highest

    def take(self, bin_id: str, table: Table) -> dict[str, float]:
        """Take one minute's counts; returns the alarms of its instrument after it."""
        name = bin_id.partition(".")[0]
        monitor = self._monitors.setdefault(name, Monitor(self._reference))
        monitor.take(table)
        return monitor.alarms
