"""A folder as a place to watch: events of the file system, and scans of the tree."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pi10_classifier.archives import Limits
from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.sources import (
    FileBlock,
    LocalArchive,
    LooseFile,
    Unit,
    is_run_folder,
    printable,
    unreadable,
)
from pi10_classifier.watch.place import Found, skip_reason

EVENTS_EVERY_MS = 200


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
                f"{str(self._root)!r} is no folder; name a folder to watch, or s3://bucket/prefix"
            )

    def scan(self) -> Iterator[Found]:
        waiting = [self._root]
        while waiting:
            folder = waiting.pop()
            folders = []
            try:
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except FileNotFoundError:
                if folder == self._root:
                    raise
                continue  # removed meanwhile
            if is_run_folder(folder):
                continue
            for entry in listed:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                        continue
                    found = self._found(Path(entry.path), entry.stat())
                except OSError:  # gone, or a link to nowhere
                    continue
                if found:
                    yield found
            waiting.extend(reversed(folders))

    def _found(self, path: Path, info: os.stat_result) -> Found | None:
        member = printable(path.relative_to(self._root).as_posix())
        if not stat.S_ISREG(info.st_mode) or skip_reason(member):
            return None
        version = f"{info.st_size}-{info.st_mtime_ns}"
        return Found(member, version, LooseFile(path, member, info.st_size, info.st_mtime_ns))

    def listen(
        self, tell: Callable[[Iterable[Found]], None], up: Callable[[], None], stop: threading.Event
    ) -> None:
        try:
            import watchfiles
        except ImportError as error:
            raise InputError(
                Code.OBJECT_UNREADABLE,
                'no file events, scans alone: pip install "pi10-classifier[watch]"',
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
            changed = {path for change, path in changes if change is not watchfiles.Change.deleted}
            if changed:
                tell(self._seen(root, sorted(changed)))

    def _seen(self, root: Path, paths: Sequence[str]) -> Iterator[Found]:
        inside: dict[Path, bool] = {}  # folder -> whether it lies in results
        for text in paths:
            path = self._root / Path(text).relative_to(root)
            try:
                info = path.stat()
            except OSError:
                continue
            folder = path.parent
            if folder not in inside:
                above = [folder, *folder.parents]
                inside[folder] = any(
                    is_run_folder(each) for each in above[: above.index(self._root) + 1]
                )
            if not inside[folder] and (found := self._found(path, info)):
                yield found

    def look(self, found: Found) -> Found | None:
        path = self._file(found).path
        try:
            return self._found(path, path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreadable(error) from error

    def block(self, found: Sequence[Found]) -> Unit:
        files = tuple(self._file(one) for one in found)
        return FileBlock(self.source, "", 0, files, self._limits)

    def archive(self, found: Found) -> Unit:
        file = self._file(found)
        return LocalArchive(file.path, file.size, file.modified_ns, self._limits)

    @staticmethod
    def _file(found: Found) -> LooseFile:
        if not isinstance(found.handle, LooseFile):
            raise TypeError(f"{found.name} is of another place")
        return found.handle
