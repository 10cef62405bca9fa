"""Units of work as streams of items, never extracted to disk.

A unit is what a run publishes and resumes by: one archive, or a block of loose files of one
folder. Items come in a fixed order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from pi10_classifier.errors import Code, InputError
from pi10_classifier.imaging.decode import looks_like_image
from pi10_classifier.instrument.names import Kind, kind_of
from pi10_classifier.sources.archives import Limits, members
from pi10_classifier.sources.input_rules import (
    skip_reason,
)

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

    ``group`` is the folder that blocks of loose files were cut from, empty for an
    archive; ``size`` is in bytes, for progress.
    """

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...

    def items(self) -> Iterator[Item]:
        """Stream the unit's items in their order; never raises InputError."""
        ...


def archive_items(source: str, stream: BinaryIO, size: int, limits: Limits) -> Iterator[Item]:
    """The items of one archive; a failure of the archive itself is its last item."""
    try:
        for member in members(stream, size, limits):
            if member.name and skip_reason(member.name):
                yield Item(source, member.name)
            else:
                yield Item(source, member.name, member.data, member.error)
    except InputError as error:
        yield Item(source, "", error=error)
    except OSError as error:
        yield Item(source, "", error=unreadable(error))


def unreadable(error: OSError) -> InputError:
    """Translate an OSError met while reading an input."""
    if isinstance(error, FileNotFoundError):
        return InputError(Code.OBJECT_GONE, "deleted before it was read")
    return InputError(
        Code.OBJECT_UNREADABLE,
        f"cannot be read: {error.strerror or error}; check permissions and disk, then --resume",
    )


@dataclass(frozen=True, slots=True)
class LocalArchive:
    """A tar or zip on a local disk."""

    path: Path
    size: int
    modified_ns: int
    limits: Limits
    group: str = ""

    @property
    def name(self) -> str:
        return printable(self.path.as_posix())

    @property
    def fingerprint(self) -> str:
        return f"{self.size}-{self.modified_ns}"

    def items(self) -> Iterator[Item]:
        return self.items_of(self.name)

    def items_of(self, source: str) -> Iterator[Item]:
        """The items, recorded under another name than the path's."""
        if self.size == 0:
            error = InputError(Code.EMPTY_OBJECT, "0 bytes; fetch the archive again")
            yield Item(source, "", error=error)
            return
        try:
            with self.path.open("rb", buffering=READ_BUFFER) as stream:
                yield from archive_items(source, stream, self.size, self.limits)
        except OSError as error:
            yield Item(source, "", error=unreadable(error))


@dataclass(frozen=True, slots=True)
class LooseFile:
    """A file that is not in an archive; its stat when it was found.

    skip: it is counted, but is no input by ``input_rules``.
    """

    path: Path
    member: str
    size: int
    modified_ns: int
    error: InputError | None = None
    skip: bool = False


@dataclass(frozen=True, slots=True)
class FileBlock:
    """Up to ``BLOCK_FILES`` loose files of one folder, in the order of their names."""

    source: str
    group: str
    number: int
    files: tuple[LooseFile, ...]
    limits: Limits

    @property
    def name(self) -> str:
        return f"{self.group}#{self.number:06d}"

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for file in self.files:
            said = "" if file.error is None else f"\0{file.error.code}"
            digest.update(f"{file.member}\0{file.size}\0{file.modified_ns}{said}\n".encode())
        return digest.hexdigest()[:32]

    def items(self) -> Iterator[Item]:
        return map(self.read, self.files)

    def read(self, file: LooseFile) -> Item:
        """One file as an item; whatever is wrong with it is the item's error."""
        member = file.member
        if file.skip:
            return Item(self.source, member)
        if file.error:
            return Item(self.source, member, error=file.error)
        if kind_of(member) is Kind.OTHER and not holds_image(file.path):
            return Item(self.source, member)
        if file.size > self.limits.member_bytes:
            cap = self.limits.member_bytes
            error = InputError(
                Code.TOO_LARGE, f"{file.size:,} bytes; the cap is {cap:,}; raise it if genuine"
            )
            return Item(self.source, member, error=error)
        try:
            with file.path.open("rb", buffering=0) as stream:
                data = stream.readall()  # goes on after a short read, unlike read(size)
        except OSError as problem:
            return Item(self.source, member, error=unreadable(problem))
        return Item(self.source, member, data)


def holds_image(path: Path) -> bool:
    """A file not named as an image may be one all the same; a video is not read whole."""
    try:
        with path.open("rb") as stream:
            return looks_like_image(stream.read(16))
    except OSError:
        return True  # reading it will say why


def is_run_folder(folder: Path) -> bool:
    """True where ``folder`` is what a run wrote: its ``--out``."""
    return (folder / "journal" / "settings.json").is_file() and (
        folder / "predictions.parquet"
    ).is_dir()
