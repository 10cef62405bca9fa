"""Finds archives and image files on local disks."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.imaging.decode import looks_like_image
from pi10_classifier.instrument.names import Kind, kind_of
from pi10_classifier.sources.archives import archive_items, is_archive, looks_like_archive
from pi10_classifier.sources.base import (
    READ_BUFFER,
    Item,
    Limits,
    Unit,
    printable,
    too_large,
    unreadable,
)
from pi10_classifier.sources.input_rules import (
    SkippedPaths,
    is_read_elsewhere,
    is_skipped_folder,
    normalised_name,
    skip_reason,
)

_TO_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # the latter on Windows alone


@dataclass(frozen=True, slots=True)
class LocalArchive:
    """A tar or zip on a local disk. source: its name in the tables; "" for its path."""

    path: Path
    size: int
    modified_ns: int
    limits: Limits
    source: str = ""
    group: str = ""
    block: int | None = None

    @property
    def name(self) -> str:
        return self.source or printable(self.path.as_posix())

    @property
    def fingerprint(self) -> str:
        return f"{self.size}-{self.modified_ns}"

    def items(self) -> Iterator[Item]:
        if self.size == 0:
            error = InputError(Code.EMPTY_OBJECT, "0 bytes; fetch the archive again")
            yield Item(self.name, "", error=error)
            return
        try:
            with self.path.open("rb", buffering=READ_BUFFER) as stream:
                yield from archive_items(self.name, stream, self.size, self.limits)
        except OSError as error:
            yield Item(self.name, "", error=unreadable(error))


class LooseFile(NamedTuple):  # a tuple: hundreds of thousands are made
    """A file outside any archive, with its size and time when it was found.

    skip: the file is counted, but ``input_rules`` skips it.
    """

    path: Path | str
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
    block: int
    files: tuple[LooseFile, ...]
    limits: Limits

    @property
    def name(self) -> str:
        return f"{self.group}#{self.block:06d}"

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for file in self.files:
            code = "" if file.error is None else f"\0{file.error.code}"
            digest.update(f"{file.member}\0{file.size}\0{file.modified_ns}{code}\n".encode())
        return digest.hexdigest()[:32]

    def items(self) -> Iterator[Item]:
        return map(self.read, self.files)

    def read(self, file: LooseFile) -> Item:
        """One file as an item; any problem with it is the item's error."""
        member = file.member
        if file.skip:
            return Item(self.source, member)
        if file.error:
            return Item(self.source, member, error=file.error)
        if kind_of(member) is Kind.OTHER and not holds_image(file.path):
            return Item(self.source, member)
        if file.size > self.limits.member_bytes:
            return Item(self.source, member, error=too_large(file.size, self.limits))
        try:
            data = read_whole(file.path, file.size)
        except OSError as problem:
            return Item(self.source, member, error=unreadable(problem))
        return Item(self.source, member, data)


def read_whole(path: Path | str, size: int) -> bytes:
    """All bytes of a file that had ``size`` when it was found. Raises OSError."""
    # a file object would take twice as many system calls: for its size, its position, its end
    handle = os.open(path, _TO_READ)
    try:
        data = os.read(handle, size + 1)
        if len(data) == size:
            return data
        pieces = [data]  # it has changed, or the read was cut short
        while data := os.read(handle, READ_BUFFER):
            pieces.append(data)
        return b"".join(pieces)
    finally:
        os.close(handle)


def holds_image(path: Path | str) -> bool:
    """True where a file's first bytes are those of an image, or cannot be read."""
    try:
        with Path(path).open("rb") as stream:
            return looks_like_image(stream.read(16))
    except OSError:
        return True  # reading the file will give the error


def is_run_folder(folder: Path) -> bool:
    """True where ``folder`` is the output folder of a run."""
    return (folder / "journal" / "settings.json").is_file() and (
        folder / "predictions.parquet"
    ).is_dir()


# what a run writes into its --out; other files in that folder are inputs like any others
RUN_ENTRIES = frozenset(
    {
        "predictions.parquet", "journal", "validation", "counts.csv", "bins.csv", "failures.csv",
        "run.json", "report.html",
    }
)  # fmt: skip


