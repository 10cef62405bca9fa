"""Threads whose results come back in the order of their tasks, bounded in number and bytes."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Tag = TypeVar("Tag")

AHEAD = 4  # items under way per thread: what bounds the memory


class _Task(NamedTuple, Generic[Tag, R]):
    tag: Tag
    future: Future[R] | None
    held_bytes: int


class OrderedPool(Generic[Tag, R]):
    """A pool of threads and the queue of its tasks, which are taken out in their order.

    Used by one thread: it submits until ``is_full``, then takes out the first. The bounds are
    the caller's to keep, so it may do something else between two steps.
    """

    def __init__(
        self, threads: int, *, window: int, held_bytes: int = sys.maxsize, name: str = "pi10"
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._tasks: deque[_Task[Tag, R]] = deque()
        self._window, self._most_bytes = window, held_bytes
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def is_full(self) -> bool:
        """True while more tasks, or bytes of them, are in the queue than it is to hold."""
        return len(self._tasks) > self._window or self._held_bytes > self._most_bytes

    @property
    def tags(self) -> list[Tag]:
        """The tags of all that has not been taken out."""
        return [task.tag for task in self._tasks]

    def submit(
        self, tag: Tag, function: Callable[..., R], *args: object, held_bytes: int = 0
    ) -> None:
        """Have ``function(*args)`` done. held_bytes: what it keeps in memory."""
        future = self._pool.submit(function, *args)
        self._tasks.append(_Task(tag, future, held_bytes))
        self._held_bytes += held_bytes

    def mark(self, tag: Tag) -> None:
        """Nothing to be done: a place in the queue, for what follows all tasks before it."""
        self._tasks.append(_Task(tag, None, 0))

    def is_first_done(self) -> bool:
        """True where ``first`` would not wait. IndexError where nothing is in the queue."""
        future = self._tasks[0].future
        return future is None or future.done()

    def first(self) -> tuple[Tag, R | None]:
        """The first task's tag and its result, None of a mark; waits, and raises what it raised.

        It stays in the queue until ``drop_first``, so that ``tags`` has it where its use fails.
        """
        task = self._tasks[0]
        return task.tag, task.future.result() if task.future else None

    def drop_first(self) -> None:
        self._held_bytes -= self._tasks.popleft().held_bytes

    def close(self) -> None:
        """Wait for what is at work; what has not begun never will."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int = AHEAD
) -> Iterator[R]:
    """``map`` by ``threads``, at most ``ahead`` items a thread under way.

    Items are taken up in the caller's thread. What is left when the caller stops is not begun.
    """
    pool: OrderedPool[None, R] = OrderedPool(threads, window=threads * ahead - 1, name="ahead")

    def take() -> R:
        _, result = pool.first()
        pool.drop_first()
        return result  # type: ignore[return-value]  # there are no marks

    try:
        for item in items:
            pool.submit(None, function, item)
            if pool.is_full:
                yield take()
        while pool:
            yield take()
    finally:
        pool.close()
