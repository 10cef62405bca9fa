"""The protocol between the watcher and a watched bucket or folder."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pi10_classifier.sources.archives import is_archive
from pi10_classifier.sources.base import Unit
from pi10_classifier.sources.local import LooseFile

if TYPE_CHECKING:
    from pi10_classifier.sources.s3 import S3Object


CLOSED = "closed-"  # prefix of the version of a file or folder that cannot be read


class InputVersion(NamedTuple):  # a tuple: tens of thousands wait
    """An input as it was seen.

    name: its path below the source. version: changes with its content. handle: the file or object.
    content: a hash of its bytes, known once it was read. inode: the file's number on its disk.
    """

    name: str
    version: str
    handle: LooseFile | S3Object
    content: int | None = None
    inode: int | None = None

    @property
    def is_archive(self) -> bool:
        return is_archive(self.name)


class WatchedInput(Protocol):
    """A source of inputs. Events may be missed; ``scan`` finds every input.

    settles: whether an input may still be growing when it is first seen.
    """

    source: str
    settles: bool

    def check(self) -> None:
        """Raises SettingError where no request can ever succeed."""
        ...

    def scan(self) -> Iterator[InputVersion]:
        """All inputs that exist. Raises InputError or OSError where the source cannot be read."""
        ...

    def listen(
        self,
        emit: Callable[[Iterable[InputVersion]], None],
        up: Callable[[], None],
        stop: threading.Event,
    ) -> None:
        """Pass inputs to ``emit`` as they appear, until ``stop`` is set.

        up: called once events arrive, and where a scan is needed. Raises InputError or OSError
        where the connection ends; object_unreadable where the source has no events.
        """
        ...

    def look(self, candidate: InputVersion) -> InputVersion | None:
        """The input as it is now; None where it is gone. Raises InputError."""
        ...

    def block(self, candidates: Sequence[InputVersion]) -> Unit:
        """A unit of images and sidecars, in the order of ``candidates``."""
        ...

    def archive(self, candidate: InputVersion) -> Unit:
        """A unit of one archive."""
        ...

    def content(self, candidate: InputVersion, data: bytes | None) -> int | None:
        """A hash that is equal for equal bytes under any name; None where it is not known.

        Where versions hold no time, a sidecar's is equal under its own name alone.

        data: the input's bytes, where all were read.
        """
        ...


def digest(data: bytes) -> int:
    """A hash of the bytes as a signed 64-bit number, which is what SQLite stores."""
    hashed = hashlib.blake2b(data, digest_size=8, usedforsecurity=False).digest()
    return int.from_bytes(hashed, "big", signed=True)
