"""Merges published parts into one result per cruise: tables, run.json and report.

The parts stay where the workers put them, partitioned by cruise and day. To compute a cruise's
tables, they are copied to a local run folder like one of ``pi10 classify``, so the same code
writes the tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pi10_classifier.classify import RunResult, describe, exit_code_of
from pi10_classifier.errors import Code, InputError, Pi10Error
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.foundation.files import write_json
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import Package
from pi10_classifier.oscar.batch.plan import JOURNAL, PARTS, BatchPlan
from pi10_classifier.oscar.batch.published import whole
from pi10_classifier.oscar.batch.units import PlannedUnit
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.results.raising_factor import write_factors
from pi10_classifier.results.run_folder import SUMMARIES, RunFolder, part_stem
from pi10_classifier.results.tables import Tally, summarise

_FETCHERS = 8


@dataclass(slots=True)
class Cruise:
    """One cruise being merged. ``passing``: units with failures that a retry may fix."""

    name: str
    folder: RunFolder
    units: int = 0
    paths: dict[str, str] = field(default_factory=dict)  # unit -> path in the output folder
    damaged: list[PlannedUnit] = field(default_factory=list)
    passing: list[PlannedUnit] = field(default_factory=list)


class Merge:
    """Fetches a cruise's parts, and writes its tables."""

    def __init__(self, out: Bucket, plan: BatchPlan, package: Package, settings: Settings) -> None:
        self._out, self._plan = out, plan
        self._package, self._settings = package, settings

    def fetch(
        self,
        name: str,
        units: Iterable[PlannedUnit],
        home: Path,
        raise_if_cancelled: Callable[[], None] = lambda: None,
    ) -> Cruise:
        """Copy the cruise's parts below ``home``, except those that were copied before."""
        novelty = self._package.novelty is not None
        folder = RunFolder(home / quote(name, safe=""), self._package.classes, novelty=novelty)
        for path in (folder.parts, folder.journal):
            path.mkdir(parents=True, exist_ok=True)
        cruise = Cruise(name, folder)
        for unit, entry in ordered_map(lambda unit: self._copy(folder, unit), units, _FETCHERS):
            raise_if_cancelled()
            cruise.units += 1
            cruise.paths[unit.name] = unit.path(self._plan.identity)
            if entry is None:
                cruise.damaged.append(unit)
            elif any(Code(failure[2]).retryable for failure in entry["failures"]):
                cruise.passing.append(unit)
        return cruise

    def _copy(
        self, folder: RunFolder, unit: PlannedUnit
    ) -> tuple[PlannedUnit, dict[str, Any] | None]:
        stem, path = part_stem(unit.name), unit.path(self._plan.identity)
        part, entry = folder.parts / f"{stem}.parquet", folder.journal / f"{stem}.json"
        try:
            for target, name in (
                (entry, f"{JOURNAL}{path}.json"),
                (part, f"{PARTS}{path}.parquet"),
            ):
                if not target.exists():
                    self._out.download(name, target)
            record = json.loads(entry.read_text("utf-8"))
            if whole(record, unit, part):
                return unit, record
        except InputError as error:
            if error.code is not Code.OBJECT_GONE:
                raise
        except (ValueError, TypeError, AttributeError):
            pass
        self.forget(folder, unit)
        return unit, None

    @staticmethod
    def forget(folder: RunFolder, unit: PlannedUnit) -> None:
        """Remove the local copy of a unit that will be done again."""
        stem = part_stem(unit.name)
        (folder.parts / f"{stem}.parquet").unlink(missing_ok=True)
        (folder.journal / f"{stem}.json").unlink(missing_ok=True)

    def write(
        self,
        cruise: Cruise,
        started: datetime,
        seconds: float,
        rate: float,
        resumed: int,
        *,
        report: bool,
        emit: Callable[[str], None],
    ) -> Tally:
        """Write the cruise's tables and upload them, ``run.json`` last.

        rate: images per second of the whole batch. resumed: units done by an earlier coordinator.
        """
        path = cruise.folder.path
        tally = summarise(cruise.folder)
        self._raise(cruise, tally)
        run = RunResult(
            out=path,
            tally=tally,
            seconds=seconds,
            units=cruise.units,
            units_resumed=resumed,
            images_per_second=rate,
            exit_code=exit_code_of(tally),
            never_seen=str(self._package.description.get("never_seen", "")),
        )
        record = describe(run, [self._plan.address], self._settings, self._package, started)
        write_json(path / "run.json", record)
        if report:
            self._report(path, emit)
        for name in sorted(SUMMARIES, key=lambda name: name == "run.json"):
            if (path / name).is_file():
                self._out.upload(path / name, f"{self.folder_of(cruise.name)}{name}")
        return tally

    def _raise(self, cruise: Cruise, tally: Tally) -> None:
        """Write the raising factors of minutes whose images lie in several parts."""
        for name in write_factors(cruise.folder, tally.factors):
            part, entry = cruise.folder.paths_of(name)
            # the entry first: if its part has another size, the unit is done again
            self._out.upload(entry, f"{JOURNAL}{cruise.paths[name]}.json")
            self._out.upload(part, f"{PARTS}{cruise.paths[name]}.parquet")

    @staticmethod
    def folder_of(cruise: str) -> str:
        """The folder of a cruise's tables in the output folder."""
        return f"tables/cruise={quote(cruise, safe='')}/"

    def _report(self, path: Path, emit: Callable[[str], None]) -> None:
        from pi10_classifier.report.page import write_report

        try:
            write_report(path, self._settings.model)
        except Pi10Error as error:
            emit(f"no report: {error.message}")
