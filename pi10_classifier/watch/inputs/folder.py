"""Watches a folder through file system events and scans of its tree."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pi10_classifier.errors import Code, InputError, SettingError
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
_END_BYTES = 65_536


class FolderPlace:
    """A folder tree. Links are followed to files, never to folders; results are left out."""

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
        return self._below(self._root)

    def _below(self, top: Path) -> Iterator[InputVersion]:
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
                # one closed folder must not hide all the others
                if lost := self._closed(folder, error):
                    yield lost
                continue
            for entry in listed:
                path = Path(entry.path)
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if not is_skipped_folder(entry.name):
                            folders.append(path)
                        continue
                    if entry.is_symlink() and self._is_again(path):
                        continue
                    found = self._found(path, entry.stat())
                except OSError as error:
                    found = self._closed(path, error)
                if found:
                    yield found
            waiting.extend(reversed(folders))

    def _is_again(self, path: Path) -> bool:
        """True for a link to a file that is met at its own place."""
        return path.is_symlink() and is_read_elsewhere(path, (self._root.resolve(),))

    def _found(self, path: Path, info: os.stat_result) -> InputVersion | None:
        member = printable(path.relative_to(self._root).as_posix())
        if not stat.S_ISREG(info.st_mode) or skip_reason(member):
            return None
        version = f"{info.st_size}-{info.st_mtime_ns}"
        return InputVersion(
            member, version, LooseFile(path, member, info.st_size, info.st_mtime_ns)
        )

    def _closed(self, path: Path, error: OSError) -> InputVersion | None:
        """What cannot be looked at, as an input that cannot be read; None where it is gone."""
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return None  # removed meanwhile, or a link to nowhere
        member = printable(path.relative_to(self._root).as_posix())
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
                'no file events, only scans; for events: pip install "pi10-classifier[watch]"',
            ) from error
        root = self._root.resolve()
        first = True
        for changes in watchfiles.watch(
            root,
            watch_filter=None,
            step=50,
            debounce=EVENTS_EVERY_MS,
            rust_timeout=1000,
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
                emit(self._seen(root, sorted(changed)))
                lost = (Path(path) for change, path in changes if change is gone)
                if any(not skip_reason(path.relative_to(root).as_posix()) for path in lost):
                    up()  # something was renamed: a scan tells what its old name was

    def _seen(self, root: Path, paths: Sequence[str]) -> Iterator[InputVersion]:
        for text in paths:
            path = self._root / Path(text).relative_to(root)
            try:
                info = path.stat()
                if is_result(path, self._root) or self._is_again(path):
                    continue
            except (OSError, ValueError):
                continue  # gone; what is closed is left to the next scan
            if stat.S_ISDIR(info.st_mode):
                # moved in as a whole it is one event, without its files
                if not path.is_symlink() and not is_skipped_folder(path.name):
                    yield from self._below(path)
            elif found := self._found(path, info):
                yield found

    def look(self, found: InputVersion) -> InputVersion | None:
        file = self._file(found)
        path = file.path
        try:
            if file.error and path.is_dir():
                os.scandir(path).close()
                is_run_folder(path)  # as the scan does: it fails where the path is too long
                return None  # open again: the next scan finds what is in it
            return self._found(path, path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if file.error:
                return self._closed(path, error)
            raise unreadable(error) from error

    def block(self, found: Sequence[InputVersion]) -> Unit:
        files = tuple(self._file(one) for one in found)
        return FileBlock(self.source, "", 0, files, self._limits)

    def archive(self, found: InputVersion) -> Unit:
        file = self._file(found)
        size = 1 if file.error else file.size  # not empty, but not to be opened
        return LocalArchive(file.path, size, file.modified_ns, self._limits)

    def content(self, found: InputVersion, data: bytes | None) -> int | None:
        if data:
            return digest(data)
        file = self._file(found)
        if file.error:
            return None
        if not file.size:
            return digest(found.version.encode())  # empty files are all alike, but for the time
        try:  # an archive, or what is not read whole: both its ends
            with file.path.open("rb", buffering=0) as stream:
                first = stream.read(_END_BYTES)
                stream.seek(max(0, file.size - _END_BYTES))
                last = stream.read(_END_BYTES)
        except OSError:
            return None
        return digest(b"%d\0%b%b" % (file.size, first, last))

    @staticmethod
    def _file(found: InputVersion) -> LooseFile:
        if not isinstance(found.handle, LooseFile):
            raise TypeError(f"{found.name} is of another place")
        return found.handle
