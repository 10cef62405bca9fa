"""Inputs -> units of work -> one stream of items, never extracted to disk.

A unit is what a run publishes and resumes by: one archive, or a block of up to
``BLOCK_FILES`` loose files of one folder. Units and items come in a fixed order.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, Protocol

from pi10_classifier.archives import LIMITS, Limits, is_archive, looks_like_archive, members
from pi10_classifier.decode import looks_like_image
from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.instrument import Kind, kind_of

BLOCK_FILES = 2048
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


def discover(
    inputs: Sequence[str],
    limits: Limits = LIMITS,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Unit]:
    """Find the units of all inputs: files, folders, archives and ``s3://bucket/prefix``.

    Raises SettingError where an input does not exist or its storage is not set up.
    """
    seen: set[str] = set()
    loose: dict[Path, list[LooseFile]] = {}
    for text in inputs:
        if text.startswith("s3://"):
            # the S3 client takes longer to import than a small bin takes to classify
            from pi10_classifier.stored import discover_s3

            found = discover_s3(text, limits, environ)
        else:
            found = _discover_local(text, limits, loose)
        for unit in found:
            if unit.name not in seen:
                seen.add(unit.name)
                yield unit
    for parent in sorted(loose):
        yield from _named_files(parent, loose[parent], limits)


def check_inputs(inputs: Sequence[str]) -> None:
    """Refuse inputs that are mistyped, or that would be counted twice, before any work."""
    if not inputs:
        raise SettingError("no input given; name a file, folder, tar, zip or s3://bucket/prefix")
    for text in inputs:
        if "://" in text and not text.startswith("s3://"):
            raise SettingError(f"input {text!r}: only local paths and s3:// are read")
        if not text.strip():  # an unset variable of a script; Path would make it "."
            raise SettingError("an input is empty; name a file, folder, tar, zip or s3:// address")
        if not text.startswith("s3://") and not Path(text).exists():
            raise SettingError(f"input {text!r} does not exist; check the path")
    local: dict[Path, str] = {}
    for text in dict.fromkeys(inputs):
        if not text.startswith("s3://"):
            path = Path(text).resolve()
            if path in local:
                raise _inside(text, local[path])
            local[path] = text
    for path, text in local.items():
        for parent in path.parents:
            if parent in local:
                raise _inside(text, local[parent])
    last = ""
    for text in sorted({text for text in inputs if text.startswith("s3://")}):
        if last and text.startswith(last):
            raise _inside(text, last)
        last = text


def _inside(inner: str, outer: str) -> SettingError:
    return SettingError(
        f"input {inner!r} lies inside, or is, {outer!r}: "
        "its images would be counted twice; leave one out"
    )


def archive_items(source: str, stream: BinaryIO, size: int, limits: Limits) -> Iterator[Item]:
    """The items of one archive; a failure of the archive itself is its last item."""
    try:
        for member in members(stream, size, limits):
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
    """A file that is not in an archive; its stat when it was found."""

    path: Path
    member: str
    size: int
    modified_ns: int
    error: InputError | None = None


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
            digest.update(f"{file.member}\0{file.size}\0{file.modified_ns}\n".encode())
        return digest.hexdigest()[:32]

    def items(self) -> Iterator[Item]:
        return map(self.read, self.files)

    def read(self, file: LooseFile) -> Item:
        """One file as an item; whatever is wrong with it is the item's error."""
        member = file.member
        if file.error:
            return Item(self.source, member, error=file.error)
        if kind_of(member) is Kind.OTHER and not _holds_image(file.path):
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


def _discover_local(
    text: str, limits: Limits, loose: dict[Path, list[LooseFile]]
) -> Iterator[Unit]:
    path = Path(text)
    try:
        info = path.stat()
    except OSError as error:
        raise SettingError(f"input {text!r} cannot be read: {error.strerror}") from error
    if stat.S_ISDIR(info.st_mode):
        yield from _discover_folder(path, limits)
        return
    if not stat.S_ISREG(info.st_mode):
        raise SettingError(f"input {text!r} is neither a file nor a folder")
    if is_archive(path.name) or _sniff(path):
        yield LocalArchive(path, info.st_size, info.st_mtime_ns, limits)
        return
    file = LooseFile(path, printable(path.name), info.st_size, info.st_mtime_ns)
    loose.setdefault(path.parent, []).append(file)


def _named_files(parent: Path, files: list[LooseFile], limits: Limits) -> Iterator[Unit]:
    """Blocks of the files of one folder that were named one by one (``bin/*.tif``)."""
    files = sorted({file.path: file for file in files}.values(), key=lambda file: file.member)
    source = printable(parent.as_posix())
    # their own group: were the folder given later, it must not take these for its blocks
    for number, start in enumerate(range(0, len(files), BLOCK_FILES)):
        block = tuple(files[start : start + BLOCK_FILES])
        yield FileBlock(source, f"{source}/*", number, block, limits)


def _holds_image(path: Path) -> bool:
    """A file not named as an image may be one all the same; a video is not read whole."""
    try:
        with path.open("rb") as stream:
            return looks_like_image(stream.read(16))
    except OSError:
        return True  # reading it will say why


def _sniff(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return looks_like_archive(stream.read(512))
    except OSError:
        return False


def _discover_folder(root: Path, limits: Limits) -> Iterator[Unit]:
    # a stack, not a recursion: folders can lie deeper than Python calls
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(root, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        folders: list[Path] = []
        try:
            info = folder.stat()
            identity = (info.st_dev, info.st_ino)
            # a link back to a folder above would never end
            if identity in above and info.st_ino:
                continue
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
            if is_run_folder(folder):
                continue  # results that lie among the inputs are none of them
        except OSError as error:
            lost = LooseFile(folder, _relative(folder, root), 0, 0, unreadable(error))
            source, group = printable(root.as_posix()), printable(folder.as_posix())
            yield FileBlock(source, group, 0, (lost,), limits)
            continue
        yield from _folder_units(root, folder, names, folders, limits)
        within = above | {identity}
        waiting.extend((path, within) for path in reversed(folders))


def is_run_folder(folder: Path) -> bool:
    """True where ``folder`` is what a run wrote: its ``--out``."""
    return (folder / "journal" / "settings.json").is_file() and (
        folder / "predictions.parquet"
    ).is_dir()


def _folder_units(
    root: Path, folder: Path, names: list[str], folders: list[Path], limits: Limits
) -> Iterator[Unit]:
    """The units of one folder's own files; what lies below is put into ``folders``."""
    group, source = printable(folder.as_posix()), printable(root.as_posix())
    loose: list[LooseFile] = []
    number = 0
    for name in names:
        path = folder / name
        member = _relative(path, root)
        try:
            info = path.stat()
        except OSError as error:
            loose.append(LooseFile(path, member, 0, 0, unreadable(error)))
            continue
        if stat.S_ISDIR(info.st_mode):
            folders.append(path)
        elif not stat.S_ISREG(info.st_mode):
            error_ = InputError(Code.UNSUPPORTED_FORMAT, "no regular file; not opened")
            loose.append(LooseFile(path, member, 0, 0, error_))
        elif is_archive(name):
            yield LocalArchive(path, info.st_size, info.st_mtime_ns, limits)
        else:
            loose.append(LooseFile(path, member, info.st_size, info.st_mtime_ns))
        if len(loose) == BLOCK_FILES:
            yield FileBlock(source, group, number, tuple(loose), limits)
            loose, number = [], number + 1
    if loose:
        yield FileBlock(source, group, number, tuple(loose), limits)


def _relative(path: PurePath, root: PurePath) -> str:
    return printable(path.relative_to(root).as_posix())
