"""Ends worker processes when their parent ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def end_with_parent() -> None:
    """End this process when its parent ends, even if the parent is killed."""
    parent = multiprocessing.parent_process()

    def leave() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=leave, name="pi10-parent-watch", daemon=True).start()


def kill_all(executor: ProcessPoolExecutor) -> None:
    """Kill all processes of ``executor``, even those that are stopped or hang."""
    for pid in list(getattr(executor, "_processes", None) or {}):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
