"""Classifies uploaded files with the engine of ``pi10 classify``: rows, failures, totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from pi10_classifier.errors import Failure
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.inference.chunk_result import ChunkResult
from pi10_classifier.inference.chunks import chunks
from pi10_classifier.inference.engine import Engine
from pi10_classifier.inference.part_builder import PartBuilder
from pi10_classifier.model.package import Package
from pi10_classifier.results.columns import Row, by_row
from pi10_classifier.results.feature_part import F16
from pi10_classifier.results.gallery import Gallery, Picture
from pi10_classifier.results.part_writer import PartWriter
from pi10_classifier.results.run_folder import UnitRecord
from pi10_classifier.sources.base import Item

SHEET_IMAGES = 96


class FirstPictures(Gallery):
    """Pictures of the first images, in their order, instead of the best and worst of each class.

    Threads may call ``wants`` while the collector adds, as with the base class: at worst a
    picture is drawn that is not needed.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.pictures: list[Picture] = []

    def wants(self, label: str, score: float) -> bool:
        return len(self.pictures) < self.most

    def add(self, pictures: Any) -> None:
        self.pictures.extend(pictures[: self.most - len(self.pictures)])


class Rows(PartWriter):
    """Keeps a request's rows in memory instead of writing a part file."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, rows: Sequence[Row], features: Sequence[F16] = ()) -> None:
        self.rows.extend(rows)


class PredictionResult:
    """The results of a request: inputs = results + failures + skipped.

    It collects chunks with the PartBuilder of a run, so both count in the same way.
    """

    def __init__(self, package: Package) -> None:
        self.package = package
        self.labels: Counter[str] = Counter()
        self.pictures: list[Picture] = []
        self._writer = Rows()
        self._part = PartBuilder(UnitRecord("upload", "", ""), self._writer)

    @property
    def record(self) -> UnitRecord:
        """The data that the summary tables are computed from."""
        return self._part.record

    @property
    def rows(self) -> list[Row]:
        return self._writer.rows

    def cells(self) -> list[tuple[Any, ...]]:
        """The rows as cells, in the order of the table's columns."""
        return by_row(self.rows, novelty=self.package.novelty is not None)

    @property
    def failures(self) -> list[Failure]:
        return self.record.failures

    @property
    def totals(self) -> dict[str, int]:
        return self.record.totals

    def take(self, result: ChunkResult) -> None:
        self._part.take(result)
        for (_, _, label), count in result.counts.items():
            self.labels[label] += count

    def fill_factors(self) -> None:
        """Give each row its raising factor. An upload counts as a complete bin, like an archive."""
        if not self.record.hits_misses:
            return
        from pi10_classifier.results.raising_factor import factors_of

        classes = self.package.classes
        factors = {(b, minute): factor for b, minute, factor in factors_of(self.record, classes)}
        self._writer.rows = [
            row._replace(raising_factor=factors.get((row.bin or "", minute_text(row.datetime))))
            for row in self._writer.rows
        ]


def minute_text(when: datetime | None) -> str:
    """The minute of a row's time, in the journal's form."""
    return f"{when.isoformat(timespec='minutes')[:16]}:00Z" if when else ""


def classify_items(
    items: Iterator[Item], engine: Engine, package: Package, jobs: int, pictures: int = 0
) -> PredictionResult:
    """Classify all items. jobs: threads; pictures: how many of the first images to keep."""
    outcome, gallery = PredictionResult(package), FirstPictures(pictures)
    for result in _results(items, engine, jobs, gallery):
        outcome.take(result)
        gallery.add(result.pictures)
    outcome.pictures = gallery.pictures
    outcome.fill_factors()
    return outcome


def _results(
    items: Iterator[Item], engine: Engine, jobs: int, gallery: FirstPictures
) -> Iterator[ChunkResult]:
    """The chunks' results in their order; a single chunk needs no threads."""
    remaining = chunks(items)
    first, second = next(remaining, None), next(remaining, None)
    if first is None:
        return
    if second is None:
        yield engine.process(first, gallery)
        return
    both = chain((first, second), remaining)
    yield from ordered_map(lambda chunk: engine.process(chunk, gallery), both, jobs, ahead=2)
