"""A part of the predictions dataset while the results of its chunks come in."""

from __future__ import annotations

from dataclasses import dataclass, field

from pi10_classifier.engine import ChunkResult, Gallery
from pi10_classifier.results import PartWriter, UnitRecord


@dataclass(slots=True)
class OpenPart:
    """A part that takes up the results of chunks until it is published."""

    record: UnitRecord
    writer: PartWriter
    gallery: Gallery = field(default_factory=Gallery)

    def take(self, result: ChunkResult) -> None:
        """Add one chunk's rows, failures and counts."""
        record = self.record
        self.writer.add(result.rows)
        self.gallery.add(result.pictures)
        record.inputs += result.inputs
        record.results += len(result.rows)
        record.skipped += result.skipped
        record.failures.extend(result.failures)
        for key, count in result.counts.items():
            record.counts[key] = record.counts.get(key, 0) + count
        for folder, bins in result.folders.items():
            record.folders.setdefault(folder, set()).update(bins)
        record.hits_misses.update(result.hits_misses)

    def publish(self) -> None:
        """Make it a part of the dataset."""
        self.record.gallery = self.gallery.to_json()
        self.writer.publish(self.record)
