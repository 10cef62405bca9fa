"""The watch loop: finds inputs, classifies and publishes them, reports each minute.

Only the thread of the loop publishes parts. Other threads find inputs, classify images, send
lines and, every ten minutes or more, write the summary tables.
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
from pi10_classifier.inference.pipeline import import_ahead, rare_collections
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.runtime import CHUNK_ITEMS
from pi10_classifier.model.session import Model
from pi10_classifier.results.raising_factor import write_factors
from pi10_classifier.results.run_folder import RunFolder
from pi10_classifier.results.tables import summarise
from pi10_classifier.watch.ashore.minute_summary import CHARTS, LinkState, compose
from pi10_classifier.watch.ashore.pictures import PictureSpool
from pi10_classifier.watch.ashore.uplink import Uplink
from pi10_classifier.watch.discovery import InputDiscovery
from pi10_classifier.watch.disk_space import retry_until_writable
from pi10_classifier.watch.inputs.base import WatchedInput
from pi10_classifier.watch.inputs.between_bins import QUIET_S, ModelChanged, NextModel
from pi10_classifier.watch.inputs.place import place_of
from pi10_classifier.watch.ledger import FILE, Ledger
from pi10_classifier.watch.metrics_file import MetricsFile
from pi10_classifier.watch.minute_clock import MinuteClock, utc_now
from pi10_classifier.watch.options import WatchOptions
from pi10_classifier.watch.publisher import PartPublisher, remove_part
from pi10_classifier.watch.quarantine import FILE as IN_WORK
from pi10_classifier.watch.quarantine import CrashQuarantine
from pi10_classifier.watch.queue import InputQueue
from pi10_classifier.watch.superseded import remove_superseded

TABLES_EVERY_S = 600.0
_TAKE = 8 * CHUNK_ITEMS
_LINGER_S = 0.2
_RATE_OVER_S = 10.0
_SHOWN_EVERY_S = 1.0
_DISK_WAIT_S = 5.0
_LAST_SEND_S = 10.0


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a watcher, for display.

    results: images classified since the start. backlog: inputs that are not done; ``more`` is true
    where there are others that the queue has no room for. trouble: why work is paused. line: the
    newest minute line; None before it is known. moved: inputs whose results under an old name were
    removed. gone: inputs that no longer exist and whose results are kept.
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


def watch(
    source: str,
    out: Path,
    settings: Settings,
    plan: WatchOptions,
    *,
    raise_if_cancelled: Callable[[], None] = lambda: None,
    show_status: Callable[[Status], None] = lambda _: None,
    emit_line: Callable[[str], None] = lambda _: None,
    begun: Callable[[Model], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], datetime] = utc_now,
    following: NextModel | None = None,
) -> RunResult:
    """Watch until ``raise_if_cancelled`` raises KeyboardInterrupt; then publish what is in work.

    With ``plan.until_idle`` it also ends once all inputs are done. following: it also ends where
    another model waits, between two bins. show_status: called about once
    a second. emit_line: called with the line of each minute. begun: called with the model before
    the first input. Raises SettingError or ModelError
    before any work, and OutputError where the last results cannot be written; these inputs are
    then classified again at the next start.
    """
    since = time.perf_counter()  # before the model is loaded, as in ``classify``
    watched = place_of(source, settings, environ)
    watched.check()
    if not source.startswith("s3://") and Path(source).resolve().is_relative_to(out.resolve()):
        raise SettingError(f"{source} is inside --out {out}; choose an --out outside it")
    model = Model.load(settings.model, settings.device)
    settings = settings.with_reference(model.package)
    folder = RunFolder(out, model.package.classes, **settings.of_rows(model.package))
    fields = {"inputs": [source], "watch": 1, **settings.fingerprint(model.package)}
    try:
        retried = partial(
            retry_until_writable,
            raise_if_cancelled=raise_if_cancelled,
            emit=lambda error: _show_refusal(show_status, error),
        )
        retried(lambda: _open(folder, fields))
        ledger = retried(lambda: Ledger(folder.journal / FILE))
        try:
            retried(lambda: _reconcile(folder, ledger))
            watcher = retried(
                lambda: _Watcher(
                    watched, folder, ledger, settings, plan, model, environ, clock,
                    following or NextModel(),
                )
            )  # fmt: skip
            begun(model)
            with rare_collections():
                return watcher.run(source, since, raise_if_cancelled, show_status, emit_line)
        finally:
            ledger.close()
    finally:
        folder.close()


def _open(folder: RunFolder, fields: dict[str, Any]) -> None:
    try:
        folder.open(fields, resume=True, overwrite=False)
    except OutputError:
        folder.close()  # its lock would make the next attempt fail
        raise


def _reconcile(folder: RunFolder, ledger: Ledger) -> None:
    for stem in ledger.reconcile_parts(folder.published()):
        remove_part(folder, stem)  # published, but the process died before it was entered
    ledger.try_again()


def _show_refusal(show_status: Callable[[Status], None], error: OutputError) -> None:
    """Show an error of the output disk while there is no watcher with a status."""
    with suppress(OSError):
        show_status(Status(0, 0.0, 0, False, error.message, "not yet", "", None))


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
        following: NextModel,
    ) -> None:
        self._following = following
        self._folder, self._ledger, self._input = folder, ledger, watched
        self._settings, self._plan, self._model = settings, plan, model
        self._package = model.package
        charts = partial(ledger.fact, CHARTS)
        self._metrics = (
            MetricsFile(plan.metrics_file, self._package, settings.reference, charts)
            if plan.metrics_file else None
        )  # fmt: skip
        self._waiting = InputQueue(ledger, plan.settle_s if watched.settles else 0.0)
        self._discovery = InputDiscovery(watched, self._waiting, plan.rescan_s)
        url = plan.summary_url
        pictures = PictureSpool(ledger, plan.pictures_kb) if plan.pictures_kb else None
        self._uplink = Uplink(url, ledger, environ, pictures) if url else None
        engine = Engine.from_settings(model, settings)
        self._quarantine = CrashQuarantine(folder.journal / IN_WORK, ledger)
        self._parts = PartPublisher(
            folder, engine, settings.threads, ledger, self._waiting, watched, self._quarantine,
            self._tick, pictures,
        )  # fmt: skip
        self._begun, self._leaves = time.monotonic(), False
        self._tables_due = self._begun + TABLES_EVERY_S
        self._tables: threading.Thread | None = None
        self._shown = (self._begun, 0, 0.0)  # time, results at that time, images per second
        self._show_due = self._begun
        self._due_lines: list[datetime] = []
        last = ledger.ask("select minute, line from lines order by seq desc limit 1")
        self._line = str(last[0][1]) if last else ""
        newest = datetime.strptime(last[0][0], "%Y-%m-%dT%H:%MZ") if last else None
        self._minutes = MinuteClock(clock, newest.replace(tzinfo=UTC) if newest else None)

    def run(
        self,
        source: str,
        begun: float,
        raise_if_cancelled: Callable[[], None],
        show_status: Callable[[Status], None],
        emit_line: Callable[[str], None],
    ) -> RunResult:
        self._raise_if_cancelled = raise_if_cancelled
        self._show_status, self._emit_line = show_status, emit_line
        started = datetime.now(UTC)
        import_ahead("pyarrow.parquet")
        self._discovery.start()
        if self._uplink:
            self._uplink.start()
        stopped = False
        try:
            try:
                while not self._is_done():
                    self._work()
            except KeyboardInterrupt as cause:
                stopped, self._leaves = True, isinstance(cause, ModelChanged)
            return self._finish(source, started, begun, stopped)
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
        taken = self._waiting.take(_TAKE, CHUNK_ITEMS, _LINGER_S)
        taken = self._following.divide(taken, self._waiting)
        images = [candidate for candidate in taken if not candidate.is_archive]
        if images:
            self._parts.images(images)
        for candidate in taken:
            if candidate.is_archive:
                self._parts.archive(candidate)
        self._parts.collect(wait=False)

    def _admit(self) -> None:
        """Look again at the inputs that had to wait: each has settled, changed, or is gone."""
        for candidate in self._waiting.due():
            try:
                now = self._input.look(candidate)
            except (InputError, SettingError):  # SettingError: S3 keys that are refused for now
                self._waiting.later(candidate, _DISK_WAIT_S)
                continue
            if now is None:
                self._waiting.done([candidate.name])
            elif now.version == candidate.version or not self._input.settles:
                self._waiting.ready(now)
            else:
                self._waiting.settle(now)

    def _tick(self) -> None:
        """Do what is due by the clock; called between any two steps."""
        self._raise_if_cancelled()
        ended = self._minutes.ended()
        if ended:
            self._parts.rotate()
            self._parts.after(lambda: self._compose_lines(ended))
        if time.monotonic() >= self._show_due:
            self._show_due = time.monotonic() + _SHOWN_EVERY_S
            with suppress(OSError):  # a display that fails must not stop the work
                self._show_status(self._status())
        if time.monotonic() >= self._tables_due and not self._parts.trouble:
            self._write_tables()

    def _compose_lines(self, minutes: list[datetime]) -> None:
        """Make the lines of minutes that have ended; if the disk fails, try again next minute."""
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
                    self._package.classes, state, self._is_quiet, self._settings.reference,
                )  # fmt: skip
                self._due_lines.pop(0)
                with suppress(OSError):
                    self._emit_line(self._line)
                if self._metrics:
                    self._metrics.tell(self._line)
                if self._uplink:
                    self._uplink.wake()
        except OutputError as error:
            self._parts.pause(error, _DISK_WAIT_S)

    def _is_quiet(self, bin_id: str, minute: str) -> bool:
        # the next model does not count these images, so this one tells of the minute now
        return (
            self._leaves
            or time.monotonic() - self._parts.seen.get((bin_id, minute), self._begun) > QUIET_S
        )

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
        """Write the summary tables in a thread; less often where that takes long."""
        if self._tables and self._tables.is_alive():
            return

        def write() -> None:
            began = time.monotonic()
            # a part that is rewritten meanwhile, or a full disk: the next time may succeed
            with suppress(OSError, Pi10Error):
                summarise(self._folder)
            took = time.monotonic() - began
            self._tables_due = time.monotonic() + max(TABLES_EVERY_S, 50 * took)

        self._tables = threading.Thread(target=write, name="pi10-tables")
        self._tables.start()

    def _finish(self, source: str, started: datetime, begun: float, stopped: bool) -> RunResult:
        """Take no more inputs, publish what is in work, make the last line, write the tables."""
        self._discovery.close()
        self._parts.trouble = None
        self._parts.rotate()
        self._parts.collect(wait=True)
        if isinstance(self._parts.trouble, OutputError):
            raise self._parts.trouble
        if self._tables:
            self._tables.join()
        self._due_lines.append(self._minutes.current)
        run = self._last(source, started, begun, stopped) if stopped else retry_until_writable(
            lambda: self._last(source, started, begun, stopped),
            self._raise_if_cancelled, lambda error: _show_refusal(self._show_status, error),
        )  # fmt: skip
        return run

    def _last(self, source: str, started: datetime, begun: float, stopped: bool) -> RunResult:
        """Make the last lines and the tables. Raises OutputError; can be repeated."""
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
        seconds = time.perf_counter() - begun
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
        runs_on = self._model.runs_on
        record = describe(run, [source], self._settings, self._package, started, runs_on)
        write_json(self._folder.path / "run.json", record)
        return run
