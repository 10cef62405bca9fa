"""The types that all sources share: units of work, their items, and the caps on archives.

A unit is the step in which a run publishes and resumes: one archive, or a block of loose files
of one folder. A unit's items always come in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pi10_classifier.errors import Code, InputError

READ_BUFFER = 2**20


def printable(name: str) -> str:
    r"""The path as valid UTF-8; an undecodable byte is written as an escape, such as ``\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class Item(NamedTuple):  # a tuple: millions are made
    """One input: its bytes, or the error why it has none, or neither.

    ``source`` and ``member`` are the names recorded in the tables. An item with neither bytes
    nor error is a folder entry or another file to skip.
    """

    source: str
    member: str
    data: bytes | None = None
    error: InputError | None = None


class Unit(Protocol):
    """Inputs that a run publishes together.

    ``fingerprint`` changes when the content may have changed. For a block of loose files,
    ``group`` is the folder and ``block`` the block's number in it; for an archive they are empty
    and None. ``size`` is in bytes, for progress.
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
        """Yield the unit's items in order; never raises InputError."""
        ...


def unreadable(error: OSError) -> InputError:
    """Translate an OSError from reading an input."""
    if isinstance(error, FileNotFoundError):
        return InputError(Code.OBJECT_GONE, "deleted before it was read")
    return InputError(
        Code.OBJECT_UNREADABLE,
        f"cannot be read: {error.strerror or error}; check permissions and disk, then --resume",
    )


MAX_NAME_CHARS = 4096  # the limit of file systems


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps that protect against hostile archives.

    members: their number. member_bytes: size of one member. ratio: decompressed bytes per
    compressed byte, checked beyond the first ``free_bytes``. name_bytes: size of a name record.
    """

    members: int = 2_000_000
    member_bytes: int = 128 * 2**20
    ratio: int = 200
    free_bytes: int = 256 * 2**20
    name_bytes: int = 65_536


LIMITS = Limits()


class Member(NamedTuple):
    """One entry of an archive: its bytes, or the error why it has none.

    A folder entry has neither bytes nor error.
    """

    name: str
    data: bytes | None = None
    error: InputError | None = None


def corrupt(problem: str) -> InputError:
    """The failure of an archive that cannot be read further."""
    return InputError(Code.ARCHIVE_CORRUPT, f"{problem}; fetch the archive again")


def too_large(size: int, limits: Limits) -> InputError:
    """The failure of a file or member with more bytes than the cap allows."""
    return InputError(
        Code.TOO_LARGE,
        f"{size:,} bytes; the cap is {limits.member_bytes:,}; raise it if the file is genuine",
    )
