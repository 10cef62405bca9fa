"""Runs worker processes that prepare batches for a GPU, where threads would block each other.

Augmentation is a chain of short NumPy and OpenCV calls, and Python's lock is held between them. So
two threads are no faster than one, but two processes are twice as fast.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Made = dict[str, NDArray[np.generic]]


class Maker(Protocol):
    """The part of ``Batches`` that a worker process uses; each process has its own copy."""

    def set_epoch(self, epoch: int, size: int) -> None:
        """Start an epoch with images of ``size`` px."""

    def make(self, b: int) -> Made:
        """Batch ``b`` of the epoch."""


_GRACE_S = 5.0  # time for a process to finish its current batch

_mine: Maker  # set only in a worker process
_at: tuple[int, int] | None = None


def can_fork() -> bool:
    """Whether worker processes can be forked, so that the images need not be sent."""
    return "fork" in multiprocessing.get_all_start_methods()


class Processes:
    """``count`` worker processes, each with a copy of ``maker``; they share the images' memory."""

    def __init__(self, count: int, maker: Maker) -> None:
        before = set(multiprocessing.active_children())
        context = multiprocessing.get_context("fork")
        self._pool = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(maker,))
        with warnings.catch_warnings():
            # from Python 3.12 on: what other threads hold at the fork is never let go in the
            # copy. A copy runs NumPy, OpenCV on one thread, and ONNX Runtime on its caller's
            warnings.filterwarnings("ignore", "This process", DeprecationWarning)
            self._pool.submit(os.getpid)  # the first task starts all processes
        self._children = [x for x in multiprocessing.active_children() if x not in before]

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children if child.pid is not None]

    def submit(self, epoch: int, size: int, b: int) -> Future[Made]:
        """Request a batch. If a process was killed, this or the result raises BrokenProcessPool."""
        return self._pool.submit(_make, epoch, size, b)

    def shutdown(self) -> None:
        """Stop all processes; those that do not exit are killed.

        If one process is killed, the pool sends SIGTERM to the others; they ignore it.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in self._alive(_GRACE_S):
            child.kill()
        self._alive(_GRACE_S)

    def _alive(self, seconds: float) -> list[BaseProcess]:
        """The processes that are still alive after ``seconds``."""
        alive, until = {x.sentinel: x for x in self._children}, time.monotonic() + seconds
        while alive:
            ended = wait(list(alive), max(0.0, until - time.monotonic()))
            if not ended:
                break
            alive = {key: child for key, child in alive.items() if key not in ended}
        return list(alive.values())


def _begin(maker: Maker) -> None:
    global _mine
    _mine = maker
    for stop in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the parent handles them
        signal.signal(stop, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """End when the parent ends, even if it is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _make(epoch: int, size: int, b: int) -> Made:
    global _at
    if _at != (epoch, size):
        _mine.set_epoch(epoch, size)
        _at = (epoch, size)
    return _mine.make(b)
