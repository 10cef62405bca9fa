"""The pool of prediction workers: warmed, checked, and replaced if they die or hang.

DEEPaaS's own pool loses the task of a killed worker, so the request hangs for ever. And after
an exception that cannot be unpickled, a worker never answers again. An executor of
``concurrent.futures`` notices both; here a broken executor is replaced with a new one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextvars import Context
from functools import partial
from typing import Any

from pi10_classifier.api.server.task import in_service
from pi10_classifier.api.server.worker_process import WorkerProcess, alive

LOG = logging.getLogger("pi10.workers")

WATCH_S = 2.0
# an idle worker answers within milliseconds; one that does not within ANSWER_S is not counted as
# ready, and after PATIENCE_S it is replaced, because it is stopped or hangs
ANSWER_S = 5.0
PATIENCE_S = 60.0
# how long a worker that is to load a model may take to become idle, before it loads beside its work
IDLE_S = 2.0
_ASK_S = 0.05
# larger uploads queue as bins, smaller ones as single images
BULK_BYTES = 2**20
TRIES = 2
# backoff between attempts to warm a worker
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class WorkerDied(Exception):  # noqa: N818  concurrent.futures names its exceptions so
    """The process of this work died ``TRIES`` times."""


class _DiedIdle(BrokenProcessPool):
    """The process was dead before it got the work."""


class TookTooLong(Exception):  # noqa: N818
    """The work did not end within its time limit; its process was killed."""


class Workers:
    """``count`` warm processes with one queue of work, first come, first served.

    One process never gets bulk work, so that a single image does not wait for bins that take
    minutes. With only one process this is impossible.
    """

    def __init__(self, count: int, warm: Callable[[], Any], seconds: float = 0) -> None:
        """seconds: the longest that a worker may be silent; 0 means PATIENCE_S."""
        self.count = count
        self._patience_s = min(seconds or PATIENCE_S, PATIENCE_S)
        self._start_s = max(seconds, PATIENCE_S)
        self._silent: set[WorkerProcess] = set()
        self.restarts = 0
        self.problem = ""
        self.model_folder = ""  # in service; "" where workers find it themselves
        self._warm = warm
        self._idle: asyncio.LifoQueue[WorkerProcess] = asyncio.LifoQueue()
        self._warm_workers: set[WorkerProcess] = set()
        self._bulk = asyncio.Semaphore(max(1, count - 1))
        self._with_bulk: set[WorkerProcess] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    @property
    def ready(self) -> int:
        """How many processes are warm and answer, idle or at work."""
        return len(self._warm_workers - self._silent)

    def start(self) -> None:
        """Start all processes. Returns at once; ``ready`` counts those that are warm."""
        for _ in range(self.count):
            self._spawn(self._bring_up())
        self._spawn(self._watch())

    async def apply(
        self, work: Callable[..., Any], *args: Any, seconds: float = 0, bulk: bool = False
    ) -> Any:
        """Run picklable ``work(*args)`` in a free process and return what it returns.

        seconds: the time limit, 0 for none. Raises WorkerDied, TookTooLong, or what ``work``
        raises. If cancelled while it waits, it leaves the queue; if cancelled later, the work
        goes on and its result is dropped.
        """
        deaths = 0
        while deaths < TRIES:
            worker = await self._take(bulk)
            # after a death, probe the worker first: one that died idle is not the work's fault
            told = (self.model_folder, work, *args)
            running = self._run(worker, in_service, told, seconds, bulk, ask=deaths > 0)
            task = self._spawn(running)
            try:
                return await asyncio.shield(task)
            except _DiedIdle:
                continue
            except BrokenProcessPool:
                deaths += 1
                LOG.error("worker died", extra={"worker_pid": worker.pid, "deaths": deaths})
        raise WorkerDied(f"the worker process died {TRIES} times on this request")

    async def in_turn(self, work: Callable[..., bool], *args: Any) -> None:
        """Have ``work`` done in every warm process, in one after the other.

        work: returns at once, and False while what it began goes on in a thread of the process.
        That process gets no requests meanwhile if it is or becomes idle and another is there for
        them; else they go on beside it. Raises what ``work`` raises. A process that dies meanwhile
        is left out. When this returns, no process is warm that has not done the work.
        """
        done: set[WorkerProcess] = set()
        while rest := self._warm_workers - done:
            held = await self._hold_one_of(rest)
            worker = held or next(iter(rest))
            done.add(worker)
            try:
                while True:
                    async with asyncio.timeout(self._patience_s if held else None):
                        if await worker.run(work, *args):
                            break
                    await asyncio.sleep(_ASK_S)
            except (BrokenProcessPool, RuntimeError, TimeoutError):  # it died, or hangs
                if held:
                    held = None
                    self._replace(worker)
            finally:
                if held:
                    self._idle.put_nowait(held)

    async def _hold_one_of(self, workers: set[WorkerProcess]) -> WorkerProcess | None:
        """Take one of ``workers`` out of the idle ones; None if none is within ``IDLE_S``.

        None also where single images would have no process left.
        """
        until = time.monotonic() + IDLE_S
        while len(self._warm_workers - self._with_bulk) > 1:
            idle = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
            held = next((worker for worker in reversed(idle) if worker in workers), None)
            for worker in reversed(idle):
                if worker is not held:
                    self._idle.put_nowait(worker)
            if held or time.monotonic() > until:
                return held
            await asyncio.sleep(0.01)
        return None

    async def _take(self, bulk: bool) -> WorkerProcess:
        if bulk:
            await self._bulk.acquire()
        try:
            return await self._idle.get()
        except BaseException:
            if bulk:
                self._bulk.release()
            raise

    async def _run(
        self,
        worker: WorkerProcess,
        work: Callable[..., Any],
        args: tuple[Any, ...],
        seconds: float = 0,
        bulk: bool = False,
        ask: bool = False,
    ) -> Any:
        """Run in ``worker``, then return it to the pool or replace it, even if nobody waits."""
        usable = True
        try:
            if ask:
                await self._ask(worker)
            if bulk:
                self._with_bulk.add(worker)
            async with asyncio.timeout(seconds or None) as limit:
                return await worker.run(work, *args)
        except BrokenProcessPool:
            usable = False
            raise
        except TimeoutError as error:
            if not limit.expired():  # the work itself raised it
                raise
            usable = False
            LOG.error("worker took too long", extra={"worker_pid": worker.pid})
            raise TookTooLong(f"not finished within {seconds:g} s; send fewer images") from error
        finally:
            if bulk:
                self._with_bulk.discard(worker)
                self._bulk.release()
            if usable:
                self._idle.put_nowait(worker)
            else:
                self._replace(worker)

    async def _ask(self, worker: WorkerProcess) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await worker.run(alive)
        except (BrokenProcessPool, TimeoutError) as error:
            raise _DiedIdle from error

    def _replace(self, worker: WorkerProcess) -> None:
        self._spawn_apart(worker.kill())
        self._warm_workers.discard(worker)
        self._silent.discard(worker)
        if not self._closing:
            self.restarts += 1
            self._spawn_apart(self._bring_up())

    async def _bring_up(self) -> None:
        """Start and warm a new process; retry until it succeeds."""
        pause = FIRST_PAUSE_S
        while not self._closing:
            worker = WorkerProcess()
            began = time.perf_counter()
            try:
                async with asyncio.timeout(self._start_s) as limit:
                    warmed_with = None
                    while warmed_with != self.model_folder:  # it may change meanwhile
                        warmed_with = self.model_folder
                        await worker.warm(partial(in_service, warmed_with, self._warm))
            except Exception as error:
                self.problem = str(error) or type(error).__name__
                if limit.expired():
                    self.problem = f"a worker was not warm within {self._start_s:g} s"
                LOG.error("worker not ready", extra={"reason": self.problem})
                await worker.kill()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            except asyncio.CancelledError:
                await asyncio.shield(worker.kill())
                raise
            self.problem = ""
            self._warm_workers.add(worker)
            self._idle.put_nowait(worker)
            seconds = round(time.perf_counter() - began, 3)
            LOG.info("worker ready", extra={"worker_pid": worker.pid, "seconds": seconds})
            return

    async def _watch(self) -> None:
        """Probe idle workers regularly, to replace a dead one before it is needed."""
        while not self._closing:
            await asyncio.sleep(WATCH_S)
            idle = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
            for worker in reversed(idle):
                self._spawn(self._check(worker))

    async def _check(self, worker: WorkerProcess) -> None:
        """Probe ``worker``; it is replaced if it does not answer."""
        work = self._run(worker, alive, (), seconds=self._patience_s)
        probe = self._spawn(work)
        if (await asyncio.wait({probe}, timeout=ANSWER_S))[0]:
            return
        self._silent.add(worker)
        self.problem = "a worker does not answer; it is replaced if it stays silent"
        LOG.warning("worker silent", extra={"worker_pid": worker.pid})
        await asyncio.wait({probe})
        if worker in self._silent:  # it answered after all: a replaced worker was removed
            self._silent.discard(worker)
            self.problem = ""

    def _spawn_apart(self, work: Any) -> None:
        """Like ``_spawn``, but outside of the current request: log lines lack its id."""
        self._spawn(work, Context())

    def _spawn(self, work: Any, context: Context | None = None) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio warns if nobody waited for the task

    async def close(self) -> None:
        """Stop all processes, idle or at work."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.kill() for worker in self._warm_workers))
        self._warm_workers.clear()
