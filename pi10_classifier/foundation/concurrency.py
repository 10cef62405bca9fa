"""Work done by threads a little ahead of its use, with results in the items' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4  # items under way per thread: what bounds the memory


def in_order(
    function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int = AHEAD
) -> Iterator[R]:
    """``map`` by ``threads``, at most ``ahead`` items a thread under way.

    Items are taken up in the caller's thread. What is left when the caller stops is not begun.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= threads * ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
