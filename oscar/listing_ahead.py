"""Lists a folder of a bucket with several requests at a time, in the order of its keys.

A listing is a chain of pages, each of which names the next. So a folder is split at its own
folders, and several of them are listed at once, each a little ahead of what is read.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pi10_classifier.sources.s3_client import S3Client
from pi10_classifier.sources.s3_listing import PAGE, Entry

LISTERS = 4
WIDE = 16  # folders of one level; with fewer, the levels below are looked at too
MOST_LEVELS = 64  # requests that look for folders
PAGES_AHEAD = 2  # of each folder in work
_WAIT_S = 0.2


@dataclass(slots=True)
class _Stretch:
    """A folder that a thread lists: its pages, then None or the error that ended it."""

    prefix: str
    pages: queue.Queue[list[Entry] | BaseException | None] = field(
        default_factory=lambda: queue.Queue(PAGES_AHEAD)
    )


class ListingAhead:
    """The objects below a prefix, in the order of their keys' bytes.

    Memory is bounded: ``LISTERS`` folders are in work, each at most ``PAGES_AHEAD`` pages ahead.
    Iterating raises what the store's listing raises.
    """

    def __init__(self, store: S3Client, bucket: str, prefix: str, listers: int = LISTERS) -> None:
        self._store, self._bucket, self._prefix = store, bucket, prefix
        self._listers = listers
        self._levels = MOST_LEVELS
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Entry]:
        pool = ThreadPoolExecutor(self._listers, thread_name_prefix="listing")
        in_work: deque[_Stretch | list[Entry]] = deque()
        folders = 0
        try:
            for stretch in self._stretches(self._prefix):
                if isinstance(stretch, _Stretch):
                    pool.submit(self._list, stretch)
                    folders += 1
                in_work.append(stretch)
                # the first is read while those behind it are listed
                while folders > self._listers or (in_work and not isinstance(in_work[0], _Stretch)):
                    folders -= isinstance(in_work[0], _Stretch)
                    yield from self._read(in_work.popleft())
            while in_work:
                yield from self._read(in_work.popleft())
        finally:
            self._closed.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _stretches(self, prefix: str) -> Iterator[_Stretch | list[Entry]]:
        """The objects of this level, and its folders to be listed, in order."""
        pages = self._store.pages(self._bucket, prefix, "/")
        self._levels -= 1
        first = next(pages, [])
        folders = sum(entry.is_folder for entry in first)
        if not folders:  # nothing to list at once
            if len(first) == PAGE:
                yield _Stretch(prefix)
                return
            yield first
            yield from pages
            return
        deeper = folders < WIDE
        entries: list[Entry] = first
        while entries:
            here: list[Entry] = []
            for entry in entries:
                if not entry.is_folder:
                    here.append(entry)
                    continue
                if here:
                    yield here
                    here = []
                if deeper and self._levels > 0:
                    yield from self._stretches(entry.object_name)
                else:
                    yield _Stretch(entry.object_name)
            if here:
                yield here
            entries = next(pages, [])

    def _list(self, stretch: _Stretch) -> None:
        end: BaseException | None = None
        try:
            for page in self._store.pages(self._bucket, stretch.prefix):
                if not self._put(stretch, page):
                    return
        except BaseException as error:  # raised again where the pages are read
            end = error
        self._put(stretch, end)

    def _put(self, stretch: _Stretch, page: list[Entry] | BaseException | None) -> bool:
        """False where nobody reads any more."""
        while not self._closed.is_set():
            try:
                stretch.pages.put(page, timeout=_WAIT_S)
            except queue.Full:
                continue
            return True
        return False

    @staticmethod
    def _read(stretch: _Stretch | list[Entry]) -> Iterator[Entry]:
        if not isinstance(stretch, _Stretch):
            yield from stretch
            return
        while (page := stretch.pages.get()) is not None:
            if isinstance(page, BaseException):
                raise page
            yield from page
