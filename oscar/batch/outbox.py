"""Parts on their way from a worker's own disk to their places on the mount."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pi10_classifier.errors import output_error
from pi10_classifier.results.run_folder import RunFolder


class Outbox(RunFolder):
    """A run's folder on a disk of ours, whose parts move to their places on the mount."""

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
        return False  # those that were are not among its units

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
    """Copy a file beside its place, whole and synced, then rename. Raises OutputError."""
    # no process id: two containers have the same
    temporary = target.with_name(f".{target.name[:150]}.{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as given, temporary.open("wb") as stream:
            shutil.copyfileobj(given, stream, 2**20)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise output_error(error, target) from error
