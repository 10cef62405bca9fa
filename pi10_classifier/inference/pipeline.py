"""Runs units through the engine on several threads, and publishes their parts in order."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from pi10_classifier.errors import Code, InputError
from pi10_classifier.foundation.concurrency import OrderedPool
from pi10_classifier.inference.chunk_result import ChunkResult
from pi10_classifier.inference.chunks import chunks
from pi10_classifier.inference.engine import Engine
from pi10_classifier.inference.part_builder import PartBuilder
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.session import Model
from pi10_classifier.results.part_writer import PartWriter
from pi10_classifier.results.run_folder import RunFolder, UnitRecord, part_stem
from pi10_classifier.sources.base import Item, Unit
from pi10_classifier.sources.repeats import RepeatedFile, keep_last_copies, raise_on_repeat

COLLECT_AFTER = 20_000  # new objects between two searches for cycles; Python has 700
HELD_BYTES = 256 * 2**20
_rare_lock = threading.Lock()
_rare_runs = 0  # that go on
_usual: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run: bytes read, inputs processed, units published."""

    bytes_done: int
    inputs: int
    failures: int
    units: int
    unit: str


class Pipeline:
    """Turns units into published parts, with a limit on the chunks in flight and their bytes."""

    def __init__(
        self, folder: RunFolder, engine: Engine, threads: int, progress: Callable[[Progress], None]
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._progress = progress
        self._pool: OrderedPool[tuple[PartBuilder, Unit], ChunkResult] = OrderedPool(
            threads, window=4 * threads + 4, held_bytes=HELD_BYTES
        )
        self._bytes = self._inputs = self._failures = 0
        self.units = self.resumed = self.fresh_results = 0
        self._undone = UnitRecord("", "", "")
        self.seen: set[str] = set()

    def run(self, units: Iterator[Unit]) -> dict[str, int]:
        """Process all units; returns the number of blocks of each folder of loose files."""
        blocks: dict[str, int] = {}
        try:
            with rare_collections():
                for unit in units:
                    self.units += 1
                    self.seen.add(part_stem(unit.name))
                    if unit.block is not None:
                        blocks[unit.group] = max(blocks.get(unit.group, 0), unit.block + 1)
                    if self._folder.is_done(unit.name, unit.fingerprint):
                        self.resumed += 1
                        self._bytes += unit.size
                        self._report(unit)
                        continue
                    self._feed(unit)
                while self._pool:
                    self._collect()
        finally:
            self._pool.close()
            for writer in {id(part.writer): part.writer for part, _ in self._pool.tags}.values():
                writer.abandon()
        return blocks

    def _feed(self, unit: Unit) -> None:
        try:
            self._read(unit, items_of(unit))
        except RepeatedFile:
            # start the unit again: which of its files count is known only at its end
            while self._pool:
                self._collect()
            self._inputs -= self._undone.inputs
            self._failures -= len(self._undone.failures)
            self.fresh_results -= self._undone.results
            self._read(unit, items_of(unit, again=True))

    def _read(self, unit: Unit, items: Iterator[Item]) -> None:
        record = UnitRecord(unit.name, unit.group, unit.fingerprint)
        part = PartBuilder(
            record, PartWriter(self._folder, unit.name), whole=not unit.group,
            reference=self._folder.reference,
        )  # fmt: skip
        try:
            for chunk in chunks(items):
                held = sum(len(item.data) for item in chunk if item.data)
                self._pool.submit(
                    (part, unit), self._engine.process, chunk, part.gallery, held_bytes=held
                )
                while self._pool.is_full:
                    self._collect()
        except RepeatedFile:
            self._pool.add_marker((part, unit))
            self._undone = record
            raise
        except BaseException:
            self._pool.add_marker((part, unit))  # then its writer is abandoned
            raise
        self._pool.add_marker((part, unit))

    def _collect(self) -> None:
        (part, unit), result = self._pool.first()
        if result is not None:
            if result.hits_misses:
                import_ahead("scipy.special")  # for the intervals of densities
            part.take(result)
            self._inputs += result.inputs
            self._failures += len(result.failures)
            self.fresh_results += len(result.rows)
        elif part.record is self._undone:
            part.writer.abandon()
        else:
            part.publish()
            self._bytes += unit.size
        self._pool.drop_first()
        self._report(unit)

    def _report(self, unit: Unit) -> None:
        done = Progress(self._bytes, self._inputs, self._failures, self.units, unit.name)
        self._progress(done)


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Search for cycles less often: rows are none, so a search mostly looks through them in vain.

    The thresholds are the process's. Runs at once in several threads leave those of before the
    first of them, once the last has ended.
    """
    global _rare_runs, _usual
    with _rare_lock:
        if not _rare_runs:
            _usual = gc.get_threshold()
            gc.set_threshold(max(_usual[0], COLLECT_AFTER), *_usual[1:])
        _rare_runs += 1
    try:
        yield
    finally:
        with _rare_lock:
            _rare_runs -= 1
            if not _rare_runs:
                gc.set_threshold(*_usual)


@cache  # once in a process
def import_ahead(*modules: str) -> None:
    """Import modules in a thread, while images are processed."""

    def run() -> None:
        for module in modules:
            with contextlib.suppress(Exception):  # the code that needs it reports the error
                import_module(module)

    threading.Thread(target=run, name="pi10-imports").start()


def items_of(unit: Unit, *, again: bool | None = False) -> Iterator[Item]:
    """The unit's items. A bug of ours in reading ends the unit, not the run.

    again: True after RepeatedFile was raised; then all but one copy of a repeated file become
    failures. None for a unit whose files cannot repeat, because their names differ.
    """
    try:
        if again is None:
            yield from unit.items()
        else:
            yield from keep_last_copies(unit.items) if again else raise_on_repeat(unit.items())
    except RepeatedFile:
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {str(error)[:200]}; please report"
        yield Item(unit.name, "", error=InputError(Code.INTERNAL, message))


def pipeline_of(
    folder: RunFolder, settings: Settings, model: Model, progress: Callable[[Progress], None]
) -> Pipeline:
    engine = Engine.from_settings(model, settings)
    import_ahead("pyarrow.parquet")  # for parts
    return Pipeline(folder, engine, settings.threads, progress)


def publish_units(
    units: Iterator[Unit],
    folder: RunFolder,
    settings: Settings,
    model: Model,
    progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Publish the parts of all units to an open folder, without tables, which are merged later."""
    pipeline_of(folder, settings, model, progress).run(units)
