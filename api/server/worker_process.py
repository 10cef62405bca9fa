"""One process for predictions; `pi10 serve` keeps several of them."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from pi10_classifier.api.server.parent_watch import end_with_parent, kill_all


def _begin() -> None:
    """Set up a new worker: ignore signals, which the parent handles, and end with the parent.

    Ctrl-C and a terminal that is closed send them to the whole process group.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    end_with_parent()


def alive() -> None:
    """Do nothing: an idle worker that can run this is alive."""


class WorkerProcess:
    """One process, which runs one piece of work at a time."""

    def __init__(self) -> None:
        # spawn: forking a process that has threads may deadlock the child
        context = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
        self.pid = 0

    async def warm(self, warm: Callable[[], Any]) -> None:
        self.pid = await self.run(os.getpid)
        await self.run(warm)

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run ``work``. Raises BrokenProcessPool if the process died, else what ``work`` raises."""
        return await asyncio.wrap_future(self._executor.submit(work, *args))

    async def kill(self) -> None:
        """End the process, even in the middle of work."""
        kill_all(self._executor)
        # without a pid the process may never have started, and waiting for it would hang
        await asyncio.to_thread(self._executor.shutdown, bool(self.pid), cancel_futures=True)
