"""Builds one part of the predictions dataset from the results of its chunks."""

from __future__ import annotations

from dataclasses import dataclass, field

from pi10_classifier.abundance.track import merge
from pi10_classifier.drift.reference import Reference
from pi10_classifier.drift.sums import add, columns_of, count_images
from pi10_classifier.inference.chunk_result import ChunkResult
from pi10_classifier.instrument.hits_misses import note_hits_misses
from pi10_classifier.results.gallery import Gallery
from pi10_classifier.results.part_writer import PartWriter
from pi10_classifier.results.raising_factor import factors_of
from pi10_classifier.results.run_folder import UnitRecord


@dataclass(slots=True)
class PartBuilder:
    """A part that collects the results of chunks until it is published.

    whole: the part holds all images of its bins, so its raising factors are known. reference:
    what drift is told by; None for none.
    """

    record: UnitRecord
    writer: PartWriter
    gallery: Gallery = field(default_factory=Gallery)
    whole: bool = False
    reference: Reference | None = None

    def take(self, result: ChunkResult) -> None:
        """Add one chunk's rows, failures and counts."""
        record = self.record
        self.writer.add(result.rows, result.features)
        self.gallery.add(result.pictures)
        record.inputs += result.inputs
        record.results += len(result.rows)
        record.skipped += result.skipped
        record.failures.extend(result.failures)
        for key, count in result.counts.items():
            record.counts[key] = record.counts.get(key, 0) + count
        if result.unlike_training is not None:
            record.unlike_training = record.unlike_training or {}
            for key, count in result.unlike_training.items():
                record.unlike_training[key] = record.unlike_training.get(key, 0) + count
        if result.groups is not None:
            record.groups = record.groups or {}
            for name, count in result.groups.items():
                record.groups[name] = record.groups.get(name, 0) + count
        if (reference := self.reference) is not None:
            columns = {
                name: [getattr(row, name) for row in result.rows] for name in columns_of(reference)
            }
            record.drift = record.drift or {}
            add(record.drift, count_images(reference, columns))
        for folder, bins in result.folders.items():
            record.folders.setdefault(folder, set()).update(bins)
        for folder, rows in result.hits_misses.items():
            member = result.sidecars[folder]
            note_hits_misses(record.hits_misses, record.sidecars, folder, member, rows)
        record.backgrounds.update(result.backgrounds)
        for place, fixes in result.fixes.items():
            record.fixes[place] = merge(record.fixes.get(place), fixes)

    def publish(self) -> None:
        """Publish the part in the dataset."""
        self.record.gallery = self.gallery.to_json()
        if self.whole:
            self.record.factors = factors_of(self.record, self.writer.classes)
        self.writer.publish(self.record)
