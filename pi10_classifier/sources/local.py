"""Archives and image files on this machine's disks."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.imaging.decode import looks_like_image
from pi10_classifier.instrument.names import Kind, kind_of
from pi10_classifier.sources.archives import archive_items, is_archive, looks_like_archive
from pi10_classifier.sources.base import READ_BUFFER, Item, Limits, Unit, printable, unreadable
from pi10_classifier.sources.input_rules import (
    Notes,
    is_left_folder,
    is_read_elsewhere,
    same_name,
    skip_reason,
)


@dataclass(frozen=True, slots=True)
class LocalArchive:
    """A tar or zip on a local disk. source: its name in the tables, "" for its path."""

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


BLOCK_FILES = 2048


def discover_local(
    text: str, limits: Limits, loose: dict[Path, list[LooseFile]], walk: FolderWalk
) -> Iterator[Unit]:
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
    """Blocks of the files of one folder that were named one by one (``bin/*.tif``)."""
    files = sorted({file.path: file for file in files}.values(), key=lambda file: file.member)
    source = printable(parent.as_posix())
    # their own group: were the folder given later, it must not take these for its blocks
    for number, start in enumerate(range(0, len(files), BLOCK_FILES)):
        block = tuple(files[start : start + BLOCK_FILES])
        yield FileBlock(source, f"{source}/*", number, block, limits)


def is_archive_file(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return looks_like_archive(stream.read(512))
    except OSError:
        return False


@dataclass(slots=True)
class FolderWalk:
    """The folders of a run, each once however links and mounts lead to it.

    roots: the local inputs, resolved. seen: identities of the folders that were entered.
    links: folders behind links, with their roots: entered last, so that a folder goes by its
    own name where it has one among the inputs. files: identities of linked files.
    """

    limits: Limits
    notes: Notes
    files_once: bool
    roots: list[Path] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)
    links: deque[tuple[Path, Path]] = field(default_factory=deque)
    files: set[tuple[int, int]] = field(default_factory=set)

    def through_links(self) -> Iterator[Unit]:
        while self.links:
            yield from self.folder(*self.links.popleft())

    def folder(self, top: Path, root: Path) -> Iterator[Unit]:
        """The units of ``top`` and of what lies below it; members are named from ``root``."""
        # a stack, not a recursion: folders can lie deeper than Python calls
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                info = folder.stat()
                identity = (info.st_dev, info.st_ino)
                # as well a link back to a folder above, which would never end
                if info.st_ino and identity in self.seen:
                    self.notes.again(printable(folder.as_posix()))
                    continue
                self.seen.add(identity)
                with os.scandir(folder) as entries:
                    found = sorted((entry.name, entry.is_symlink()) for entry in entries)
                if is_run_folder(folder):
                    continue  # results that lie among the inputs are none of them
            except OSError as error:
                lost = LooseFile(folder, _relative(folder, root), 0, 0, unreadable(error))
                source, group = printable(root.as_posix()), printable(folder.as_posix())
                yield FileBlock(source, group, 0, (lost,), self.limits)
                continue
            folders: list[Path] = []
            yield from _cut(root, folder, self._files(root, folder, found, folders), self.limits)
            waiting.extend(reversed(folders))

    def _files(
        self, root: Path, folder: Path, found: list[tuple[str, bool]], folders: list[Path]
    ) -> Iterator[LooseFile | LocalArchive]:
        """The files of one folder; what is to be entered is put into ``folders``."""
        twins = _twins([name for name, _ in found])
        for name, is_link in found:
            path = folder / name
            member = _relative(path, root)
            try:
                info = path.stat()
            except OSError as error:
                skip = bool(skip_reason(name))
                yield LooseFile(path, member, 0, 0, unreadable(error), skip)
                continue
            if stat.S_ISDIR(info.st_mode):
                if is_left_folder(name):
                    self.notes.left(printable(path.as_posix()))
                elif is_link:
                    self.links.append((path, root))
                else:
                    folders.append(path)
            elif skip_reason(name):
                yield LooseFile(path, member, 0, 0, skip=True)
            elif not stat.S_ISREG(info.st_mode):
                error_ = InputError(Code.UNSUPPORTED_FORMAT, "no regular file; not opened")
                yield LooseFile(path, member, 0, 0, error_)
            elif self._is_again(path, info, is_link):
                self.notes.link(printable(path.as_posix()))
                yield LooseFile(path, member, 0, 0, skip=True)
            elif is_archive(name):
                yield LocalArchive(path, info.st_size, info.st_mtime_ns, self.limits)
            else:
                twin = _beside(folder, name, twins) if name in twins else None
                yield LooseFile(path, member, info.st_size, info.st_mtime_ns, twin)

    def _is_again(self, path: Path, info: os.stat_result, is_link: bool) -> bool:
        """True for a file that is an input by another name: by a link, soft or hard."""
        if not self.files_once or not (is_link or info.st_nlink > 1):
            return False
        # sidecars of bins may well be one file, where a store keeps equal content once
        if kind_of(path.name) is not Kind.IMAGE and not is_archive(path.name):
            return False
        if is_link and is_read_elsewhere(path, self.roots):
            return True
        identity = (info.st_dev, info.st_ino)
        if identity in self.files:
            return True
        self.files.add(identity)
        return False


def _twins(names: list[str]) -> dict[str, list[str]]:
    """Image names of one folder that are one file's, spelled otherwise -> all its spellings."""
    images = [name for name in names if kind_of(name) is Kind.IMAGE and not skip_reason(name)]
    keys = [same_name(name) for name in images]
    if len(set(keys)) == len(keys):
        return {}
    groups: dict[str, list[str]] = {}
    for key, name in zip(keys, images, strict=True):
        groups.setdefault(key, []).append(name)
    return {name: group for group in groups.values() if len(group) > 1 for name in group}


def _beside(folder: Path, name: str, twins: dict[str, list[str]]) -> InputError | None:
    """Why a file is left to its twin; None for the largest, of equal ones the last."""
    sizes = []
    for other in twins[name]:
        try:
            sizes.append(((folder / other).stat().st_size, other))
        except OSError:
            continue
    used = max(sizes, default=(0, name))[1]
    if used == name:
        return None
    what = f"the same file lies beside it as {printable(used)!r}; that one is used"
    return InputError(Code.REPEATED_NAME, what)


def _cut(
    root: Path, folder: Path, files: Iterator[LooseFile | LocalArchive], limits: Limits
) -> Iterator[Unit]:
    """One folder's archives, and its loose files in blocks."""
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
