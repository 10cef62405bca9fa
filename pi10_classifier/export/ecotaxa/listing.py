"""What of a run is not in its bundles, or not as it was: a table beside them."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import TextIO

from pi10_classifier.errors import output_error
from pi10_classifier.export.ecotaxa.pictures import CHANGED, GONE, UNREADABLE

COLUMNS = ("outcome", "particle_id", "source", "member", "reason")
REPEATED = "repeated"
SHORTENED, EMPTIED, REPLACED = "shortened", "emptied", "replaced"
# why a particle is not in the bundles
LEFT_OUT = {
    GONE: "the image is not there any more",
    CHANGED: "another image lies in its place",
    UNREADABLE: "the image cannot be read",
    REPEATED: "the run has its id more than once",
}
# what is there, but not whole
ALTERED = {
    SHORTENED: "a text was shortened to what EcoTaxa holds",
    EMPTIED: "a number that is none was left empty",
    REPLACED: "an id that EcoTaxa cannot hold was replaced by the picture's name",
}


class Listing:
    """Writes the table as the work goes on, at a temporary path until ``publish``."""

    def __init__(self, path: Path, temporary: Path) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.first = ""
        self._temporary = temporary
        self._stream: TextIO = temporary.open(
            "w", encoding="utf-8", newline="", errors="backslashreplace"
        )
        self._writer = csv.writer(self._stream, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._temporary.unlink(missing_ok=True)

    def add(self, outcome: str, particle_id: str, source: str, member: str, reason: str) -> None:
        """outcome: one of LEFT_OUT or ALTERED."""
        self.counts[outcome] += 1
        if outcome in LEFT_OUT:
            self.first = self.first or f"{particle_id}: {reason}"
        self._writer.writerow((outcome, particle_id, source, member, reason))

    def publish(self) -> None:
        """Raises OutputError."""
        try:
            self._stream.close()
            self._temporary.replace(self.path)
        except OSError as error:
            raise output_error(error, self.path) from error