def is_result(path: Path, root: Path) -> bool:
    """True where a run wrote ``path`` or a folder above it, up to but without ``root``."""
    for entry in (path, *path.parents):
        if entry == root:
            return False
        if entry.name in RUN_ENTRIES and is_run_folder(entry.parent):
            return True
    return False


BLOCK_FILES = 2048


def discover_local(
    text: str, limits: Limits, loose: dict[Path, list[LooseFile]], walk: FolderWalk
) -> Iterator[Unit]:
    """The units of one local input. A file outside any archive is added to ``loose`` instead.

    Raises SettingError where the input cannot be read or is neither a file nor a folder.
    """
    path = Path(text)
    try:
        info = path.stat()
    except OSError as error:
        raise SettingError(f"input {text!r} cannot be read: {error.strerror}") from error
    if stat.S_ISDIR(info.st_mode):
        yield from walk.folder(path, path)
        return
    if not stat.S_ISREG(info.st_mode):
        raise SettingError(f"input {text!r} is neither a file nor a folder")
    if is_archive(path.name) or is_archive_file(path):
        yield LocalArchive(path, info.st_size, info.st_mtime_ns, limits)
        return
    file = LooseFile(path, printable(path.name), info.st_size, info.st_mtime_ns)
    loose.setdefault(path.parent, []).append(file)


def named_files(parent: Path, files: list[LooseFile], limits: Limits) -> Iterator[Unit]:
    """Blocks of files of one folder that the user named one by one (``bin/*.tif``)."""
    files = sorted({file.path: file for file in files}.values(), key=lambda file: file.member)
    source = printable(parent.as_posix())
    # a group of its own: if the folder is given later, these must not count as its blocks
    for number, start in enumerate(range(0, len(files), BLOCK_FILES)):
        block = tuple(files[start : start + BLOCK_FILES])
        yield FileBlock(source, f"{source}/*", number, block, limits)


def is_archive_file(path: Path) -> bool:
    """True where a file's first bytes are those of an archive; False where it is unreadable."""
    try:
        with path.open("rb") as stream:
            return looks_like_archive(stream.read(512))
    except OSError:
        return False


