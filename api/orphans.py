"""No process of the service outlives the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Watch the parent from a thread; where it ends, however it does, this process does too."""
    parent = multiprocessing.parent_process()

    def leave() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=leave, name="pi10-orphan", daemon=True).start()
