"""One thread that enters lines: requests that wait together share one commit."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from contextlib import suppress

from pi10_classifier.errors import Pi10Error
from pi10_classifier.shore.receiver.store import ForeignSourceError, Post, Receipt, Store

MOST_POSTS = 256  # in one commit
MOST_WAITING = 1024  # requests; more are told to come again


class BusyError(Exception):
    """More requests wait than can be entered soon."""


class Writer:
    """Enters posts. state: "" or the last error of the disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: queue.Queue[tuple[Post, asyncio.Future[Receipt]] | None] = queue.Queue(
            MOST_WAITING
        )
        self._thread = threading.Thread(target=self._run, name="pi10-shore", daemon=True)
        self._loop = asyncio.get_running_loop()
        self.state = ""
        self.accepted = 0
        self.last_commit_s = 0.0
        self._thread.start()

    async def enter(self, post: Post) -> Receipt:
        """Enter a post; returns once it is on disk.

        Raises BusyError, ForeignSourceError, or OutputError; then nothing of it is entered.
        """
        future: asyncio.Future[Receipt] = self._loop.create_future()
        try:
            self._queue.put_nowait((post, future))
        except queue.Full as error:
            raise BusyError from error
        return await future

    async def close(self) -> None:
        """Enter what waits, then end the thread."""
        await asyncio.to_thread(self._queue.put, None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        ending = False
        while not ending:
            batch = [self._queue.get()]
            with suppress(queue.Empty):
                while len(batch) < MOST_POSTS:
                    batch.append(self._queue.get_nowait())
            ending = None in batch
            entries = [entry for entry in batch if entry is not None]
            if entries:
                self._enter(entries)

    def _enter(self, entries: list[tuple[Post, asyncio.Future[Receipt]]]) -> None:
        outcomes: list[Receipt | Exception]
        began = time.perf_counter()
        try:
            outcomes = list(self._store.enter([post for post, _ in entries]))
            self.state = ""
        except Pi10Error as error:
            self.state = error.message
            outcomes = [error] * len(entries)
        except Exception as error:  # a defect must not end the thread: each sender is told
            self.state = f"{type(error).__name__}: {error}"
            outcomes = [error] * len(entries)
        self.last_commit_s = time.perf_counter() - began
        for (_, future), outcome in zip(entries, outcomes, strict=True):
            if isinstance(outcome, Receipt):
                self.accepted += outcome.accepted
            with suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(_settle, future, outcome)


def _settle(future: asyncio.Future[Receipt], outcome: Receipt | Exception) -> None:
    if future.done():  # the sender hung up
        return
    if isinstance(outcome, Receipt):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)


__all__ = ["BusyError", "ForeignSourceError", "Writer"]
