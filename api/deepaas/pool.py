"""Replaces DEEPaaS's worker pool under ``deepaas-run``.

DEEPaaS's own gives a training the worker that predictions wait for, loses the task of a
worker that dies (so that its request, and with one worker every later one, waits for
ever), and kills a worker to cancel. Here a training is a process of its own, and a worker
that died is replaced.
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
# an idle worker answers within milliseconds; one that has not for so long is replaced
PATIENCE_S = 60.0
TRIES = 2
_WRAPPER = "deepaas.model.v2.wrapper"


def install() -> None:
    """Where DEEPaaS is loading this package, give its model this pool, and its server a gate."""
    wrapper: Any = sys.modules.get(_WRAPPER)
    if wrapper is not None:
        wrapper.CancellablePool = Pool


class DeepaasWorker:
    """One process; ``warm`` is the first thing it does, where it is given."""

    def __init__(self, threads: int, warm: Callable[[], Any] | None = None) -> None:
        # spawned: forking a process that has threads may deadlock the child
        context = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(
            1, mp_context=context, initializer=_begin, initargs=(threads,)
        )
        self._begun: Future[Any] = self._executor.submit(warm or os.getpid)

    async def ready(self, seconds: float) -> None:
        """Wait until the process is there, and warm. Raises BrokenProcessPool where it cannot be,
        or is not within ``seconds``.
        """
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(asyncio.wrap_future(self._begun))
        except TimeoutError as error:
            raise BrokenProcessPool(f"not warm within {seconds:g} s") from error
        except BrokenProcessPool:
            raise
        except Exception:  # a model that cannot be loaded: the request is told why
            LOG.exception("a worker is not warm")

    async def run(self, work: Callable[[], Any]) -> Any:
        """Raises BrokenProcessPool where the process died, else what ``work`` raises."""
        return await asyncio.wrap_future(self._executor.submit(work))

    def end(self) -> None:
        """End the process, whatever it is at."""
        kill_all(self._executor)
        self._executor.shutdown(wait=False, cancel_futures=True)


class Pool:
    """``max_workers`` processes, each one request at a time; DEEPaaS calls ``apply``."""

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
        """Run DEEPaaS's call of ``warm``, ``predict`` or ``train`` where it belongs."""
        if getattr(work.func, "__name__", "") == "train":
            return _done(await train_apart(work.keywords))
        if not work.args:  # DEEPaaS wraps predictions, and hands them over as an argument
            self._warm = work
            return _done(await self._run(work))
        if self._inside >= self._service.max_waiting:
            raise web.HTTPServiceUnavailable(
                headers={"Retry-After": str(RETRY_S)},
                **error_body("full", f"{self._inside} predictions run or wait; try again"),
            )
        self._inside += 1
        # less DEEPaaS's wrapper, which would load all of DEEPaaS into the worker
        function, *more = work.args
        predict = functools.partial(function, *more, **work.keywords)
        try:
            output = await self._run(predict)
        finally:
            self._inside -= 1
        return _done(deliverable(output))

    async def _run(self, work: Callable[[], Any]) -> Any:
        for _ in range(TRIES):  # one that died idle is not the work's fault
            with contextlib.suppress(BrokenProcessPool):
                return await self._run_once(work)
        message = f"its worker died {TRIES} times; send fewer files, or report it"
        raise web.HTTPInternalServerError(**error_body("worker_died", message))

    async def _run_once(self, work: Callable[[], Any]) -> Any:
        worker, usable = await self._idle.get(), False
        seconds = self._service.max_seconds
        try:
            await worker.ready(self._start_s)  # a fresh one's start is not the request's time
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
            usable = True  # the work's own: the process is as good as before
            raise
        finally:
            self._idle.put_nowait(worker if usable else self._instead_of(worker))

    async def _watch(self) -> None:
        """For ever: ask idle workers, to replace one that is dead, stopped or hangs in time."""
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
            self._idle.put_nowait(worker if usable else self._instead_of(worker))

    def _instead_of(self, worker: DeepaasWorker) -> DeepaasWorker:
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
    """What an idle worker is asked, to see whether it still is one."""


def _begin(threads: int) -> None:
    """In a new worker: its share of the threads; signals are the parent's; no life after it."""
    os.environ[variable("jobs")] = str(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


async def train_apart(given: Mapping[str, Any]) -> dict[str, Any]:
    """Begin a training in a process of its own, and tell of it when it has ended.

    Cancelled while it begins, which a large upload takes its time for, it ends at once.
    """
    service = Service.from_environ()
    begun = asyncio.ensure_future(asyncio.to_thread(TRAININGS.begin, given, service))
    try:
        await asyncio.shield(begun)
    except asyncio.CancelledError:  # a thread cannot be: it begins all the same
        return await asyncio.shield(asyncio.ensure_future(_outcome(begun, cancel=True)))
    except Pi10Error:
        pass  # told below
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
    # str() of a time at a whole second lacks what DEEPaaS parses
    return {"output": output, "finish_date": f"{datetime.now():%Y-%m-%d %H:%M:%S.%f}"}
