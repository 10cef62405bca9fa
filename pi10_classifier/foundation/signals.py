"""Stops work on SIGINT and SIGTERM between two steps, not in the middle of one.

Python raises KeyboardInterrupt at any point: half-way through a file, or in a finaliser, which
swallows it. So the first signal only requests a stop, which the work checks between its steps.
A second signal stops at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_hangup(put: SimpleQueue[None]) -> Iterator[None]:
    """At each SIGHUP, put None into the queue, where another thread waits for it.

    Not on Windows, which has no such signal. A queue, as its ``put`` may be interrupted by itself.
    """
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.signal(signal.SIGHUP, lambda *_: put.put(None))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Yield a function that raises KeyboardInterrupt once a signal has arrived.

    The end of the block raises it as well. A signal that the shell set to be ignored stays
    ignored. Outside the main thread no signal is handled.
    """
    stop_requested = False

    def request_stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stop_requested
        if stop_requested:
            raise KeyboardInterrupt
        stop_requested = True

    def raise_if_cancelled() -> None:
        if stop_requested:
            raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, request_stop)
    try:
        yield raise_if_cancelled
        raise_if_cancelled()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
