"""A worker process and the signals that a shell sends to the whole process group."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from pi10_classifier.api.server.worker_process import WorkerProcess, alive


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_the_parent_handles_ends_no_worker(name: str) -> None:
    async def run() -> tuple[int, int]:
        worker = WorkerProcess()
        try:
            await worker.warm(alive)
            # sent by the worker to itself: it has come before the next piece of work
            await worker.run(os.kill, worker.pid, getattr(signal, name))
            return worker.pid, await worker.run(os.getpid)
        finally:
            await worker.kill()

    warmed, answered = asyncio.run(run())
    assert answered == warmed
