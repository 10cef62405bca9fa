"""Thread pools that return results in the order of their tasks and bound the memory held."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Tag = TypeVar("Tag")

AHEAD = 4  # items in flight per thread; bounds the memory


def usable_cores() -> int:
    """The number of cores that this process may use."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on Windows and macOS
        return os.cpu_count() or 1


class _Task(NamedTuple, Generic[Tag, R]):
    tag: Tag
    future: Future[R] | None
    held_bytes: int


class OrderedPool(Generic[Tag, R]):
    """A thread pool with a queue of its tasks; results are taken out in the order of submission.

    One thread uses it: it submits until ``is_full``, then takes out the first result. The pool
    does not enforce its bounds, so the caller can do other work between two steps.
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
        """True while the queue holds more tasks or bytes than its bounds allow."""
        return len(self._tasks) > self._window or self._held_bytes > self._most_bytes

    @property
    def tags(self) -> list[Tag]:
        """The tags of all tasks and markers still in the queue."""
        return [task.tag for task in self._tasks]

    def submit(
        self, tag: Tag, function: Callable[..., R], *args: object, held_bytes: int = 0
    ) -> None:
        """Queue ``function(*args)``. held_bytes: the memory that its arguments hold."""
        future = self._pool.submit(function, *args)
        self._tasks.append(_Task(tag, future, held_bytes))
        self._held_bytes += held_bytes

    def add_marker(self, tag: Tag) -> None:
        """Queue a tag without a task, to learn when all tasks before it are done."""
        self._tasks.append(_Task(tag, None, 0))

    def is_first_done(self) -> bool:
        """True where ``first`` would not wait. Raises IndexError where the queue is empty."""
        future = self._tasks[0].future
        return future is None or future.done()

    def first(self) -> tuple[Tag, R | None]:
        """Wait for the first task; returns its tag and its result (None for a marker).

        Raises the task's exception. The task stays in the queue until ``drop_first``, so that
        ``tags`` still has it where the caller fails to use the result.
        """
        task = self._tasks[0]
        return task.tag, task.future.result() if task.future else None

    def drop_first(self) -> None:
        self._held_bytes -= self._tasks.popleft().held_bytes

    def close(self) -> None:
        """Wait for running tasks and cancel those that have not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int = AHEAD
) -> Iterator[R]:
    """``map`` on ``threads`` threads, with at most ``ahead`` items in flight per thread.

    ``items`` is read in the caller's thread. When the caller stops early, the rest is not begun.
    """
    pool: OrderedPool[None, R] = OrderedPool(threads, window=threads * ahead - 1, name="ahead")

    def take() -> R:
        _, result = pool.first()
        pool.drop_first()
        return result  # type: ignore[return-value]  # there are no markers

    try:
        for item in items:
            pool.submit(None, function, item)
            if pool.is_full:
                yield take()
        while pool:
            yield take()
    finally:
        pool.close()
