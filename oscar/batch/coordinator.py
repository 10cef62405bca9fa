"""The coordinator of a batch: sends ranges to workers until every unit has a part.

A unit is done when its part is published, so the coordinator may be killed at any moment and
continued with ``resume``. The rest of its state (ranges in flight, attempts) is one small
object, written before each range is sent.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pi10_classifier.errors import Code, InputError, Pi10Error, SettingError
from pi10_classifier.model.package import Package
from pi10_classifier.oscar.batch.in_flight import InFlight, InFlightRanges
from pi10_classifier.oscar.batch.options import Options, Poster, Reached
from pi10_classifier.oscar.batch.plan import PLAN, STATE, BatchPlan, Message
from pi10_classifier.oscar.batch.published import Marks, publish_failure, published, remove_part
from pi10_classifier.oscar.batch.queue import Queue, Waiting
from pi10_classifier.oscar.batch.units import PlannedUnit
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.records.record import json_bytes

MAX_UNITS = 64  # in one range
_RANGES_A_WORKER = 4  # small ranges, so that the last ones end at about the same time
_IN_VAIN = 10
_ASK_EVERY_S = 300.0
_FOR_ALL = {Code.BAD_SETTING.value, Code.MODEL_MISMATCH.value}
_PASSING = {Code.DISK_FULL.value, Code.STORAGE_UNAVAILABLE.value}


class Coordinator:
    """Runs one plan to its end. ``table`` is a local copy of its ``units.jsonl``."""

    def __init__(
        self,
        plan: BatchPlan,
        table: Path,
        out: Bucket,
        package: Package,
        poster: Poster,
        capacity: Callable[[], int],
        options: Options,
        *,
        emit: Callable[[str], None] = lambda _: None,
        show: Callable[[Reached], None] = lambda _: None,
        raise_if_cancelled: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._table, self._out, self._package = plan, table, out, package
        self._poster, self._capacity, self._options = poster, capacity, options
        self._emit, self._show, self._raise_if_cancelled, self._clock = (
            emit,
            show,
            raise_if_cancelled,
            clock,
        )
        self._in_flight = InFlightRanges(out, options.patience, clock)
        self._queue = Queue(table, plan.identity)
        self._attempts: Counter[str] = Counter()
        self._failed: set[str] = set()
        self._workers = self._in_vain = 0
        self._asked = 0.0
        self._lost = self._images = 0
        self._began = clock()
        self._published = Marks(())
        self._units_done = self._bytes_done = self._bytes_before = 0
        self.done_before: Counter[str] = Counter()  # units, by cruise

    def recall(self) -> None:
        """Find out what is done and what is in flight. Call it once, before ``run``."""
        self._published = published(self._out)
        state = self._state()
        self._attempts.update(state.get("attempts", {}))
        self._failed.update(state.get("failed", ()))
        for entry in state.get("ranges", ()):
            units_sent = self._queue.range(entry["at"], entry["end"])
            units = {path: unit for _, path, unit in units_sent if path not in self._published}
            if units:
                ago_s = max(0.0, time.time() - entry["posted"])
                self._in_flight.add(entry["start"], entry["end"], entry["at"], units, ago_s)
        for _, path, unit in self._queue.all():
            if path in self._published:
                self.done_before[unit.cruise] += 1
                self._units_done += 1
                self._bytes_done += unit.size
        self._bytes_before = self._bytes_done
        in_flight = {path for sent in self._in_flight for path in sent.left}
        self._queue.begin(lambda path: path not in self._published and path not in in_flight)
        if self._units_done or self._in_flight:
            out = len(self._in_flight)
            self._emit(
                f"{self._units_done:,} of {self._plan.units:,} units are done, "
                f"{out} {'range' if out == 1 else 'ranges'} in flight"
            )

    def run(self) -> None:
        """Return once every unit has a part: a result, or a failure after its last attempt.

        Raises SettingError if the workers cannot run this batch at all.
        """
        while True:
            self._raise_if_cancelled()
            self._fill()
            self._show(self.reached())
            if self.complete:
                return
            self._sleep()
            self._look()

    def again(self, units: list[PlannedUnit]) -> None:
        """Retry units whose failures may be temporary, until they have no attempts left."""
        wanted = {}
        for unit in units:
            path = unit.path(self._plan.identity)
            if self._attempts[path] + 1 >= self._options.attempts:
                self._failed.add(path)
                continue
            wanted[path] = unit
            self._attempts[path] += 1
            self._units_done -= 1
            self._bytes_done -= unit.size
        self._remember()
        for path in wanted:
            remove_part(self._out, path)
        if wanted:
            self._queue.put_each(w for w in self._queue.all() if w[1] in wanted)

    @property
    def complete(self) -> bool:
        """True if no unit waits or is in flight."""
        return not (self._queue or self._in_flight)

    def retry_failed(self) -> int:
        """Remove the parts of units that failed for good; their attempts start again at zero."""
        state = self._state()
        taken = list(state.get("failed", ()))
        for path in taken:
            remove_part(self._out, path)
        if state:
            self._out.put(STATE, json_bytes({**state, "attempts": {}, "failed": []}))
        return len(taken)

    def _state(self) -> dict[str, Any]:
        data = self._out.get_if_there(STATE)
        return json.loads(data) if data else {}

    def _fill(self) -> None:
        """Send ranges until all workers are busy."""
        if not self._queue:
            return
        self._ask()
        left = self._plan.units - self._units_done
        chunk = min(MAX_UNITS, max(1, left // (self._workers * _RANGES_A_WORKER)))
        if self._options.chunk:  # no worker should be idle while another has two units
            chunk = min(self._options.chunk, max(1, -(-left // self._workers)))
        while len(self._in_flight) < self._workers:
            units = self._queue.take(chunk, self._options.chunk_bytes)
            if not units or not self._send(units):
                return

    def _ask(self) -> None:
        """Update the number of workers; ask the cluster regularly, because its load changes."""
        before = self._workers
        if self._options.workers:
            self._workers = self._options.workers
        elif not self._workers or self._clock() - self._asked > _ASK_EVERY_S:
            try:
                self._workers = len(self._in_flight) + self._capacity()
            except SettingError:
                if not self._in_flight:
                    raise
                self._workers = len(self._in_flight)  # our own workers fill the cluster
            self._asked = self._clock()
        if self._workers != before:
            reason = (
                "set by --workers" if self._options.workers else "as many as fit (or set --workers)"
            )
            self._emit(f"workers at a time: {self._workers}, {reason}")

    def _send(self, units: list[Waiting]) -> bool:
        """Post a range; False if the cluster accepts no job at the moment."""
        at, _, first = units[0]
        sent = self._in_flight.add(
            first.start, units[-1][2].end, at, {path: unit for _, path, unit in units}
        )
        self._out.delete(sent.heartbeat)
        self._remember()
        message = Message(sent.start, sent.end, self._plan.mounted(PLAN), sent.at)
        try:
            self._poster.post(message.to_json())
        except Pi10Error as error:
            self._in_flight.remove(sent)
            self._queue.put_back(units)
            self._remember()
            if not isinstance(error, InputError):
                raise
            self._emit(f"{error.message}; retrying")
            return False
        return True

    def _sleep(self) -> None:
        until = self._clock() + self._options.poll_s
        while (left := until - self._clock()) > 0:
            self._raise_if_cancelled()
            time.sleep(min(0.2, left))

    def _look(self) -> None:
        for unit in self._in_flight.look():
            self._units_done += 1
            self._bytes_done += unit.size
            self._in_vain = 0
        for sent in self._in_flight:
            why = self._in_flight.lost(sent)
            if not sent.left:
                self._landed(sent)
            elif why:
                self._retry(sent, why, self._is_units_own(sent, why))

    def _landed(self, sent: InFlight) -> None:
        self._images += sent.images
        self._in_flight.remove(sent)
        self._remember()
        self._out.delete(sent.heartbeat)

    def _is_units_own(self, sent: InFlight, why: str) -> bool:
        """Whether a unit may have caused the loss of its range, not cluster, disk or network.

        Raises SettingError if the batch cannot go on.
        """
        error = sent.status.get("error")
        code = error.get("code") if isinstance(error, dict) else ""
        if code in _FOR_ALL:
            self._forget_ranges()
            raise SettingError(f"a worker cannot run this batch: {why}")
        if sent.seen is not None and code not in _PASSING:
            return True
        self._in_vain += 1
        if self._in_vain >= _IN_VAIN:
            self._forget_ranges()
            raise SettingError(
                f"{_IN_VAIN} ranges in a row failed, the last one: {why}; check the "
                "service's jobs, logs and disk, then continue with --resume"
            )
        return False

    def _forget_ranges(self) -> None:
        """Drop all ranges in flight; a later run sends them again."""
        for sent in self._in_flight:
            self._in_flight.remove(sent)
        self._remember()

    def _retry(self, sent: InFlight, why: str, own: bool) -> None:
        """Queue a lost range again: its first unit, the possible cause, alone; then the rest."""
        self._lost += 1
        self._images += sent.images
        self._emit(f"lines {sent.start} to {sent.end - 1} lost: {why}")
        self._in_flight.remove(sent)
        missing = set(sent.left)
        units = [w for w in self._queue.range(sent.at, sent.end) if w[1] in missing]
        suspect = units[0]
        self._attempts[suspect[1]] += own
        if self._attempts[suspect[1]] >= self._options.attempts:
            self._give_up(suspect[2], suspect[1], why)
        else:
            self._queue.put_each(units[:1])
        self._queue.put(units[1:])
        self._remember()
        self._out.delete(sent.heartbeat)

    def _give_up(self, unit: PlannedUnit, path: str, why: str) -> None:
        message = (
            f"its range was lost {self._options.attempts} times, the last time: {why}; read the "
            "service's logs, then run `pi10 oscar batch --resume --retry-failed`"
        )
        publish_failure(self._out, unit, self._plan, self._package, message)
        self._failed.add(path)
        self._units_done += 1
        self._bytes_done += unit.size
        self._emit(f"set aside: {unit.name}")

    def _remember(self) -> None:
        state = {
            "ranges": self._in_flight.to_json(time.time()),
            "attempts": {path: n for path, n in self._attempts.items() if n},
            "failed": sorted(self._failed),
        }
        self._out.put(STATE, json_bytes(state))

    def reached(self) -> Reached:
        """The current progress."""
        seconds = self._clock() - self._began
        done_now = self._bytes_done - self._bytes_before
        left = self._plan.size - self._bytes_done
        return Reached(
            units=self._plan.units,
            units_done=self._units_done,
            bytes=self._plan.size,
            bytes_done=self._bytes_done,
            ranges=len(self._in_flight),
            lost=self._lost,
            failed=len(self._failed),
            images=self._images + sum(sent.images for sent in self._in_flight),
            seconds=seconds,
            eta_s=left * seconds / done_now if done_now > 0 else None,
        )
