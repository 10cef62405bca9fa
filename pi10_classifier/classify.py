"""The main job: inputs -> predictions, counts, failures and a summary, resumable.

One thread reads and writes; ``jobs`` threads decode, measure and predict, sharing one
session. Results are taken up in the order of the inputs, whatever order they finish in,
so the tables are the same bytes for any number of jobs and after any interruption.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pi10_classifier
from pi10_classifier.abundance.quality import CLASS_NOT_VALIDATED
from pi10_classifier.errors import Code, ExitCode, InputError, SettingError
from pi10_classifier.imaging.decode import Caps
from pi10_classifier.inference.engine import CHUNK_ITEMS, ChunkResult, Engine, chunks
from pi10_classifier.inference.part_builder import OpenPart
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.model.package import Model, Package, embedded
from pi10_classifier.results.input_spelling import spelled_as_before
from pi10_classifier.results.raising_factor import write_factors
from pi10_classifier.results.run_folder import (
    TABLE_VERSION,
    PartWriter,
    RunFolder,
    UnitRecord,
    part_stem,
    write_json,
)
from pi10_classifier.results.tables import Tally, summarise
from pi10_classifier.sources.archives import Limits
from pi10_classifier.sources.base import Item, Unit
from pi10_classifier.sources.discovery import check_images, check_inputs, discover
from pi10_classifier.sources.input_rules import Notes
from pi10_classifier.sources.repeats import Repeated, once, settled

BATCH = 8
MAX_JOBS = 256
# lowest and highest value of each number in Settings; the faces read them here
BOUNDS: Mapping[str, tuple[float, float]] = {
    "jobs": (1, MAX_JOBS),
    "batch": (1, 1024),
    "um_per_px": (0.01, 10_000),
}
HELD_BYTES = 256 * 2**20
# by module: onnxruntime-gpu and opencv-python are as good as the packages we ask for
MODULES = {
    "onnxruntime": "onnxruntime",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyarrow": "pyarrow",
}


def default_jobs() -> int:
    """The cores this process may use."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on Windows and macOS
        return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Settings:
    """How to classify. ``jobs`` and ``device`` choose speed, the rest what results are."""

    model: Path = field(default_factory=embedded)
    jobs: int = field(default_factory=default_jobs)
    batch: int = BATCH
    measure: bool = True
    um_per_px: float = UM_PER_PX
    device: str = "cpu"
    caps: Caps = field(default_factory=Caps)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                option = name.replace("_", "-")
                raise SettingError(f"--{option} is {value}; it must be {low} to {high}")

    def fingerprint(self, package: Package) -> dict[str, Any]:
        """What changes results, and so must be the same to resume."""
        found = {
            "tables": TABLE_VERSION,
            "model": f"{package.name} {package.version}",
            "model_sha256": package.sha256,
            "classes": list(package.classes),
            "preprocessing": package.preprocessing.to_dict(),
            "temperature": package.temperature,
            "batch": self.batch,
            "chunk": CHUNK_ITEMS,
            "device": self.device,
            "measure": self.measure,
            "um_per_px": self.um_per_px,
            "caps": asdict(self.caps),
            "limits": asdict(self.limits),
        }
        if package.thresholds:  # absent otherwise, so that older runs can be resumed
            found["thresholds"] = dict(zip(package.classes, package.thresholds, strict=True))
        return found


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: bytes of input passed, inputs accounted for, units published."""

    bytes_done: int
    inputs: int
    failures: int
    units: int
    unit: str


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run."""

    out: Path
    tally: Tally
    seconds: float
    units: int
    units_resumed: int
    images_per_second: float
    exit_code: ExitCode
    never_seen: str


# a chunk in work and the bytes it holds; None and 0 where a unit ends
_Pending = tuple[OpenPart, Unit, "Future[ChunkResult] | None", int]


