"""The protocol between the watcher and a watched bucket or folder."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pi10_classifier.sources.archives import is_archive
from pi10_classifier.sources.base import Unit
from pi10_classifier.sources.local import LooseFile

if TYPE_CHECKING:
    from pi10_classifier.sources.s3 import S3Object


CLOSED = "closed-"  # begins the version of what cannot be looked at


@dataclass(frozen=True, slots=True)
class InputVersion:
    """An input as it was seen; ``version`` changes with its content.

    content: a number that bytes of their own have, known once it was read.
    """

    name: str
    version: str
    handle: LooseFile | S3Object
    content: int | None = None

    @property
    def is_archive(self) -> bool:
        return is_archive(self.name)


class WatchedInput(Protocol):
    """A source of inputs. Events are hints; ``scan`` has the last word."""

    source: str
    settles: bool  # whether an input may still be growing when it is seen

    def check(self) -> None:
        """Raises SettingError where no request can ever succeed."""
        ...

    def scan(self) -> Iterator[InputVersion]:
        """All inputs that are there. Raises InputError or OSError where it cannot look."""
        ...

    def listen(
        self,
        emit: Callable[[Iterable[InputVersion]], None],
        up: Callable[[], None],
        stop: threading.Event,
    ) -> None:
        """Tell of inputs as they appear until ``stop``; ``up`` is called once it listens.

        Raises InputError or OSError where the connection ends.
        """
        ...

    def look(self, found: InputVersion) -> InputVersion | None:
        """The input as it is now; None where it is gone. Raises InputError."""
        ...

    def block(self, found: Sequence[InputVersion]) -> Unit:
        """Images and sidecars as a unit whose items come in their order."""
        ...

    def archive(self, found: InputVersion) -> Unit: ...

    def content(self, found: InputVersion, data: bytes | None) -> int | None:
        """The same number for the same bytes, wherever they lie; None where it is not known.

        data: what was read of it, where it was read whole.
        """
        ...


def digest(data: bytes) -> int:
    """Of the bytes, as SQLite's integers are: 64 bits with a sign."""
    made = hashlib.blake2b(data, digest_size=8, usedforsecurity=False).digest()
    return int.from_bytes(made, "big", signed=True)
