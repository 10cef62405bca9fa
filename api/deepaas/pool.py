"""Replaces DEEPaaS's worker pool under ``deepaas-run``.

DEEPaaS's own pool has three faults. A training occupies the worker that predictions need.
If a worker dies, its task is lost: the request waits for ever, and with a single worker so
does every later request. And cancelling kills the worker. Here each training runs in its own
process, and a worker that died is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from typing import Any

from aiohttp import web

from pi10_classifier.api.deepaas.routes import deliverable, error_body, started
from pi10_classifier.api.server.parent_watch import end_with_parent, kill_all
from pi10_classifier.api.settings import Service, variable
from pi10_classifier.api.trainings.jobs import TRAININGS, Training, refused
from pi10_classifier.errors import Pi10Error

LOG = logging.getLogger("pi10.workers")
RETRY_S = 5
WATCH_S = 2.0
# an idle worker answers within milliseconds; one that is silent for this long is replaced
PATIENCE_S = 60.0
TRIES = 2
_WRAPPER = "deepaas.model.v2.wrapper"


def install() -> None:
    """Make DEEPaaS use this pool, if DEEPaaS is what loads this package."""
    wrapper: Any = sys.modules.get(_WRAPPER)
    if wrapper is not None:
        wrapper.CancellablePool = Pool


class DeepaasWorker:
    """One process. It runs ``warm`` first, if that is given."""

    def __init__(self, threads: int, warm: Callable[[], Any] | None = None) -> None:
        # spawn: forking a process that has threads may deadlock the child
        context = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(
            1, mp_context=context, initializer=_begin, initargs=(threads,)
        )
        self._begun: Future[Any] = self._executor.submit(warm or os.getpid)

    async def ready(self, seconds: float) -> None:
        """Wait until the process runs and is warm.

        Raises BrokenProcessPool if it died, or is not ready within ``seconds``.
        """
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(asyncio.wrap_future(self._begun))
        except TimeoutError as error:
            raise BrokenProcessPool(f"not warm within {seconds:g} s") from error
        except BrokenProcessPool:
            raise
        except Exception:  # the model cannot be loaded: the request will get the reason
            LOG.exception("a worker is not warm")

    async def run(self, work: Callable[[], Any]) -> Any:
        """Run ``work``. Raises BrokenProcessPool if the process died, else what ``work`` raises."""
        return await asyncio.wrap_future(self._executor.submit(work))

    def end(self) -> None:
        """End the process, even in the middle of work."""
        kill_all(self._executor)
        self._executor.shutdown(wait=False, cancel_futures=True)


class Pool:
    """``max_workers`` processes, one request at a time in each; DEEPaaS calls ``apply``."""

    def __init__(self, max_workers: int) -> None:
        self._service = Service.or_exit()
        self._threads = max(1, self._service.jobs // max_workers)
        self._warm: Callable[[], Any] | None = None
        self._inside = 0
        self._all = {DeepaasWorker(self._threads) for _ in range(max_workers)}
        self._idle: asyncio.LifoQueue[DeepaasWorker] = asyncio.LifoQueue()
        for worker in self._all:
            self._idle.put_nowait(worker)
        self._start_s = max(self._service.max_seconds, PATIENCE_S)
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def apply(self, work: functools.partial[Any]) -> dict[str, Any]:
        """Run ``train`` in its own process, and ``warm`` or ``predict`` in a worker."""
        if getattr(work.func, "__name__", "") == "train":
            return _done(await train_apart(work.keywords))
        if not work.args:  # DEEPaaS wraps predictions and passes them as an argument
            self._warm = work
            return _done(await self._run(work))
        if self._inside >= self._service.max_waiting:
            raise web.HTTPServiceUnavailable(
                headers={"Retry-After": str(RETRY_S)},
                **error_body("full", f"{self._inside} predictions run or wait; try again"),
            )
        self._inside += 1
        # without DEEPaaS's wrapper, which would load all of DEEPaaS into the worker
        function, *more = work.args
        predict = functools.partial(function, *more, **work.keywords)
        try:
            output = await self._run(predict)
        finally:
            self._inside -= 1
        return _done(deliverable(output))

    async def _run(self, work: Callable[[], Any]) -> Any:
        for _ in range(TRIES):  # a worker may have died while idle, through no fault of the work
            with contextlib.suppress(BrokenProcessPool):
                return await self._run_once(work)
        message = f"its worker died {TRIES} times; send fewer files, or report it"
        raise web.HTTPInternalServerError(**error_body("worker_died", message))

    async def _run_once(self, work: Callable[[], Any]) -> Any:
        worker, usable = await self._idle.get(), False
        seconds = self._service.max_seconds
        try:
            await worker.ready(self._start_s)  # a worker's start does not count as request time
            async with asyncio.timeout(seconds):
                result = await worker.run(work)
            usable = True
            return result
        except BrokenProcessPool:
            raise
        except TimeoutError as error:
            message = f"not finished within {seconds} s; send fewer images per request"
            raise web.HTTPGatewayTimeout(**error_body("took_too_long", message)) from error
        except Exception:
            usable = True  # the work failed, the process did not
            raise
        finally:
            self._idle.put_nowait(worker if usable else self._replacement_for(worker))

    async def _watch(self) -> None:
        """Probe idle workers for ever, and replace those that are dead, stopped or hang."""
        while True:
            await asyncio.sleep(WATCH_S)
            idle = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
            await asyncio.gather(*(self._check(worker) for worker in reversed(idle)))

    async def _check(self, worker: DeepaasWorker) -> None:
        usable = False
        try:
            await worker.ready(self._start_s)
            async with asyncio.timeout(min(PATIENCE_S, self._service.max_seconds)):
                await worker.run(_alive)
            usable = True
        except (BrokenProcessPool, TimeoutError):
            pass  # replaced below
        finally:
            self._idle.put_nowait(worker if usable else self._replacement_for(worker))

    def _replacement_for(self, worker: DeepaasWorker) -> DeepaasWorker:
        LOG.error("a worker is replaced")
        worker.end()
        fresh = DeepaasWorker(self._threads, self._warm)
        self._all = (self._all - {worker}) | {fresh}
        return fresh

    def shutdown(self) -> None:
        """Called by DEEPaaS when its server ends."""
        self._watcher.cancel()
        TRAININGS.close()
        for worker in self._all:
            worker.end()


def _alive() -> None:
    """Do nothing: an idle worker that can run this is alive."""


def _begin(threads: int) -> None:
    """Set up a new worker: its thread count; ignore Ctrl-C; end when the parent ends."""
    os.environ[variable("jobs")] = str(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


async def train_apart(given: Mapping[str, Any]) -> dict[str, Any]:
    """Run a training in its own process, and return its result when it has ended.

    If the caller cancels while the training begins (a large upload takes time), it ends at once.
    """
    service = Service.from_environ()
    begun = asyncio.ensure_future(asyncio.to_thread(TRAININGS.begin, given, service))
    try:
        await asyncio.shield(begun)
    except asyncio.CancelledError:  # a thread cannot be cancelled: the training begins anyway
        return await asyncio.shield(asyncio.ensure_future(_outcome(begun, cancel=True)))
    except Pi10Error:
        pass  # _outcome reports it
    return await _outcome(begun)


async def _outcome(begun: asyncio.Future[Training], *, cancel: bool = False) -> dict[str, Any]:
    try:
        training = await begun
    except Pi10Error as error:
        started(error)
        return refused(error)
    if cancel:
        await asyncio.to_thread(training.cancel)
    started(training)
    return await TRAININGS.follow(training)


def _done(output: Any) -> dict[str, Any]:
    # str() omits the microseconds at a whole second, and DEEPaaS expects them
    return {"output": output, "finish_date": f"{datetime.now():%Y-%m-%d %H:%M:%S.%f}"}
