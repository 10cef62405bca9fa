"""Moves finished parts from a worker's disk to the mount."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pi10_classifier.errors import output_error
from pi10_classifier.foundation.files import atomic_path
from pi10_classifier.results.run_folder import RunFolder


class Outbox(RunFolder):
    """A run's folder on the local disk; finished parts move to their places on the mount."""

    def __init__(
        self,
        path: Path,
        classes: Sequence[str],
        places: Mapping[str, tuple[Path, Path]],
        published: Callable[[], None],
    ) -> None:
        super().__init__(path, classes)
        self._places = places
        self._published = published

    def is_done(self, unit: str, fingerprint: str) -> bool:
        return False  # finished units are filtered out before

    def part_published(self, stem: str) -> None:
        part, entry = self._places[stem]
        for source, target in (
            (self.journal / f"{stem}.json", entry),
            (self.parts / f"{stem}.parquet", part),
        ):
            publish_copy(source, target)
            source.unlink()
        self._published()


def publish_copy(source: Path, target: Path) -> None:
    """Copy a file next to its target, sync it, then rename it. Raises OutputError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, target) from error
    with (
        atomic_path(target, shared=True) as temporary,
        source.open("rb") as reader,
        temporary.open("wb") as writer,
    ):
        shutil.copyfileobj(reader, writer, 2**20)
