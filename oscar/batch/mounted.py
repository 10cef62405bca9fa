"""Reads units from a mounted bucket, with their names in the bucket."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.errors import Code, InputError
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.oscar.batch.plan import on_mount
from pi10_classifier.oscar.batch.units import BROKEN, MOUNT, PlannedUnit, digest, partition_of
from pi10_classifier.sources.archives import is_archive
from pi10_classifier.sources.base import Item, Limits, unreadable
from pi10_classifier.sources.input_rules import skip_reason
from pi10_classifier.sources.local import FileBlock, LocalArchive, LooseFile

# parallel, because each read from a mount goes over the network
_READERS = 8
_SEGMENT = 255


@dataclass(frozen=True, slots=True)
class MountedUnit:
    """A planned unit and the paths of its files."""

    planned: PlannedUnit
    source: str
    members: tuple[str, ...]
    files: tuple[Path | InputError, ...]
    limits: Limits

    @property
    def name(self) -> str:
        return self.planned.name

    @property
    def group(self) -> str:
        return self.planned.group

    @property
    def block(self) -> int | None:
        return int(self.name.rpartition("#")[2]) if self.group else None

    @property
    def size(self) -> int:
        return self.planned.size

    @property
    def fingerprint(self) -> str:
        return self.planned.fingerprint

    def items(self) -> Iterator[Item]:
        if self.planned.is_archive:
            return self._members(self.files[0])
        block = FileBlock(self.source, self.group, 0, (), self.limits)
        return ordered_map(lambda n: block.read(self._loose(n)), range(len(self.files)), _READERS)

    def _members(self, file: Path | InputError) -> Iterator[Item]:
        if isinstance(file, InputError):
            yield Item(self.name, "", error=file)
            return
        try:
            info = file.stat()
        except OSError as error:
            yield Item(self.name, "", error=unreadable(error))
            return
        if info.st_size != self.size >= 0:
            # the mount lags behind the bucket, or the object was overwritten
            message = f"{info.st_size:,} bytes on the mount, {self.size:,} when it was listed"
            changed = InputError(Code.STORAGE_UNAVAILABLE, f"{message}; run again with --resume")
            yield Item(self.name, "", error=changed)
            return
        yield from LocalArchive(
            file, info.st_size, info.st_mtime_ns, self.limits, self.name
        ).items()

    def _loose(self, number: int) -> LooseFile:
        file, member = self.files[number], self.members[number]
        if skip_reason(member):
            return LooseFile(Path(), member, 0, 0, skip=True)
        if isinstance(file, InputError):
            return LooseFile(Path(), member, 0, 0, file)
        try:
            info = file.stat()
        except OSError as error:
            return LooseFile(file, member, 0, 0, unreadable(error))
        if not stat.S_ISREG(info.st_mode):
            no_file = InputError(Code.UNSUPPORTED_FORMAT, "not a regular file; not opened")
            return LooseFile(file, member, 0, 0, no_file)
        return LooseFile(file, member, info.st_size, info.st_mtime_ns)


def mounted(
    planned: PlannedUnit, lines: bytes, source: str, limits: Limits, environ: Mapping[str, str]
) -> MountedUnit:
    """A unit of a plan; ``lines`` are its lines of the index, ``source`` the inputs' address.

    Raises InputError if the index has changed since the plan was made.
    """
    if digest(lines) != planned.sha256:
        raise InputError(
            Code.STORAGE_UNAVAILABLE,
            f"lines {planned.start} to {planned.end - 1} of the index do not belong to this batch: "
            "the mount is out of date, or another batch rewrote the index; continue with "
            "--resume --relist",
        )
    paths = paths_of(lines)
    above = f"{MOUNT}/{source.removeprefix('s3://')}"
    members = tuple(path.removeprefix(above) for path in paths)
    files = tuple(file_of(path, environ) for path in paths)
    return MountedUnit(planned, source, members, files, limits)


def paths_of(lines: bytes) -> list[str]:
    """The lines of an index as paths; ``splitlines`` would split at other characters too."""
    return [line for line in lines.decode("utf-8", "surrogateescape").split("\n") if line]


def file_of(path: str, environ: Mapping[str, str]) -> Path | InputError:
    """The local path of the file; no key can name a file outside the mount."""
    if BROKEN in path:
        message = "its key contains a line break, which an index cannot hold; rename it"
        return InputError(Code.UNSUPPORTED_FORMAT, message)
    segments = path.split("/")[1:]
    if any(part in ("", ".", "..") or len(os.fsencode(part)) > _SEGMENT for part in segments):
        message = "its key is not a valid file name; rename it, or classify it with s3:// addresses"
        return InputError(Code.UNSUPPORTED_FORMAT, message)
    return on_mount(path, environ)


def unplanned(
    lines: Sequence[str], start: int, folder: str, limits: Limits, environ: Mapping[str, str]
) -> Iterator[MountedUnit]:
    """The units of a range of an index without a plan, which lists files only.

    folder: the folder that relative lines refer to, as a path on the mount.
    """
    block: list[str] = []
    first = start
    for number, line in enumerate(lines, start):
        path = line if line.startswith("/") else f"{folder}/{line}"
        if block and (is_archive(path) or path.rpartition("/")[0] != block[0].rpartition("/")[0]):
            yield _unplanned(block, first, limits, environ)
            block = []
        if is_archive(path):
            yield _unplanned([path], number, limits, environ)
            continue
        first = first if block else number
        block.append(path)
    if block:
        yield _unplanned(block, first, limits, environ)


def _unplanned(
    paths: list[str], start: int, limits: Limits, environ: Mapping[str, str]
) -> MountedUnit:
    files = tuple(file_of(path, environ) for path in paths)
    stats = [_stat(file) for file in files]
    above = paths[0].rpartition("/")[0]
    archive = is_archive(paths[0])
    cruise, day = partition_of(paths[0], "batch")
    planned = PlannedUnit(
        name=paths[0] if archive else f"{above}/*#{start:06d}",
        group="" if archive else f"{above}/*",
        fingerprint=digest(repr(stats).encode()),
        cruise=cruise,
        day=day,
        start=start,
        end=start + len(paths),
        at=0,
        length=0,
        sha256="",
        size=sum(size for size, _ in stats) if all(stats) else -1,
    )
    members = tuple(path.rpartition("/")[2] for path in paths)
    return MountedUnit(planned, above, members, files, limits)


def _stat(file: Path | InputError) -> tuple[int, int]:
    try:
        info = file.stat() if isinstance(file, Path) else None
    except OSError:
        info = None
    return (info.st_size, info.st_mtime_ns) if info else (-1, 0)
