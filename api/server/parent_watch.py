"""Ends worker processes when their parent ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def end_with_parent() -> None:
    """Watch the parent from a thread; where it ends, however it does, this process does too."""
    parent = multiprocessing.parent_process()

    def leave() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=leave, name="pi10-orphan", daemon=True).start()


def kill_all(executor: ProcessPoolExecutor) -> None:
    """Kill the processes of ``executor``, stopped or hanging ones too, known by pid or not."""
    for pid in list(getattr(executor, "_processes", None) or {}):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
