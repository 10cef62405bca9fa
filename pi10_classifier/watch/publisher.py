"""Classifies inputs into parts: one part per minute of images, one per archive.

Results are collected in the order in which the chunks were submitted. What must happen after them,
such as ending a part or making a minute's line, waits in the same queue.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pi10_classifier.drift.sums import to_json
from pi10_classifier.errors import Code, Failure, InputError, OutputError, Pi10Error, output_error
from pi10_classifier.foundation.concurrency import OrderedPool
from pi10_classifier.inference.chunk_result import ChunkResult
from pi10_classifier.inference.chunks import chunks
from pi10_classifier.inference.engine import Engine
from pi10_classifier.inference.part_builder import PartBuilder
from pi10_classifier.inference.pipeline import HELD_BYTES, import_ahead, items_of
from pi10_classifier.results.gallery import Gallery, Picture
from pi10_classifier.results.part_writer import PartWriter
from pi10_classifier.results.run_folder import RunFolder, UnitRecord, part_stem
from pi10_classifier.sources.base import Item, Unit
from pi10_classifier.sources.repeats import RepeatedFile
from pi10_classifier.watch.ashore.pictures import PictureSpool
from pi10_classifier.watch.inputs.base import InputVersion, WatchedInput
from pi10_classifier.watch.inputs.departed import AGAIN
from pi10_classifier.watch.ledger import Entry, Ledger
from pi10_classifier.watch.quarantine import CrashQuarantine
from pi10_classifier.watch.queue import InputQueue

ATTEMPTS = 5
PART_ITEMS = 65_536
GALLERY_EVERY_S = 600.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 300.0
_DISK_WAIT_S = 15.0
_REMEMBERED_S = 3600.0


class _Closed(Gallery):
    """A gallery that takes no pictures; one part in ten minutes has enough for a report."""

    def wants(self, label: str, score: float) -> bool:
        return False

    def add(self, pictures: Sequence[Picture]) -> None:
        pass


@dataclass(slots=True)
class _Part:
    number: int
    open: PartBuilder
    unit: str
    taken: list[tuple[InputVersion, str]] = field(default_factory=list)
    archive: InputVersion | None = None
    begun: int = 0
    lost: OutputError | None = None


@dataclass(slots=True)
class _Step:
    """A chunk in work, or a function to call when all chunks before it are collected."""

    part: _Part | None = None
    candidates: Sequence[InputVersion] = ()
    names: Sequence[str] = ()
    then: Callable[[], None] | None = None


class PartPublisher:
    """Classifies inputs with a pool of threads and publishes parts; one thread uses it.

    results: images classified since the start. seen: (bin, minute), with "" for any minute -> time
    of ``time.monotonic`` when images of it were last published. pause_until: time until which no
    new work should begin; ``trouble`` is the reason. tick: called between any two chunks.
    """

    def __init__(
        self,
        folder: RunFolder,
        engine: Engine,
        threads: int,
        ledger: Ledger,
        waiting: InputQueue,
        watched: WatchedInput,
        quarantine: CrashQuarantine,
        tick: Callable[[], None],
        pictures: PictureSpool | None = None,
    ) -> None:
        self._folder, self._engine, self._ledger = folder, engine, ledger
        self._quarantine, self._pictures = quarantine, pictures
        self._waiting, self._input, self._tick = waiting, watched, tick
        self._pool: OrderedPool[_Step, ChunkResult] = OrderedPool(
            threads, window=4 * threads + 4, held_bytes=HELD_BYTES
        )
        self._open: _Part | None = None
        self._live: dict[int, _Part] = {}
        self._next = ledger.next_part()
        self._attempts: Counter[str] = Counter()
        self._undone: list[str] = []
        self._gallery_due = 0.0
        self.results = 0
        self.seen: dict[tuple[str, str], float] = {}
        self.pause_until = 0.0
        self.trouble: Pi10Error | None = None

    def close(self) -> None:
        """Abandon parts that are not published; their inputs are done again at the next start."""
        self._pool.close()
        for part in self._live.values():
            part.open.writer.abandon()

    def images(self, candidates: Sequence[InputVersion]) -> None:
        """Submit images and sidecars, for the part of this minute."""
        sound = [candidate for candidate in candidates if candidate.name not in self._quarantine]
        if sound:
            self._feed(None, items_of(self._input.block(sound), again=None), sound)
        for candidate in candidates:
            if candidate.name in self._quarantine:
                # alone, so that a crash has only one possible cause
                self.collect(wait=True)
                self._feed(
                    None, self._items(candidate, self._input.block([candidate])), [candidate]
                )
                self.collect(wait=True)

    def archive(self, candidate: InputVersion) -> None:
        """Submit an archive, which becomes a part of its own."""
        suspect = candidate.name in self._quarantine
        if suspect:
            self.collect(wait=True)  # alone, as in ``images``
        part = self._begin(candidate._replace(content=self._input.content(candidate, None)))
        unit = self._input.archive(candidate)
        try:
            self._feed(part, self._items(candidate, unit), ())
        except RepeatedFile:  # discard the part and read the archive again
            self.collect(wait=True)
            self.results -= part.open.record.results
            part.open.writer.abandon()
            del self._live[part.number]
            part = self._begin(part.archive)
            self._feed(part, self._items(candidate, unit, again=True), ())
        self._pool.add_marker(_Step(part, then=lambda: self._end(part)))
        if suspect:
            self.collect(wait=True)

    def _items(self, candidate: InputVersion, unit: Unit, *, again: bool = False) -> Iterator[Item]:
        error = self._quarantine.verdict(candidate.name)
        if error is None:
            return items_of(unit, again=again)
        if candidate.is_archive:
            return iter((Item(unit.name, "", error=error),))
        return iter((Item(self._input.source, candidate.name, error=error),))

    def rotate(self) -> None:
        """End the part of this minute once the chunks in work are collected."""
        part, self._open = self._open, None
        if part:
            self._pool.add_marker(_Step(part, then=lambda: self._end(part)))

    def after(self, then: Callable[[], None]) -> None:
        """Call ``then`` once all chunks submitted before are collected."""
        self._pool.add_marker(_Step(then=then))

    def collect(self, *, wait: bool) -> None:
        """Collect the chunks that are finished; with ``wait``, all of them."""
        while self._pool and (wait or self._pool.is_first_done()):
            self._step()

    def _of_minute(self) -> _Part:
        if self._open and self._open.begun >= PART_ITEMS:
            self.rotate()
        if self._open is None:
            self._open = self._begin()
        return self._open

    def _begin(self, archive: InputVersion | None = None) -> _Part:
        number, self._next = self._next, self._next + 1
        unit = f"{archive.name if archive else self._input.source}@{number:09d}"
        now = time.monotonic()
        gallery: Gallery = _Closed()
        if archive or now >= self._gallery_due:
            gallery = Gallery()
            self._gallery_due = now + GALLERY_EVERY_S if not archive else self._gallery_due
        record = UnitRecord(unit, "", archive.version if archive else f"{self._ledger.id}-{number}")
        part = PartBuilder(
            record, PartWriter(self._folder, unit), gallery, whole=archive is not None,
            reference=self._folder.reference,
        )  # fmt: skip
        new = self._live[number] = _Part(number, part, unit, archive=archive)
        return new

    def _feed(
        self, into: _Part | None, items: Iterator[Item], candidates: Sequence[InputVersion]
    ) -> None:
        """Submit items in chunks, for the part ``into`` or else the part of this minute."""
        unread = {candidate.name: candidate for candidate in candidates}
        for chunk in chunks(items):
            # matched by name, so that an extra item, by a bug, does not shift the others
            read = [
                candidate._replace(content=self._input.content(candidate, item.data))
                for item in chunk
                if (candidate := unread.pop(item.member, None))
            ]
            held = sum(len(item.data) for item in chunk if item.data)
            part = into or self._of_minute()
            names = [into.archive.name] if into and into.archive else [i.member for i in chunk]
            self._quarantine.begin(names)
            step = _Step(part, read, names)
            self._pool.submit(step, self._engine.process, chunk, part.open.gallery, held_bytes=held)
            part.begun += len(chunk)
            self._tick()
            while self._pool.is_full:
                self._step()
        for candidate in unread.values():  # a bug ended the reading; it is recorded
            self._waiting.later(candidate, self._back_off(ATTEMPTS))

    def _step(self) -> None:
        step, result = self._pool.first()
        self._pool.drop_first()
        if result is not None and step.part is not None:
            self._quarantine.end(step.names)
            self._take(step.part, step.candidates, result)
        elif step.then:
            step.then()

    def _take(self, part: _Part, candidates: Sequence[InputVersion], result: ChunkResult) -> None:
        if part.archive is None:
            candidates = self._put_off(candidates, result)
        if result.hits_misses:
            import_ahead("scipy.special")  # for the intervals of densities
        ended = dict.fromkeys((row.member for row in result.rows), "r")
        ended |= {f.member: _outcome([f]) for f in result.failures}
        part.taken.extend((candidate, ended.get(candidate.name, "s")) for candidate in candidates)
        if part.lost:
            return
        try:
            part.open.take(result)
        except OutputError as error:
            part.lost = error
        self.results += len(result.rows)

    def _put_off(
        self, candidates: Sequence[InputVersion], result: ChunkResult
    ) -> list[InputVersion]:
        """Remove failures that will be retried from the result; returns the other candidates."""
        put_off = {}
        for failure in result.failures:
            if failure.retryable and self._is_retried(failure.member, [failure]):
                put_off[failure.member] = failure
        if not put_off:
            return list(candidates)
        result.failures = [f for f in result.failures if f.member not in put_off]
        result.inputs -= len(put_off)
        for candidate in candidates:
            if candidate.name in put_off:
                self._waiting.later(candidate, self._back_off(self._attempts[candidate.name]))
        return [candidate for candidate in candidates if candidate.name not in put_off]

    def _is_retried(self, name: str, failures: Sequence[Failure]) -> bool:
        """True where the input is to be tried again; unavailable storage is retried for ever."""
        self._attempts[name] += 1
        away = any(failure.code is Code.STORAGE_UNAVAILABLE for failure in failures)
        if away:
            error = InputError(failures[0].code, failures[0].message)
            self.pause(error, self._back_off(1))
        return away or self._attempts[name] < ATTEMPTS

    @staticmethod
    def _back_off(attempt: int) -> float:
        wait = min(_FIRST_WAIT_S * 2.0 ** min(attempt - 1, 10), _LONGEST_WAIT_S)
        return wait * random.uniform(0.5, 1.5)  # noqa: S311  jitter, no secret  # nosec B311

    def pause(self, why: Pi10Error, seconds: float) -> None:
        """Begin no new work for so many seconds; ``why`` is shown to the user."""
        self.trouble = why
        self.pause_until = max(self.pause_until, time.monotonic() + seconds)

    def _end(self, part: _Part) -> None:
        """Publish the part and enter its inputs, or queue them to be done again later."""
        record = part.open.record
        del self._live[part.number]
        if part.archive:
            retryable = [f for f in record.failures if f.retryable]
            if retryable and self._is_retried(part.archive.name, retryable):
                part.open.writer.abandon()
                wait = self._back_off(self._attempts[part.archive.name])
                self._waiting.later(part.archive, wait)
                return
            lost = [f for f in record.failures if not f.member]
            part.taken = [(part.archive, _outcome([*retryable, *lost], "a"))]
        if not part.taken:
            part.open.writer.abandon()
            return
        entry = Entry(
            part.number,
            part_stem(part.unit),
            [
                (candidate.name, _version(candidate, outcome), outcome)
                for candidate, outcome in part.taken
            ],
            len(record.failures),
            record.skipped,
            record.counts,
            record.folders,
            record.hits_misses,
            {
                candidate.name: candidate.content
                for candidate, _ in part.taken
                if candidate.content is not None
            },
            {
                candidate.name: candidate.inode
                for candidate, _ in part.taken
                if candidate.inode is not None
            },
            max((last for _, last in record.fixes.values()), default=None),
            json.dumps(to_json(record.drift)) if record.drift is not None else None,
        )
        try:
            if part.lost:
                raise part.lost
            while self._undone:
                remove_part(self._folder, self._undone[-1])
                self._undone.pop()
            self._ledger.enter(entry, lambda: self._publish(part))
        except OutputError as error:
            self._undo(part, entry.stem)
            self.pause(error, _DISK_WAIT_S)
            for candidate, _ in part.taken:
                self._waiting.later(candidate, _DISK_WAIT_S)
            return
        if self._pictures:
            self._pictures.keep(part.open.gallery)
        now = time.monotonic()
        if now >= self.pause_until:
            self.trouble = None
        self.seen = {key: at for key, at in self.seen.items() if now - at < _REMEMBERED_S}
        for bin_id, minute, _ in record.counts:
            self.seen[bin_id, minute] = self.seen[bin_id, ""] = now
        for name, _, _ in entry.inputs:
            self._attempts.pop(name, None)
        names = [name for name, _, _ in entry.inputs]
        self._quarantine.clear(names)
        self._waiting.done(names)

    def _publish(self, part: _Part) -> None:
        part.open.publish()
        for folder in (self._folder.journal, self._folder.parts):
            sync_folder(folder)

    def _undo(self, part: _Part, stem: str) -> None:
        part.open.writer.abandon()
        try:
            remove_part(self._folder, stem)
        except OutputError:  # a disk that became read-only: tried again before the next part
            self._undone.append(stem)


def _outcome(failures: Sequence[Failure], otherwise: str = "f") -> str:
    """The ledger's letter for an input with these failures."""
    if any(failure.code is Code.OBJECT_GONE for failure in failures):
        return "g"
    return "u" if any(failure.retryable for failure in failures) else otherwise


def _version(candidate: InputVersion, outcome: str) -> str:
    # an input that was gone must be done where it returns unchanged
    return AGAIN + candidate.version if outcome == "g" else candidate.version


def remove_part(folder: RunFolder, stem: str) -> None:
    """Remove a part from the dataset. Raises OutputError."""
    try:
        (folder.parts / f"{stem}.parquet").unlink(missing_ok=True)
        (folder.journal / f"{stem}.json").unlink(missing_ok=True)
    except OSError as error:
        raise output_error(error, folder.parts) from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, on POSIX systems. Raises OutputError."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise output_error(error, folder) from error
