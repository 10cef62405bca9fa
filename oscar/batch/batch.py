"""Runs one batch from start to end: list, distribute, merge, verify.

Everything that must survive this process is in the output folder. So if it is killed, another
process, even on another machine, can continue.
"""

from __future__ import annotations

import json
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pi10_classifier.errors import Code, ExitCode, InputError, SettingError
from pi10_classifier.foundation.files import sha256
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import Package
from pi10_classifier.oscar.batch.coordinator import Coordinator
from pi10_classifier.oscar.batch.merge import Merge
from pi10_classifier.oscar.batch.options import Options, Poster, Reached
from pi10_classifier.oscar.batch.plan import (
    HEARTBEATS,
    PLAN,
    STATE,
    UNITS,
    WORK,
    BatchPlan,
    deciding,
)
from pi10_classifier.oscar.batch.published import Marks, remove_others
from pi10_classifier.oscar.batch.units import (
    INDEX,
    MOUNT,
    is_index,
    read_units,
    units_at,
    write_units,
)
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.records.record import json_bytes
from pi10_classifier.sources.s3 import S3Archive, S3Block, stored_units


@dataclass(slots=True)
class BatchResult:
    """The result of a batch. ``new`` and ``gone``: units added and removed since the listing."""

    totals: Counter[str] = field(default_factory=Counter)
    cruises: dict[str, dict[str, int]] = field(default_factory=dict)
    units: int = 0
    merged: int = 0
    new: int = 0
    gone: int = 0
    ranges_lost: int = 0
    seconds: float = 0.0

    @property
    def adds_up(self) -> bool:
        """True if every unit is merged and inputs = results + failures + skipped."""
        t = self.totals
        balanced = t["inputs"] == t["results"] + t["failures"] + t["skipped"]
        return balanced and self.units == self.merged

    @property
    def exit_code(self) -> ExitCode:
        if self.totals["results"] == 0 and self.totals["failures"]:
            return ExitCode.NOTHING_READ
        short = self.totals["failures"] or self.new or not self.adds_up
        return ExitCode.SOME_FAILED if short else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        return {
            "totals": {key: self.totals[key] for key in
                       ("inputs", "results", "failures", "skipped")},
            "cruises": self.cruises,
            "units": {"planned": self.units, "merged": self.merged},
            "since_the_listing": {"new_or_changed": self.new, "gone_or_changed": self.gone},
            "ranges_lost": self.ranges_lost,
            "adds_up": self.adds_up,
            "seconds": round(self.seconds, 3),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Options of a batch; the first three concern an output folder that already holds one."""

    resume: bool = False
    relist: bool = False
    retry_failed: bool = False
    report: bool = True
    cruise: str = ""


class Batch:
    """The batch of one output folder. ``source`` and ``out`` are folders of the same bucket."""

    def __init__(
        self,
        source: Bucket,
        out: Bucket,
        package: Package,
        settings: Settings,
        how: BatchOptions,
        *,
        emit: Callable[[str], None] = lambda _: None,
        raise_if_cancelled: Callable[[], None] = lambda: None,
    ) -> None:
        if source.place.bucket != out.place.bucket:
            raise SettingError(
                f"--out {out} is in another bucket than {source}, but workers see only the bucket "
                "that their service mounts; choose a folder of that bucket"
            )
        if source.place.holds(out.place):
            raise SettingError(
                f"--out {out} is inside {source}, so results would be inputs of the next batch; "
                "choose a folder outside it"
            )
        if not out.place.folder:
            raise SettingError(f"--out {out} is a whole bucket; write s3://bucket/folder/")
        self._source, self._out = source, out
        self._package, self._settings, self._how = package, settings, how
        self._emit, self._raise_if_cancelled = emit, raise_if_cancelled

    def run(
        self,
        poster: Poster,
        capacity: Callable[[], int],
        options: Options,
        show: Callable[[Reached], None] = lambda _: None,
    ) -> BatchResult:
        """Run the batch. Raises SettingError, and InputError if the storage does not answer."""
        clock, started = time.monotonic(), datetime.now(UTC)
        with tempfile.TemporaryDirectory(prefix="pi10-batch-") as scratch:
            home = Path(scratch)
            table = home / "units.jsonl"
            plan = self._open(table)
            coordinator = Coordinator(
                plan, table, self._out, self._package, poster, capacity, options,
                emit=self._emit, show=show, raise_if_cancelled=self._raise_if_cancelled,
            )  # fmt: skip
            if self._how.retry_failed:
                self._emit(f"retrying {coordinator.retry_failed():,} failed unit(s)")
            coordinator.recall()
            merge = Merge(self._out, plan, self._package, self._settings)
            while True:
                coordinator.run()
                cruises = [
                    merge.fetch(name, units_at(table, places), home, self._raise_if_cancelled)
                    for name, places in sorted(self._cruises(table).items())
                ]
                for cruise in cruises:
                    for unit in cruise.passing:
                        merge.forget(cruise.folder, unit)
                    # a damaged part counts as missing
                    coordinator.again([*cruise.damaged, *cruise.passing])
                if coordinator.complete:
                    break
                self._emit("some units failed in a way that a retry may fix; retrying")
            outcome = BatchResult(units=plan.units)
            self._check_plan(plan)
            remove_others(
                self._out, Marks(unit.path(plan.identity) for _, unit in read_units(table))
            )
            reached = coordinator.reached()
            rate = reached.images / reached.seconds if reached.seconds else 0.0
            for cruise in cruises:
                last = merge.fetch(cruise.name, [*cruise.damaged, *cruise.passing], home)
                tally = merge.write(
                    cruise, started, time.monotonic() - clock, rate,
                    coordinator.done_before[cruise.name], report=self._how.report, emit=self._emit,
                )  # fmt: skip
                outcome.cruises[cruise.name] = dict(tally.totals)
                outcome.totals.update(tally.totals)
                outcome.merged += cruise.units - len(last.damaged)
            self._compare(table, plan, outcome)
            for name in self._out.etags(HEARTBEATS):
                self._out.delete(name)
        outcome.ranges_lost = reached.lost
        outcome.seconds = time.monotonic() - clock
        self._out.put(f"{WORK}report.json", json_bytes(outcome.to_json()))
        return outcome

    def _open(self, table: Path) -> BatchPlan:
        """Read the existing plan, or make a new one. ``table`` gets its list of units."""
        data = self._out.get_if_there(PLAN)
        if data is not None:
            if not self._how.resume:
                raise SettingError(
                    f"{self._out} already holds a batch; add --resume to continue it, or choose "
                    "another --out"
                )
            plan = BatchPlan.parse(data, f"{self._out}{PLAN}")
            self._agree(plan)
            if not self._how.relist:
                self._out.download(UNITS, table)
                if plan.table not in ("", sha256(table)):
                    raise SettingError(
                        f"{self._out}{UNITS} does not match the plan: a listing was interrupted, "
                        "or is still running; list again with --relist"
                    )
                return plan
        return self._list(table)

    def _check_plan(self, plan: BatchPlan) -> None:
        """Raise SettingError if the plan changed: results of another plan would be removed."""
        data = self._out.get_if_there(PLAN)
        if data is None or BatchPlan.parse(data, f"{self._out}{PLAN}") != plan:
            raise SettingError(
                f"{self._out} was listed again by another coordinator while this one ran; "
                "finished units are kept: continue with --resume"
            )

    def _agree(self, plan: BatchPlan) -> None:
        now = {"inputs": f"{self._source}", **deciding(self._settings, self._package)}
        old = {"inputs": plan.address, **plan.settings}
        changed = sorted(key for key in {*old, *now} if old.get(key) != now.get(key))
        if changed:
            diffs = "; ".join(f"{key} was {old.get(key)!r}, is {now.get(key)!r}" for key in changed)
            raise SettingError(
                f"cannot continue {self._out}: {diffs[:1000]}. Results would not be "
                "comparable: use the old settings, or another --out"
            )

    def _units(self) -> Iterator[S3Archive | S3Block]:
        place = self._source.place
        return stored_units(
            self._source.store, place.bucket, place.prefix, self._settings.limits,
            lambda key: key.endswith("/") or self._is_index(key),
        )  # fmt: skip

    def _is_index(self, key: str) -> bool:
        """Whether the object is the index of this batch, or of a batch in a folder below.

        Any other file of that name is an input. Raises SettingError if our index would overwrite
        such a file.
        """
        place = self._source.place
        own = key == f"{place.prefix}{INDEX}"
        if not own and not key.endswith(f"/{INDEX}"):
            return False
        try:
            is_ours = is_index(self._source.get(key[len(place.prefix) :], len(MOUNT) + 1))
        except InputError as error:
            if error.code is Code.STORAGE_UNAVAILABLE:
                raise
            return own  # deleted or unreadable: as an input it becomes a failure later
        if own and not is_ours:
            raise SettingError(
                f"s3://{place.bucket}/{key} is not a batch's index, but would be overwritten by "
                "the index of this batch; move or rename it"
            )
        return is_ours

    def _list(self, table: Path) -> BatchPlan:
        place = self._source.place
        index = table.with_name(INDEX)
        with index.open("wb") as lines, table.open("wb") as units:
            units_read = self._watched(self._units())
            listing = write_units(units_read, place, lines, units, self._how.cruise)
        if not listing.units:
            raise SettingError(f"{self._source} holds no objects; check the address")
        plan = BatchPlan(
            bucket=place.bucket,
            source=place.folder,
            out=self._out.place.folder,
            index=f"{place.prefix}{INDEX}",
            units=listing.units,
            lines=listing.lines,
            size=listing.size,
            settings=deciding(self._settings, self._package),
            table=sha256(table),
        )
        # ranges in flight refer to lines of the old index
        self._forget_ranges()
        self._source.upload(index, INDEX)
        self._out.upload(table, UNITS)
        self._out.put(PLAN, plan.to_json())
        index.unlink()
        self._emit(
            f"listed {listing.lines:,} objects, {listing.units:,} units, {listing.size:,} bytes"
        )
        return plan

    def _watched(self, units: Iterator[S3Archive | S3Block]) -> Iterator[S3Archive | S3Block]:
        for unit in units:
            self._raise_if_cancelled()
            yield unit

    def _forget_ranges(self) -> None:
        data = self._out.get_if_there(STATE)
        if data:
            self._out.put(STATE, json_bytes({**json.loads(data), "ranges": []}))

    @staticmethod
    def _cruises(table: Path) -> dict[str, array[int]]:
        """Cruise -> the byte offsets of its units' lines; an array needs eight bytes per unit."""
        offsets: dict[str, array[int]] = {}
        for at, unit in read_units(table):
            offsets.setdefault(unit.cruise, array("Q")).append(at)
        return offsets

    def _compare(self, table: Path, plan: BatchPlan, outcome: BatchResult) -> None:
        """Count the inputs that changed since the listing."""
        planned = Marks(f"{u.name}\0{u.fingerprint}" for _, u in read_units(table))
        same = 0
        try:
            for unit in self._watched(self._units()):
                if f"{unit.name}\0{unit.fingerprint}" in planned:
                    same += 1
                else:
                    outcome.new += 1
        except InputError as error:
            if error.code is not Code.STORAGE_UNAVAILABLE:
                raise
            self._emit(f"could not compare with the current inputs: {error.message}")
            return
        outcome.gone = plan.units - same
