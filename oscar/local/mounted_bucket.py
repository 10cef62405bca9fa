"""Imitates a mounted bucket by copying its objects to a folder and back.

On a cluster the bucket is mounted over the network, which needs rights that a test should not
have. So before each job the objects are copied to a folder. While the job runs, and once more
when it has ended or was killed, new and changed files are copied back. This behaves like a
mount with a write-back cache, except that the whole bucket is on disk.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pi10_classifier.errors import Pi10Error
from pi10_classifier.oscar.bucket import Bucket

_EVERY_S = 0.3
_DOWNLOADS = ".pi10-mirror-"

# time of change and size of a file when it was last equal to its object
Seen = tuple[int, int]


class MountedBucket:
    """The folder of one bucket; all jobs of this machine share it."""

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self._bucket = bucket
        self._folder = root / bucket.place.bucket
        self.root = root
        self._known: dict[str, tuple[str, Seen]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Keep folder and bucket in step while a job runs."""
        self.pull()
        ended = threading.Event()

        def write_back() -> None:
            while not ended.wait(_EVERY_S):
                with suppress(OSError, Pi10Error):  # repeated at the end
                    self.push()

        thread = threading.Thread(target=write_back, name="mirror", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            # a mount would keep the half-written files of a killed process too
            self.push(everything=True)

    def pull(self) -> None:
        """Bring the folder up to date with the bucket."""
        with self._lock:
            keys = set()
            for key, etag in self._bucket.etags("").items():
                path = self._path(key)
                if path is None:
                    continue
                keys.add(key)
                if self._known.get(key, ("",))[0] == etag and path.exists():
                    continue
                with suppress(OSError, Pi10Error):  # deleted since it was listed
                    path.parent.mkdir(parents=True, exist_ok=True)
                    fresh = path.with_name(f"{_DOWNLOADS}{threading.get_ident()}")
                    self._bucket.download(key, fresh)
                    fresh.replace(path)
                    self._known[key] = (etag, _seen(path))
            for key in set(self._known) - keys:
                (self._folder / key).unlink(missing_ok=True)
                del self._known[key]

    def push(self, *, everything: bool = False) -> None:
        """Copy new and changed files to the bucket; half-written files only at the end."""
        with self._lock:
            for path in _files(self._folder):
                key = path.relative_to(self._folder).as_posix()
                if path.name.startswith(".") and path.name.endswith(".tmp") and not everything:
                    continue
                try:
                    seen = _seen(path)
                    if key in self._known and self._known[key][1] == seen:
                        continue
                    self._bucket.upload(path, key)
                except FileNotFoundError:  # renamed meanwhile
                    continue
                self._known[key] = (self._bucket.etags(key).get(key, ""), seen)
            for key in [key for key in self._known if not (self._folder / key).exists()]:
                self._bucket.delete(key)
                del self._known[key]

    def _path(self, key: str) -> Path | None:
        """The file of an object; None if its key is not a valid file name."""
        segments = key.split("/")
        if any(part in ("", ".", "..") or len(os.fsencode(part)) > 255 for part in segments):
            return None
        return self._folder / key


def _seen(path: Path) -> Seen:
    info = path.stat()
    return info.st_mtime_ns, info.st_size


def _files(folder: Path) -> Iterator[Path]:
    for above, _, names in os.walk(folder):
        for name in sorted(names):
            if not name.startswith(_DOWNLOADS):
                yield Path(above) / name
