"""The watch loop: finds inputs, classifies and publishes them, reports each minute.

Its own thread alone writes to the output folder; others look for inputs, classify, send lines,
and now and then write the summary tables.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pi10_classifier.classify import RunResult, describe, exit_code_of
from pi10_classifier.errors import ExitCode, InputError, OutputError, Pi10Error, SettingError
from pi10_classifier.foundation.files import write_json
from pi10_classifier.inference.engine import Engine
from pi10_classifier.inference.pipeline import import_ahead
from pi10_classifier.inference.settings import CHUNK_ITEMS, Settings
from pi10_classifier.model.session import Model
from pi10_classifier.results.raising_factor import write_factors
from pi10_classifier.results.run_folder import RunFolder
from pi10_classifier.results.tables import summarise
from pi10_classifier.watch.discovery import InputDiscovery
from pi10_classifier.watch.disk_space import patiently
from pi10_classifier.watch.inputs.base import WatchedInput
from pi10_classifier.watch.inputs.folder import FolderPlace
from pi10_classifier.watch.ledger import FILE, Ledger
from pi10_classifier.watch.minute_clock import MinuteClock, utc_now
from pi10_classifier.watch.minute_summary import LinkState, compose
from pi10_classifier.watch.publisher import PartPublisher, remove_part
from pi10_classifier.watch.quarantine import FILE as IN_WORK
from pi10_classifier.watch.quarantine import CrashQuarantine
from pi10_classifier.watch.queue import InputQueue
from pi10_classifier.watch.superseded import remove_superseded
from pi10_classifier.watch.uplink import Uplink

QUIET_S = 120.0
TABLES_EVERY_S = 600.0
_TAKE = 8 * CHUNK_ITEMS
_LINGER_S = 0.2
_RATE_OVER_S = 10.0
_SHOWN_EVERY_S = 1.0
_DISK_WAIT_S = 5.0
_LAST_SEND_S = 10.0


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch. settle_s: how long a file must stay as it is before it is read.

    rescan_s: how often to look for what events did not tell. until_idle: end once
    everything that is there is done.
    """

    settle_s: float = 2.0
    rescan_s: float = 60.0
    summary_url: str = ""
    until_idle: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.settle_s <= 3600:
            raise SettingError(f"--settle is {self.settle_s}; it must be 0 to 3600 seconds")
        if not 1 <= self.rescan_s <= 86_400:
            raise SettingError(f"--rescan is {self.rescan_s}; it must be 1 to 86400 seconds")


@dataclass(frozen=True, slots=True)
class Status:
    """How a watcher stands, for whoever looks on.

    line: the last minute's; None before it is known. moved: inputs whose old names left.
    gone: those that are no longer there, and whose results are kept.
    """

    results: int
    per_second: float
    backlog: int
    more: bool
    trouble: str
    listening: str
    link: str
    line: str | None
    moved: int = 0  # since the start
    gone: int = 0


def place_of(source: str, settings: Settings, environ: Mapping[str, str]) -> WatchedInput:
    """Raises SettingError where ``source`` is nothing that can be watched."""
    if source.startswith("s3://"):
        # the S3 client takes longer to import than a folder's first image to classify
        from pi10_classifier.watch.inputs.bucket import BucketPlace

        return BucketPlace(source, settings.limits, environ)
    if "://" in source or not source.strip():
        raise SettingError(f"{source!r}: name a folder, or s3://bucket/prefix")
    return FolderPlace(Path(source), settings.limits)


def watch(
    source: str,
    out: Path,
    settings: Settings,
    plan: WatchOptions,
    *,
    check: Callable[[], None] = lambda: None,
    show: Callable[[Status], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], datetime] = utc_now,
) -> RunResult:
    """Watch until ``check`` raises KeyboardInterrupt, or all is done; then publish the rest.

    ``show`` is called about once a second, ``tell`` with each minute's line. Raises
    SettingError or ModelError before any work, and OutputError where the last of it cannot
    be written, which is then done at the next start.
    """
    watched = place_of(source, settings, environ)
    watched.check()
    if not source.startswith("s3://") and Path(source).resolve().is_relative_to(out.resolve()):
        raise SettingError(f"{source} is inside --out {out}; choose an --out outside it")
    model = Model.load(settings.model, settings.device)
    folder = RunFolder(out, model.package.classes)
    fields = {"inputs": [source], "watch": 1, **settings.fingerprint(model.package)}
    try:
        waits = partial(patiently, check=check, tell=lambda error: _show_refusal(show, error))
        waits(lambda: _open(folder, fields))
        ledger = waits(lambda: Ledger(folder.journal / FILE))
        try:
            waits(lambda: _reconcile(folder, ledger))
            watcher = waits(
                lambda: _Watcher(watched, folder, ledger, settings, plan, model, environ, clock)
            )
            return watcher.run(source, check, show, tell)
        finally:
            ledger.close()
    finally:
        folder.close()