@dataclass(slots=True)
class FolderWalk:
    """Walks the folders of a run, each once even where several links and mounts lead to it.

    roots: the local inputs, resolved. seen: identities of the folders that were entered.
    links: folders behind links, with their roots. They are entered last, so that a folder that
    also lies in the inputs keeps its own path. files: identities of linked files.
    """

    limits: Limits
    skipped: SkippedPaths
    files_once: bool
    roots: list[Path] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)
    links: deque[tuple[Path, Path]] = field(default_factory=deque)
    files: set[tuple[int, int]] = field(default_factory=set)

    def linked_folders(self) -> Iterator[Unit]:
        """The units in the folders behind links; call it after all inputs were walked."""
        while self.links:
            yield from self.folder(*self.links.popleft())

    def folder(self, top: Path, root: Path) -> Iterator[Unit]:
        """The units in ``top`` and below it; members are named relative to ``root``."""
        # a stack: folders can be nested deeper than Python's recursion limit
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                info = folder.stat()
                identity = (info.st_dev, info.st_ino)
                # this also catches a link to a parent folder, which would never end
                if info.st_ino and identity in self.seen:
                    self.skipped.add_repeated_folder(printable(folder.as_posix()))
                    continue
                self.seen.add(identity)
                with os.scandir(folder) as entries:
                    names = sorted((entry.name, entry.is_symlink()) for entry in entries)
                if is_run_folder(folder):  # results of a run are not inputs
                    self.skipped.add_results(printable(folder.as_posix()))
                    names = [entry for entry in names if entry[0] not in RUN_ENTRIES]
            except OSError as error:
                failed = LooseFile(folder, _relative(folder, root), 0, 0, unreadable(error))
                source, group = printable(root.as_posix()), printable(folder.as_posix())
                yield FileBlock(source, group, 0, (failed,), self.limits)
                continue
            folders: list[Path] = []
            files = self._files(root, folder, names, folders)
            yield from _units_of(root, folder, files, self.limits)
            waiting.extend(reversed(folders))

    def _files(
        self, root: Path, folder: Path, names: list[tuple[str, bool]], folders: list[Path]
    ) -> Iterator[LooseFile | LocalArchive]:
        """The files of one folder; the subfolders to enter are added to ``folders``.

        names: each entry's name, and whether it is a link.
        """
        spellings = _spellings([name for name, _ in names])
        for name, is_link in names:
            path = folder / name
            member = _relative(path, root)
            try:
                info = path.stat()
            except OSError as error:
                skip = bool(skip_reason(name))
                yield LooseFile(path, member, 0, 0, unreadable(error), skip)
                continue
            if stat.S_ISDIR(info.st_mode):
                if is_skipped_folder(name):
                    self.skipped.add_folder(printable(path.as_posix()))
                elif is_link:
                    self.links.append((path, root))
                else:
                    folders.append(path)
            elif skip_reason(name):
                yield LooseFile(path, member, 0, 0, skip=True)
            elif not stat.S_ISREG(info.st_mode):
                error_ = InputError(Code.UNSUPPORTED_FORMAT, "not a regular file; not opened")
                yield LooseFile(path, member, 0, 0, error_)
            elif self._is_repeated(path, info, is_link):
                self.skipped.add_repeated_file(printable(path.as_posix()))
                yield LooseFile(path, member, 0, 0, skip=True)
            elif is_archive(name):
                yield LocalArchive(path, info.st_size, info.st_mtime_ns, self.limits)
            else:
                repeat = _repeat_error(folder, name, spellings) if name in spellings else None
                yield LooseFile(path, member, info.st_size, info.st_mtime_ns, repeat)

    def _is_repeated(self, path: Path, info: os.stat_result, is_link: bool) -> bool:
        """True for a file that is an input under another name, by a symbolic or hard link."""
        if not self.files_once or not (is_link or info.st_nlink > 1):
            return False
        # sidecars of several bins may be one file, where storage deduplicates equal content
        if kind_of(path.name) is not Kind.IMAGE and not is_archive(path.name):
            return False
        if is_link and is_read_elsewhere(path, self.roots):
            return True
        identity = (info.st_dev, info.st_ino)
        if identity in self.files:
            return True
        self.files.add(identity)
        return False


def _spellings(names: list[str]) -> dict[str, list[str]]:
    """Each image name that is a spelling of the same file as another -> all its spellings."""
    images = [name for name in names if kind_of(name) is Kind.IMAGE and not skip_reason(name)]
    keys = [normalised_name(name) for name in images]
    if len(set(keys)) == len(keys):
        return {}
    groups: dict[str, list[str]] = {}
    for key, name in zip(keys, images, strict=True):
        groups.setdefault(key, []).append(name)
    return {name: group for group in groups.values() if len(group) > 1 for name in group}


def _repeat_error(folder: Path, name: str, spellings: dict[str, list[str]]) -> InputError | None:
    """The error of a file that lies in the folder under another spelling too.

    None for the copy that is used: the largest, and the last one where sizes are equal.
    """
    sizes = []
    for other in spellings[name]:
        try:
            sizes.append(((folder / other).stat().st_size, other))
        except OSError:
            continue
    used = max(sizes, default=(0, name))[1]
    if used == name:
        return None
    message = f"the folder also holds this file as {printable(used)!r}, which is used instead"
    return InputError(Code.REPEATED_NAME, message)


def _units_of(
    root: Path, folder: Path, files: Iterator[LooseFile | LocalArchive], limits: Limits
) -> Iterator[Unit]:
    """The archives of one folder, and its loose files in blocks."""
    group, source = printable(folder.as_posix()), printable(root.as_posix())
    loose: list[LooseFile] = []
    number = 0
    for file in files:
        if isinstance(file, LocalArchive):
            yield file
            continue
        loose.append(file)
        if len(loose) == BLOCK_FILES:
            yield FileBlock(source, group, number, tuple(loose), limits)
            loose, number = [], number + 1
    if loose:
        yield FileBlock(source, group, number, tuple(loose), limits)


def _relative(path: PurePath, root: PurePath) -> str:
    return printable(path.relative_to(root).as_posix())
