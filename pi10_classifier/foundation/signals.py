"""Stopping between two steps of work instead of amid one.

Python raises KeyboardInterrupt wherever it happens to be: half-way through a file, or
in a finaliser, which swallows it. So the first signal only asks, and the work looks
between its steps; a second one stops at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """While open, signals wait for the next call of what is yielded.

    That call, and the end of the block, raise KeyboardInterrupt where a signal came. A
    signal that the shell has us ignore stays ignored; threads other than the main one
    receive none.
    """
    asked = False

    def ask(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, ask)
    try:
        yield check
        check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