def _open(folder: RunFolder, fields: dict[str, Any]) -> None:
    try:
        folder.open(fields, resume=True, overwrite=False)
    except OutputError:
        folder.close()  # its lock would refuse the next try
        raise


def _reconcile(folder: RunFolder, ledger: Ledger) -> None:
    for stem in ledger.reconcile_parts(folder.published()):
        remove_part(folder, stem)  # published, and killed before it was entered
    ledger.try_again()


def _show_refusal(show: Callable[[Status], None], error: OutputError) -> None:
    """Before there is a watcher that has more to say."""
    with suppress(OSError):
        show(Status(0, 0.0, 0, False, error.message, "not yet", "", None))


class _Watcher:
    def __init__(
        self,
        watched: WatchedInput,
        folder: RunFolder,
        ledger: Ledger,
        settings: Settings,
        plan: WatchOptions,
        model: Model,
        environ: Mapping[str, str],
        clock: Callable[[], datetime],
    ) -> None:
        self._folder, self._ledger, self._input = folder, ledger, watched
        self._settings, self._plan, self._model = settings, plan, model
        self._package = model.package
        self._waiting = InputQueue(ledger, plan.settle_s if watched.settles else 0.0)
        self._discovery = InputDiscovery(watched, self._waiting, plan.rescan_s)
        url = plan.summary_url
        self._uplink = Uplink(url, ledger, environ) if url else None
        engine = Engine.from_settings(model, settings)
        self._quarantine = CrashQuarantine(folder.journal / IN_WORK, ledger)
        self._parts = PartPublisher(
            folder,
            engine,
            settings.jobs,
            ledger,
            self._waiting,
            watched,
            self._quarantine,
            self._tick,
        )
        self._begun = time.monotonic()
        self._tables_due = self._begun + TABLES_EVERY_S
        self._tables: threading.Thread | None = None
        self._shown = (self._begun, 0, 0.0)  # when, results then, rate
        self._show_due = self._begun
        self._due_lines: list[datetime] = []
        last = ledger.ask("select minute, line from lines order by seq desc limit 1")
        self._line = str(last[0][1]) if last else ""
        told = datetime.strptime(last[0][0], "%Y-%m-%dT%H:%MZ") if last else None
        self._minutes = MinuteClock(clock, told.replace(tzinfo=UTC) if told else None)

    def run(
        self,
        source: str,
        check: Callable[[], None],
        show: Callable[[Status], None],
        tell: Callable[[str], None],
    ) -> RunResult:
        self._check, self._show, self._tell = check, show, tell
        started, clock = datetime.now(UTC), time.perf_counter()
        threading.Thread(target=import_ahead, name="pi10-imports").start()
        self._discovery.start()
        if self._uplink:
            self._uplink.start()
        stopped = False
        try:
            try:
                while not self._is_done():
                    self._work()
            except KeyboardInterrupt:
                stopped = True
            return self._finish(source, started, clock, stopped)
        finally:
            self._discovery.close()
            self._parts.close()
            self._quarantine.close()
            if self._uplink:
                self._uplink.close(_LAST_SEND_S)

    def _is_done(self) -> bool:
        if self._discovery.defect:
            raise self._discovery.defect
        if not (self._plan.until_idle and self._discovery.scans and self._waiting.is_drained):
            return False
        self._parts.rotate()
        self._parts.collect(wait=True)
        return not len(self._waiting)

    def _work(self) -> None:
        self._tick()
        self._admit()
        if time.monotonic() < self._parts.pause_until:
            self._parts.collect(wait=False)
            time.sleep(_LINGER_S)
            return
        found = self._waiting.take(_TAKE, CHUNK_ITEMS, _LINGER_S)
        images = [one for one in found if not one.is_archive]
        if images:
            self._parts.images(images)
        for one in found:
            if one.is_archive:
                self._parts.archive(one)
        self._parts.collect(wait=False)

    def _admit(self) -> None:
        """Look at what was put off: it has settled, changed, or is gone."""
        for found in self._waiting.due():
            try:
                now = self._input.look(found)
            except (InputError, SettingError):  # or keys that are refused for the time being
                self._waiting.later(found, _DISK_WAIT_S)
                continue
            if now is None:
                self._waiting.done([found.name])
            elif now.version == found.version or not self._input.settles:
                self._waiting.ready(now)
            else:
                self._waiting.settle(now)

    def _tick(self) -> None:
        """What is due by the clock; called between any two steps."""
        self._check()
        over = self._minutes.over()
        if over:
            self._parts.rotate()
            self._parts.after(lambda: self._compose_lines(over))
        if time.monotonic() >= self._show_due:
            self._show_due = time.monotonic() + _SHOWN_EVERY_S
            with suppress(OSError):  # a display is never a reason to stop
                self._show(self._status())
        if time.monotonic() >= self._tables_due and not self._parts.trouble:
            self._write_tables()

    def _compose_lines(self, minutes: list[datetime]) -> None:
        """Make the lines of minutes that are over; where the disk refuses, with the next ones."""
        self._due_lines += minutes
        trouble = self._parts.trouble
        try:
            remove_superseded(self._folder, self._ledger)
            while self._due_lines:
                state = LinkState(
                    len(self._waiting), self._waiting.is_full, trouble.code if trouble else ""
                )
                self._line = compose(
                    self._ledger, self._due_lines[0], self._package.sha256,
                    self._package.classes, state, self._is_quiet,
                )  # fmt: skip
                self._due_lines.pop(0)
                with suppress(OSError):
                    self._tell(self._line)
                if self._uplink:
                    self._uplink.wake()
        except OutputError as error:
            self._parts.pause(error, _DISK_WAIT_S)

    def _is_quiet(self, bin_id: str, minute: str) -> bool:
        return time.monotonic() - self._parts.seen.get((bin_id, minute), self._begun) > QUIET_S

    def _status(self) -> Status:
        now = time.monotonic()
        since, results, rate = self._shown
        if now - since >= _RATE_OVER_S:
            rate = (self._parts.results - results) / (now - since)
            self._shown = (now, self._parts.results, rate)
        trouble: Pi10Error | None = self._parts.trouble
        message = trouble.message if trouble else ""
        if not message and self._discovery.scanning not in ("ok", "not yet"):
            message = self._discovery.scanning
        link = ""
        if self._uplink:
            with suppress(OutputError):
                link = f"{self._uplink.state}, {self._uplink.waiting} to send"
        return Status(
            self._parts.results, rate, len(self._waiting), self._waiting.is_full, message,
            self._discovery.listening, link, self._line, self._ledger.moved, self._ledger.gone,
        )  # fmt: skip

    def _write_tables(self) -> None:
        """The summary tables, beside the work; rarer where they take long."""
        if self._tables and self._tables.is_alive():
            return

        def write() -> None:
            began = time.monotonic()
            # a part that is amended meanwhile, or a full disk: the next time will do
            with suppress(OSError, Pi10Error):
                summarise(self._folder)
            took = time.monotonic() - began
            self._tables_due = time.monotonic() + max(TABLES_EVERY_S, 50 * took)

        self._tables = threading.Thread(target=write, name="pi10-tables")
        self._tables.start()

    def _finish(self, source: str, started: datetime, clock: float, stopped: bool) -> RunResult:
        """Take no more, publish what is in work, tell of the last minute, write the tables."""
        self._discovery.close()
        self._parts.trouble = None
        self._parts.rotate()
        self._parts.collect(wait=True)
        if isinstance(self._parts.trouble, OutputError):
            raise self._parts.trouble
        if self._tables:
            self._tables.join()
        self._due_lines.append(self._minutes.current)
        run = self._last(source, started, clock, stopped) if stopped else patiently(
            lambda: self._last(source, started, clock, stopped),
            self._check, lambda error: _show_refusal(self._show, error),
        )  # fmt: skip
        return run

    def _last(self, source: str, started: datetime, clock: float, stopped: bool) -> RunResult:
        """The last lines and the tables. Raises OutputError; may be done again."""
        self._parts.trouble = None
        self._compose_lines([])
        if self._due_lines and isinstance(self._parts.trouble, OutputError):
            raise self._parts.trouble
        remove_superseded(self._folder, self._ledger)
        tally = summarise(self._folder)
        write_factors(self._folder, tally.factors)
        if gone := self._ledger.gone:
            tally.warnings.append(
                f"{gone} inputs no longer exist; their results are kept (an input that was "
                "moved keeps only its new name)"
            )
        seconds = time.perf_counter() - clock
        run = RunResult(
            out=self._folder.path,
            tally=tally,
            seconds=seconds,
            units=len(self._folder.published()),
            units_resumed=0,
            images_per_second=self._parts.results / seconds,
            exit_code=ExitCode.OK if stopped else exit_code_of(tally),
            never_seen=str(self._package.description.get("never_seen", "")),
        )
        record = describe(run, [source], self._settings, self._model.package, started)
        write_json(self._folder.path / "run.json", record)
        return run
