"""Inputs -> units of work: what is met below files, folders and buckets, each once.

Folders are walked in the order of their names. One that links or mounts reach again is
entered once, by its own name where it has one; ``input_rules`` says what is left out.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.instrument.names import Kind, kind_of
from pi10_classifier.sources.archives import LIMITS, Limits, is_archive, looks_like_archive
from pi10_classifier.sources.base import (
    FileBlock,
    LocalArchive,
    LooseFile,
    Unit,
    holds_image,
    is_run_folder,
    printable,
    unreadable,
)
from pi10_classifier.sources.input_rules import (
    Notes,
    is_left_folder,
    is_read_elsewhere,
    same_name,
    skip_reason,
)

BLOCK_FILES = 2048


def discover(
    inputs: Sequence[str],
    limits: Limits = LIMITS,
    environ: Mapping[str, str] = os.environ,
    notes: Notes | None = None,
    *,
    files_once: bool = True,
) -> Iterator[Unit]:
    """Find the units of all inputs: files, folders, archives and ``s3://bucket/prefix``.

    notes: told of what is left out. files_once: of files that links make one, only one is
    an input. Raises SettingError where an input does not exist or its storage is not set up.
    """
    notes = notes if notes is not None else Notes()
    yield from _each_once(_discovered(inputs, limits, environ, _Walk(limits, notes, files_once)))


def _each_once(units: Iterator[Unit]) -> Iterator[Unit]:
    seen: set[str] = set()
    for unit in units:
        if unit.name not in seen:
            seen.add(unit.name)
            yield unit


def _discovered(
    inputs: Sequence[str], limits: Limits, environ: Mapping[str, str], walk: _Walk
) -> Iterator[Unit]:
    loose: dict[Path, list[LooseFile]] = {}
    walk.roots = [Path(text).resolve() for text in inputs if not text.startswith("s3://")]
    for text in inputs:
        if text.startswith("s3://"):
            # the S3 client takes longer to import than a small bin takes to classify
            from pi10_classifier.sources.s3 import discover_s3

            yield from discover_s3(text, limits, environ, walk.notes)
        else:
            yield from _discover_local(text, limits, loose, walk)
    yield from walk.through_links()
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


def check_images(inputs: Sequence[str]) -> None:
    """Refuse inputs that are all single files of another kind, before an empty result."""
    others = []
    for text in inputs:
        path = Path(text)
        if text.startswith("s3://") or not path.is_file():
            return
        if kind_of(path.name) in (Kind.IMAGE, Kind.HITS_MISSES) or is_archive(path.name):
            return
        if holds_image(path) or _sniff(path):
            return
        others.append(text)
    if others:
        with Path(others[0]).open("rb") as stream:
            head = stream.read(16)
        hint = "; a table of labels is for pi10 dataset" if _is_table(others[0]) else ""
        raise SettingError(
            f"input {others[0]!r} is no image and no archive (it begins {head!r}); name TIFF, PNG "
            f"or JPEG files, a folder, a tar or zip, or s3://bucket/prefix{hint}"
        )


def _is_table(name: str) -> bool:
    return name.lower().endswith((".csv", ".parquet"))


def _inside(inner: str, outer: str) -> SettingError:
    return SettingError(
        f"input {inner!r} lies inside, or is, {outer!r}: "
        "its images would be counted twice; leave one out"
    )


def _discover_local(
    text: str, limits: Limits, loose: dict[Path, list[LooseFile]], walk: _Walk
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


def _sniff(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return looks_like_archive(stream.read(512))
    except OSError:
        return False


@dataclass(slots=True)
class _Walk:
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
