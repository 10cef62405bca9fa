"""Units of work as streams of items, never extracted to disk.

A unit is what a run publishes and resumes by: one archive, or a block of loose files of one
folder. Items come in a fixed order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pi10_classifier.errors import Code, InputError

READ_BUFFER = 2**20


def printable(name: str) -> str:
    r"""A path that can be written as UTF-8; an undecodable byte becomes ``\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Item:
    """One input to account for: its bytes, the reason there are none, or neither.

    ``source`` and ``member`` are the names recorded in the tables. An item with
    neither bytes nor error is a folder entry, counted as skipped.
    """

    source: str
    member: str
    data: bytes | None = None
    error: InputError | None = None


class Unit(Protocol):
    """What a run publishes at once. ``fingerprint`` changes when the content may have.

    ``group`` is the folder that blocks of loose files were cut from, empty for an archive,
    and ``block`` the block's number there; ``size`` is in bytes, for progress.
    """

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def block(self) -> int | None: ...
    @property
    def size(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...

    def items(self) -> Iterator[Item]:
        """Stream the unit's items in their order; never raises InputError."""
        ...


def unreadable(error: OSError) -> InputError:
    """Translate an OSError met while reading an input."""
    if isinstance(error, FileNotFoundError):
        return InputError(Code.OBJECT_GONE, "deleted before it was read")
    return InputError(
        Code.OBJECT_UNREADABLE,
        f"cannot be read: {error.strerror or error}; check permissions and disk, then --resume",
    )


MAX_NAME_CHARS = 4096  # as file systems have it


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on an archive, against hostile ones.

    members: count. member_bytes: of one member. ratio: bytes out per byte in, of
    compressed archives, beyond the first ``free_bytes`` out.
    """

    members: int = 2_000_000
    member_bytes: int = 128 * 2**20
    ratio: int = 200
    free_bytes: int = 256 * 2**20
    name_bytes: int = 65_536


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive: its bytes, or why it has none.

    A folder entry has neither bytes nor error.
    """

    name: str
    data: bytes | None = None
    error: InputError | None = None


def corrupt(what: str) -> InputError:
    return InputError(Code.ARCHIVE_CORRUPT, f"{what}; fetch the archive again")


def too_large(size: int, limits: Limits) -> InputError:
    return InputError(
        Code.TOO_LARGE, f"{size:,} bytes; the cap is {limits.member_bytes:,}; raise it if genuine"
    )
