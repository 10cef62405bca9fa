"""The batch worker: ``python -m pi10_classifier.oscar range`` classifies one range.

It reads its units from the mount, and publishes each part as soon as it is complete: the engine
builds it on the container's own disk, then it is copied next to its target and renamed. The
name of a part says what it is the result of. So an existing part is done, whoever made it, and
a second worker would write the same bytes. Heartbeats show the coordinator the progress.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from pi10_classifier.errors import Code, ExitCode, InputError, OutputError, Pi10Error, SettingError
from pi10_classifier.inference.pipeline import Progress, publish_units
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.oscar.batch.heartbeat import Heartbeat, beat_seconds
from pi10_classifier.oscar.batch.mounted import MountedUnit, mounted, paths_of, unplanned
from pi10_classifier.oscar.batch.outbox import Outbox
from pi10_classifier.oscar.batch.plan import (
    HEARTBEATS,
    JOURNAL,
    PARTS,
    UNITS,
    BatchPlan,
    Message,
    deciding,
    identity_of,
    on_mount,
)
from pi10_classifier.oscar.batch.units import INDEX, MOUNT, read_units
from pi10_classifier.oscar.records.settings import ServiceSettings
from pi10_classifier.results.run_folder import is_published, part_stem


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Classify the range in the environment's message, and write to stderr what was done."""
    from pi10_classifier.foundation.signals import stoppable

    started = time.perf_counter()
    try:
        message = Message.parse(_message(environ))
        with stoppable() as raise_if_cancelled:
            done = BatchWorker(message, environ).run(raise_if_cancelled)
    except Pi10Error as error:
        print(f"pi10: {error.message}", file=sys.stderr)
        return 1 if isinstance(error, OutputError) else ExitCode.USAGE
    except KeyboardInterrupt:
        print("pi10: stopped; units without a part will be done again", file=sys.stderr)
        return ExitCode.INTERRUPTED
    seconds = time.perf_counter() - started
    print(f"pi10: lines {message.start} to {message.end - 1}: {done}, {seconds:.1f} s",
          file=sys.stderr)  # fmt: skip
    return 0


def _message(environ: Mapping[str, str]) -> str:
    """The message; faas-supervisor writes it to a file, because it is not a storage event."""
    path = environ.get("INPUT_FILE_PATH")
    if not path:
        return environ.get("EVENT", "")
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"the message in {path} cannot be read: {error}") from error


class BatchWorker:
    """Classifies one range."""

    def __init__(self, message: Message, environ: Mapping[str, str]) -> None:
        self._message = message
        self._environ = environ
        self._settings = ServiceSettings.from_environ(environ).classify
        package, _ = read_package(self._settings.model, self._settings.runtime.graph)
        self._deciding = deciding(self._settings, package)
        self._classes = package.classes
        self._identity = identity_of(self._deciding)
        if message.plan:
            path = on_mount(message.plan, environ)
            self._plan: BatchPlan | None = BatchPlan.parse(_read(path), message.plan)
            self._out = path.parent.parent
        else:
            self._plan = None
            self._out = on_mount(environ.get("PI10_BATCH_OUT") or f"{MOUNT}/results", environ)

    def run(self, raise_if_cancelled: Callable[[], None]) -> str:
        """Publish the parts of all units of the range; returns a summary in words."""
        with self._heartbeat() as heartbeat:
            try:
                self._agree()
                units = list(self._units())
                waiting = [unit for unit in units if not self._is_done(unit)]
                heartbeat.update(units=len(units), done=len(units) - len(waiting))
                if waiting:
                    self._publish(waiting, heartbeat, raise_if_cancelled)
            except Pi10Error as error:
                heartbeat.update(error={"code": error.code.value, "message": error.message})
                raise
            heartbeat.update(ended=True)
        return f"{len(units)} units, {len(units) - len(waiting)} done before"

    def _agree(self) -> None:
        if self._plan is None or self._plan.identity == self._identity:
            return
        planned = self._plan.settings
        names = sorted(
            key for key in {*planned, *self._deciding}
            if planned.get(key) != self._deciding.get(key)
        )  # fmt: skip
        diffs = "; ".join(
            f"{key} is {planned.get(key)!r} in the plan, {self._deciding.get(key)!r} here"
            for key in names
        )
        raise SettingError(
            f"this service's settings differ from the batch's: {diffs[:1000]}. Give both the same "
            "PI10_MODEL, PI10_MEASURE, PI10_UM_PER_PX and PI10_DEVICE"
        )

    def _units(self) -> Iterator[MountedUnit]:
        message, limits, environ = self._message, self._settings.limits, self._environ
        if self._plan is None:
            index = environ.get("PI10_BATCH_INDEX") or f"{MOUNT}/{INDEX}"
            with _opened(on_mount(index, environ)) as stream:
                count = message.end - message.start
                lines = b"".join(islice(stream, message.start - 1, message.start - 1 + count))
            above = index.rpartition("/")[0]
            yield from unplanned(paths_of(lines), message.start, above, limits, environ)
            return
        table = self._out / UNITS
        index = f"{MOUNT}/{self._plan.bucket}/{self._plan.index}"
        with _opened(on_mount(index, environ)) as stream:
            expected = message.start
            for _, unit in read_units(table, message.at):
                if unit.start != expected:
                    break
                if unit.start >= message.end:
                    return
                expected = unit.end
                stream.seek(unit.at)
                lines = stream.read(unit.length)
                yield mounted(unit, lines, self._plan.address, limits, environ)
            if expected < message.end:
                raise InputError(
                    Code.STORAGE_UNAVAILABLE,
                    f"the plan has no lines {expected} to {message.end - 1}: the mount is out of "
                    "date, or another batch was planned here; continue with --resume",
                )

    def _is_done(self, unit: MountedUnit) -> bool:
        part, entry = self._places(unit)
        return is_published(part, entry, unit.name, unit.fingerprint)

    def _places(self, unit: MountedUnit) -> tuple[Path, Path]:
        path = unit.planned.path(self._identity)
        return self._out / f"{PARTS}{path}.parquet", self._out / f"{JOURNAL}{path}.json"

    def _publish(
        self,
        units: Sequence[MountedUnit],
        heartbeat: Heartbeat,
        raise_if_cancelled: Callable[[], None],
    ) -> None:
        model = Model.load(self._settings.model, self._settings.device)
        places = {part_stem(unit.name): self._places(unit) for unit in units}

        def progress(reached: Progress) -> None:
            raise_if_cancelled()
            heartbeat.update(inputs=reached.inputs, unit=reached.unit)

        def published() -> None:
            heartbeat.done()

        with tempfile.TemporaryDirectory(prefix="pi10-range-") as scratch:
            folder = Outbox(Path(scratch), self._classes, places, published)
            folder.parts.mkdir()
            folder.journal.mkdir()
            publish_units(iter(units), folder, self._settings, model, progress)

    @contextmanager
    def _heartbeat(self) -> Iterator[Heartbeat]:
        message = self._message
        path = self._out / f"{HEARTBEATS}{message.start}-{message.end}.json"
        heartbeat = Heartbeat(path, beat_seconds(self._environ.get("PI10_BATCH_BEAT_S")))
        with heartbeat:
            yield heartbeat


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise _unread(path, error) from error
    with stream:
        yield stream


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unread(path, error) from error


def _unread(path: Path, error: OSError) -> SettingError:
    return SettingError(
        f"{path} cannot be read: {error.strerror or error}; check that the service mounts the "
        "bucket"
    )
