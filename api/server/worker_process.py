"""One process that predicts, as `pi10 serve` keeps several of them."""

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
    """In a new worker: signals are the parent's to heed, and no worker outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()


def alive() -> None:
    """What an idle worker is asked, to see whether it still is one."""


class WorkerProcess:
    """One process, given one piece of work at a time."""

    def __init__(self) -> None:
        # spawned: forking a process that has threads may deadlock the child
        context = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
        self.pid = 0

    async def warm(self, warm: Callable[[], Any]) -> None:
        self.pid = await self.run(os.getpid)
        await self.run(warm)

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        """Raises BrokenProcessPool where the process died, else what ``work`` raises."""
        return await asyncio.wrap_future(self._executor.submit(work, *args))

    async def kill(self) -> None:
        """End the process, whatever it is at."""
        kill_all(self._executor)
        # one whose process has not said its pid may not be waited for: it had perhaps no begin
        await asyncio.to_thread(self._executor.shutdown, bool(self.pid), cancel_futures=True)
