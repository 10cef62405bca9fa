"""Processes that make batches beside a GPU, where threads would wait for each other.

Varying an image is a chain of short NumPy and OpenCV calls, between which Python's lock is held:
two threads of it are no faster than one, two processes are twice as fast.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Made = dict[str, NDArray[np.generic]]


class Maker(Protocol):
    """What a process needs of ``Batches``: it has a copy of its own."""

    def turn(self, epoch: int, size: int) -> None:
        """To an epoch, its images ``size`` px."""

    def make(self, b: int) -> Made:
        """Batch ``b`` of the epoch."""


_mine: Maker  # in a worker process alone
_at: tuple[int, int] | None = None


def can_fork() -> bool:
    """Whether a process can be copied with the images it holds, instead of sent them."""
    return "fork" in multiprocessing.get_all_start_methods()


def start(count: int, maker: Maker) -> Executor:
    """``count`` processes with a copy each of ``maker``, its images' memory shared."""
    pool = ProcessPoolExecutor(
        count, multiprocessing.get_context("fork"), initializer=_begin, initargs=(maker,)
    )
    with warnings.catch_warnings():
        # from Python 3.12 on: what other threads hold at the fork is never let go in the copy.
        # A copy runs NumPy, OpenCV on one thread, and a session of ONNX Runtime on its caller's
        warnings.filterwarnings("ignore", "This process", DeprecationWarning)
        pool.submit(os.getpid)  # all are started at the first task
    return pool


def submit(pool: Executor, epoch: int, size: int, b: int) -> Future[Made]:
    """Ask the processes of ``start`` for a batch."""
    return pool.submit(_make, epoch, size, b)


def _begin(maker: Maker) -> None:
    global _mine
    _mine = maker
    for stop in (signal.SIGINT, signal.SIGTERM):  # sent to all of a group; the parent's to heed
        signal.signal(stop, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """End with the parent, however it ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _make(epoch: int, size: int, b: int) -> Made:
    global _at
    if _at != (epoch, size):
        _mine.turn(epoch, size)
        _at = (epoch, size)
    return _mine.make(b)
