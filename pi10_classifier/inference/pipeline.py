"""Units through the engine on several threads, their parts published in the inputs' order."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

from pi10_classifier.errors import Code, InputError
from pi10_classifier.foundation.concurrency import OrderedPool
from pi10_classifier.inference.engine import ChunkResult, Engine, chunks
from pi10_classifier.inference.part_builder import PartBuilder
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.session import Model
from pi10_classifier.results.part_writer import PartWriter
from pi10_classifier.results.run_folder import RunFolder, UnitRecord, part_stem
from pi10_classifier.sources.base import Item, Unit
from pi10_classifier.sources.repeats import RepeatedFile, keep_last_copies, raise_on_repeat

HELD_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: bytes of input passed, inputs accounted for, units published."""

    bytes_done: int
    inputs: int
    failures: int
    units: int
    unit: str


class Pipeline:
    """Units in, published parts out; bounded by the chunks in flight and their bytes."""

    def __init__(
        self, folder: RunFolder, engine: Engine, jobs: int, progress: Callable[[Progress], None]
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._progress = progress
        self._pool: OrderedPool[tuple[PartBuilder, Unit], ChunkResult] = OrderedPool(
            jobs, window=4 * jobs + 4, held_bytes=HELD_BYTES
        )
        self._bytes = self._inputs = self._failures = 0
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
            # what was read of it is undone: which of its files count is known at its end only
            while self._pool:
                self._collect()
            self._inputs -= self._undone.inputs
            self._failures -= len(self._undone.failures)
            self.fresh_results -= self._undone.results
            self._read(unit, items_of(unit, again=True))

    def _read(self, unit: Unit, items: Iterator[Item]) -> None:
        record = UnitRecord(unit.name, unit.group, unit.fingerprint)
        part = PartBuilder(record, PartWriter(self._folder, unit.name), whole=not unit.group)
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
            self._pool.add_marker((part, unit))  # so that its writer is abandoned
            raise
        self._pool.add_marker((part, unit))

    def _collect(self) -> None:
        (part, unit), result = self._pool.first()
        if result is not None:
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


def import_ahead() -> None:
    """Import what the first part and the tables need, beside the first images."""
    for module in ("pyarrow.parquet", "pyarrow.dataset", "scipy.special"):
        with contextlib.suppress(Exception):  # whoever needs it says what is wrong
            import_module(module)


def items_of(unit: Unit, *, again: bool | None = False) -> Iterator[Item]:
    """The unit's items; a defect of ours in reading costs its rest, not the run.

    again: True after it raised RepeatedFile, with all but one of what is there twice as
    failures; None for a unit whose files are different ones by their names.
    """
    try:
        if again is None:
            yield from unit.items()
        else:
            yield from keep_last_copies(unit.items) if again else raise_on_repeat(unit.items())
    except RepeatedFile:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {str(error)[:200]}; please report"
        yield Item(unit.name, "", error=InputError(Code.INTERNAL, what))


def pipeline_of(
    folder: RunFolder, settings: Settings, model: Model, progress: Callable[[Progress], None]
) -> Pipeline:
    engine = Engine.from_settings(model, settings)
    threading.Thread(target=import_ahead, name="pi10-imports").start()
    return Pipeline(folder, engine, settings.jobs, progress)


def publish_units(
    units: Iterator[Unit],
    folder: RunFolder,
    settings: Settings,
    model: Model,
    progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Publish the parts of all units into an open folder, and no tables: another merges them."""
    pipeline_of(folder, settings, model, progress).run(units)