class _Pipeline:
    """Units in, published parts out; bounded by the chunks in flight and their bytes."""

    def __init__(
        self, folder: RunFolder, engine: Engine, jobs: int, progress: Callable[[Progress], None]
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._progress = progress
        self._window = 4 * jobs + 4
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="pi10")
        self._pending: deque[_Pending] = deque()
        self._bytes = self._inputs = self._failures = self._held = 0
        self.units = self.resumed = self.fresh_results = 0
        self._undone = UnitRecord("", "", "")
        self.seen: set[str] = set()

    def run(self, units: Iterator[Unit]) -> dict[str, int]:
        """Do all units; returns how many blocks each folder of loose files was cut into."""
        blocks: dict[str, int] = {}
        try:
            for unit in units:
                self.units += 1
                self.seen.add(part_stem(unit.name))
                if unit.group:
                    number = int(unit.name.rpartition("#")[2])
                    blocks[unit.group] = max(blocks.get(unit.group, 0), number + 1)
                if self._folder.is_done(unit.name, unit.fingerprint):
                    self.resumed += 1
                    self._bytes += unit.size
                    self._report(unit)
                    continue
                self._feed(unit)
            while self._pending:
                self._collect()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            for writer in {id(part.writer): part.writer for part, *_ in self._pending}.values():
                writer.abandon()
        return blocks

    def _feed(self, unit: Unit) -> None:
        try:
            self._read(unit, items_of(unit))
        except Repeated:
            # what was read of it is undone: which of its files count is known at its end only
            while self._pending:
                self._collect()
            self._inputs -= self._undone.inputs
            self._failures -= len(self._undone.failures)
            self.fresh_results -= self._undone.results
            self._read(unit, items_of(unit, again=True))

    def _read(self, unit: Unit, items: Iterator[Item]) -> None:
        record = UnitRecord(unit.name, unit.group, unit.fingerprint)
        part = OpenPart(record, PartWriter(self._folder, unit.name), whole=not unit.group)
        try:
            for chunk in chunks(items):
                held = sum(len(item.data) for item in chunk if item.data)
                future = self._pool.submit(self._engine.process, chunk, part.gallery)
                self._pending.append((part, unit, future, held))
                self._held += held
                while len(self._pending) > self._window or self._held > HELD_BYTES:
                    self._collect()
        except Repeated:
            self._pending.append((part, unit, None, 0))
            self._undone = record
            raise
        except BaseException:
            self._pending.append((part, unit, None, 0))  # so that its writer is abandoned
            raise
        self._pending.append((part, unit, None, 0))

    def _collect(self) -> None:
        part, unit, future, held = self._pending[0]
        if future is not None:
            result = future.result()
            part.take(result)
            self._inputs += result.inputs
            self._failures += len(result.failures)
            self.fresh_results += len(result.rows)
        elif part.record is self._undone:
            part.writer.abandon()
        else:
            part.publish()
            self._bytes += unit.size
        self._pending.popleft()
        self._held -= held
        self._report(unit)

    def _report(self, unit: Unit) -> None:
        done = Progress(self._bytes, self._inputs, self._failures, self.units, unit.name)
        self._progress(done)


def import_ahead() -> None:
    """Import what the first part and the tables need, beside the first images."""
    for module in ("pyarrow.parquet", "pyarrow.dataset", "scipy.special"):
        with contextlib.suppress(Exception):  # whoever needs it says what is wrong
            import_module(module)


def items_of(unit: Unit, *, again: bool | None = False) -> Iterator[Item]:
    """The unit's items; a defect of ours in reading costs its rest, not the run.

    again: True after it raised Repeated, with all but one of what is there twice as
    failures; None for a unit whose files are different ones by their names.
    """
    try:
        if again is None:
            yield from unit.items()
        else:
            yield from settled(unit.items) if again else once(unit.items())
    except Repeated:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {str(error)[:200]}; please report"
        yield Item(unit.name, "", error=InputError(Code.INTERNAL, what))


def versions() -> dict[str, str]:
    """The versions of what results may depend on; empty where a package is missing."""
    found = {}
    for name, module in MODULES.items():
        try:
            found[name] = str(import_module(module).__version__)
        except ImportError:
            found[name] = ""
    return found


def classify(
    inputs: Sequence[str],
    out: Path,
    settings: Settings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
) -> Run:
    """Classify all images of ``inputs`` into the folder ``out``.

    Raises SettingError or ModelError before any work, OutputError where results cannot
    be written, and whatever ``progress`` raises to stop the run between two steps: all
    leave a folder that can be resumed.
    """
    clock = time.perf_counter()
    check_inputs(inputs)
    check_images(inputs)
    if resume:
        inputs = spelled_as_before(inputs, out)
    model = Model.load(settings.model, settings.device)
    notes = Notes()
    found = discover(inputs, settings.limits, environ, notes)
    return classify_units(
        found, inputs, out, settings, model,
        resume=resume, overwrite=overwrite, progress=progress, clock=clock, notes=notes,
    )  # fmt: skip


