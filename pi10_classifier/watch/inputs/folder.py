"""Watches a folder through file system events and scans of its tree."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.sources.base import Limits, Unit, printable, unreadable
from pi10_classifier.sources.input_rules import is_read_elsewhere, is_skipped_folder, skip_reason
from pi10_classifier.sources.local import (
    RUN_ENTRIES,
    FileBlock,
    LocalArchive,
    LooseFile,
    is_result,
    is_run_folder,
)
from pi10_classifier.watch.inputs.base import CLOSED, InputVersion, digest

EVENTS_EVERY_MS = 200
_HEARD_AFTER_MS = 100  # the first scan waits for it
_END_BYTES = 65_536
_LARGEST_INODE = 2**63  # that SQLite stores; file systems of Windows may have larger ones


class FolderPlace:
    """A folder tree. Links to files are followed, links to folders are not; results are skipped."""

    settles = True

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._root = folder
        self._limits = limits
        self.source = printable(folder.as_posix())

    def check(self) -> None:
        if not self._root.is_dir():
            raise SettingError(
                f"{str(self._root)!r} is not a folder; name a folder to watch, or s3://bucket/prefix"
            )

    def scan(self) -> Iterator[InputVersion]:
        return self._scan_below(self._root)

    def _scan_below(self, top: Path) -> Iterator[InputVersion]:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            folders = []
            try:
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
                if is_run_folder(folder):
                    listed = [entry for entry in listed if entry.name not in RUN_ENTRIES]
            except OSError as error:
                if folder == self._root:
                    raise
                # a folder that cannot be read must not hide the others
                if unreadable_folder := self._unreadable(folder, error):
                    yield unreadable_folder
                continue
            inside = self._member(folder, "")
            for entry in listed:
                name = entry.name
                member = inside + (name if name.isascii() else printable(name))
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if not is_skipped_folder(name):
                            folders.append(Path(entry.path))
                        continue
                    if entry.is_symlink() and self._is_read_elsewhere(Path(entry.path)):
                        continue
                    candidate = self._candidate(entry.path, member, entry.stat())
                except OSError as error:
                    candidate = self._unreadable(Path(entry.path), error)
                if candidate:
                    yield candidate
            waiting.extend(reversed(folders))

    def _is_read_elsewhere(self, path: Path) -> bool:
        """True for a link to a file that is itself in the watched folder."""
        return path.is_symlink() and is_read_elsewhere(path, (self._root.resolve(),))

    def _member(self, folder: Path, name: str) -> str:
        """The name below the watched folder of a file in one of its folders."""
        inside = printable(folder.relative_to(self._root).as_posix())
        return name if inside == "." else f"{inside}/{name}"

    @staticmethod
    def _candidate(path: str | Path, member: str, info: os.stat_result) -> InputVersion | None:
        if not stat.S_ISREG(info.st_mode) or skip_reason(member):
            return None
        size, modified_ns = info.st_size, info.st_mtime_ns
        file = LooseFile(path, member, size, modified_ns)
        inode = info.st_ino if 0 < info.st_ino < _LARGEST_INODE else None
        return InputVersion(member, f"{size}-{modified_ns}", file, None, inode)

    def _unreadable(self, path: Path, error: OSError) -> InputVersion | None:
        """A file or folder that cannot be read, as a failing input; None where it is gone."""
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return None  # removed meanwhile, or a broken link
        member = self._member(path.parent, printable(path.name))
        if skip_reason(member):
            return None
        file = LooseFile(path, member, 0, 0, unreadable(error))
        return InputVersion(member, f"{CLOSED}{error.errno}", file)

    def listen(
        self,
        emit: Callable[[Iterable[InputVersion]], None],
        up: Callable[[], None],
        stop: threading.Event,
    ) -> None:
        try:
            import watchfiles
        except ImportError as error:
            raise InputError(
                Code.OBJECT_UNREADABLE,
                f"no file events, only scans; for events: {install_command('watch')}",
            ) from error
        root = self._root.resolve()
        first = True
        for changes in watchfiles.watch(
            root,
            watch_filter=None,
            step=50,
            debounce=EVENTS_EVERY_MS,
            rust_timeout=_HEARD_AFTER_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            stop_event=stop,
        ):
            if first:
                up()
                first = False
            gone = watchfiles.Change.deleted
            changed = {path for change, path in changes if change is not gone}
            if changed:
                emit(self._from_events(root, sorted(changed)))
                deleted = (Path(path) for change, path in changes if change is gone)
                if any(not skip_reason(path.relative_to(root).as_posix()) for path in deleted):
                    up()  # may be a rename: a scan finds the old name gone

    def _from_events(self, root: Path, paths: Sequence[str]) -> Iterator[InputVersion]:
        outside = len(os.fspath(root / "x")) - 1
        for text in paths:
            name = text[outside:]
            member = name.replace(os.sep, "/")
            path = self._root / name
            try:
                info = path.lstat()
                if stat.S_ISLNK(info.st_mode):
                    info = path.stat()
                    if stat.S_ISDIR(info.st_mode) or self._is_read_elsewhere(path):
                        continue
                # few names can be a result's, and only those are worth a look at the disk
                if not RUN_ENTRIES.isdisjoint(member.split("/")) and is_result(path, self._root):
                    continue
            except (OSError, ValueError):
                continue  # gone, or unreadable, which the next scan records
            if stat.S_ISDIR(info.st_mode):
                # a folder that is moved in gives one event, and none for its files
                if not is_skipped_folder(path.name):
                    yield from self._scan_below(path)
            elif candidate := self._candidate(path, printable(member), info):
                yield candidate

    def look(self, candidate: InputVersion) -> InputVersion | None:
        file = self._file(candidate)
        path = file.path
        try:
            if file.error and Path(path).is_dir():
                os.scandir(path).close()
                is_run_folder(Path(path))  # fails, as in a scan, where the path is too long
                return None  # readable again: the next scan finds its files
            info = os.stat(path)  # noqa: PTH116  to make a Path of it would take longer
            now = self._candidate(path, candidate.name, info)
            # most have not changed: the same object again saves the memory of another
            return candidate if now and now.version == candidate.version else now
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if file.error:
                return self._unreadable(Path(path), error)
            raise unreadable(error) from error

    def block(self, candidates: Sequence[InputVersion]) -> Unit:
        files = tuple(self._file(candidate) for candidate in candidates)
        return FileBlock(self.source, "", 0, files, self._limits)

    def archive(self, candidate: InputVersion) -> Unit:
        file = self._file(candidate)
        size = 1 if file.error else file.size  # a size of 0 would be recorded as an empty archive
        return LocalArchive(Path(file.path), size, file.modified_ns, self._limits)

    def content(self, candidate: InputVersion, data: bytes | None) -> int | None:
        if data:
            return digest(data)
        file = self._file(candidate)
        if file.error:
            return None
        if not file.size:
            return digest(candidate.version.encode())  # empty files differ only in their time
        try:  # an archive or a file that was not read completely: hash its start and end
            with Path(file.path).open("rb", buffering=0) as stream:
                first = stream.read(_END_BYTES)
                stream.seek(max(0, file.size - _END_BYTES))
                last = stream.read(_END_BYTES)
        except OSError:
            return None
        return digest(b"%d\0%b%b" % (file.size, first, last))

    @staticmethod
    def _file(candidate: InputVersion) -> LooseFile:
        if not isinstance(candidate.handle, LooseFile):
            raise TypeError(f"{candidate.name} is not a file of a folder")
        return candidate.handle