def classify_units(
    units: Iterator[Unit],
    inputs: Sequence[str],
    out: Path,
    settings: Settings,
    model: Model,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    clock: float | None = None,
    notes: Notes | None = None,
) -> Run:
    """``classify`` with a model at hand and units found by the caller, who names their inputs.

    clock: ``time.perf_counter()`` when the work began, now if None. notes: what the finding
    of ``units`` left out.
    """
    started = datetime.now(UTC)
    clock = time.perf_counter() if clock is None else clock
    folder = RunFolder(out, model.package.classes)
    # spelled as they were: units are known by their paths as given
    fingerprint = {"inputs": sorted(set(inputs)), **settings.fingerprint(model.package)}
    try:
        folder.open(fingerprint, resume=resume, overwrite=overwrite)
        pipeline = _pipeline(folder, settings, model, progress)
        blocks = pipeline.run(units)
        folder.drop_recut_blocks(blocks)
        tally = summarise(folder)
        write_factors(folder, tally.factors)
        tally.warnings.extend(notes.warnings() if notes else ())
        gone = folder.published() - pipeline.seen
        if gone:
            tally.warnings.append(
                f"{len(gone)} archives or blocks of files were classified earlier and are no "
                "longer among the inputs; their results are kept: --overwrite leaves them out"
            )
    finally:
        folder.close()
    seconds = time.perf_counter() - clock
    run = Run(
        out=out,
        tally=tally,
        seconds=seconds,
        units=pipeline.units,
        units_resumed=pipeline.resumed,
        images_per_second=pipeline.fresh_results / seconds,
        exit_code=exit_code_of(tally),
        never_seen=str(model.package.description.get("never_seen", "")),
    )
    write_json(out / "run.json", describe(run, inputs, settings, model.package, started))
    return run


def _pipeline(
    folder: RunFolder, settings: Settings, model: Model, progress: Callable[[Progress], None]
) -> _Pipeline:
    engine = Engine(
        model,
        batch=settings.batch,
        measuring=settings.measure,
        um_per_px=settings.um_per_px,
        caps=settings.caps,
    )
    threading.Thread(target=import_ahead, name="pi10-imports").start()
    return _Pipeline(folder, engine, settings.jobs, progress)


def publish_units(
    units: Iterator[Unit],
    folder: RunFolder,
    settings: Settings,
    model: Model,
    progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Publish the parts of all units into an open folder, and no tables: another merges them."""
    _pipeline(folder, settings, model, progress).run(units)


def exit_code_of(tally: Tally) -> ExitCode:
    # a bin whose instrument counted and saved nothing is an observation, not a failure
    if tally.totals["results"] == 0 and (tally.totals["failures"] or not tally.bins):
        return ExitCode.NOTHING_READ
    return ExitCode.SOME_FAILED if tally.totals["failures"] else ExitCode.OK


def describe(
    run: Run, inputs: Sequence[str], settings: Settings, package: Package, started: datetime
) -> dict[str, Any]:
    """What ``run.json`` says of a finished run."""
    return {
        "format": 1,
        "totals": dict(run.tally.totals),
        "failures_by_code": dict(sorted(run.tally.failures_by_code.items())),
        # the model's classes, and no_particle where there is one: they add up to the results
        "results_by_class": dict.fromkeys(package.classes, 0) | dict(run.tally.labels),
        "densities": {
            name: {label: asdict(its) if its else None for label, its in found.items()}
            for name, found in run.tally.densities.items()
        },
        "classification": {
            "validated": False,
            "quality_l20": CLASS_NOT_VALIDATED[0],
            "quality_qartod": CLASS_NOT_VALIDATED[1],
        },
        "warnings": run.tally.warnings,
        "parameters": {
            "inputs": list(inputs),
            "jobs": settings.jobs,
            **settings.fingerprint(package),
        },
        "versions": {
            "pi10-classifier": pi10_classifier.__version__,
            "python": platform.python_version(),
            **versions(),
        },
        "machine": {
            "system": platform.system(),
            "cpu": platform.machine(),
            "cores": default_jobs(),
        },
        "model": {
            "name": package.name,
            "version": package.version,
            "sha256": package.sha256,
            "classes": list(package.classes),
            "never_seen": run.never_seen,
        },
        "units": {"all": run.units, "resumed": run.units_resumed},
        "started": f"{started:%Y-%m-%dT%H:%M:%SZ}",
        "finished": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "seconds": round(run.seconds, 3),
        "images_per_second": round(run.images_per_second, 1),
        "exit_code": int(run.exit_code),
        "complete": True,
    }
