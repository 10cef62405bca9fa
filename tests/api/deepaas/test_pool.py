"""The pool under ``deepaas-run``: real processes that die, hang and are replaced."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
from aiohttp import web

from pi10_classifier.api.deepaas import pool as rooms
from pi10_classifier.api.deepaas.pool import Pool
from pi10_classifier.api.deepaas.routes import deliverable

# what DEEPaaS wraps a prediction in; the pool takes the call out of it
_WRAP = print


def predict(function: Callable[..., Any], *args: Any, **kwargs: Any) -> functools.partial[Any]:
    return functools.partial(_WRAP, function, *args, **kwargs)


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in [name for name in os.environ if name.startswith("PI10_")]:
        monkeypatch.delenv(name)
    yield monkeypatch


def with_pool(work: Callable[[Pool], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        pool = Pool(max_workers=1)
        try:
            return await work(pool)
        finally:
            pool.shutdown()

    return asyncio.run(run())


def refused(error: web.HTTPException) -> str:
    return str(json.loads(error.text or "{}")["error"]["code"])


def test_a_worker_that_dies_costs_its_request_alone(environ: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool) -> None:
        first = (await pool.apply(predict(os.getpid)))["output"]
        with pytest.raises(web.HTTPInternalServerError) as caught:
            await pool.apply(predict(os._exit, 1))
        assert refused(caught.value) == "worker_died"
        second = (await pool.apply(predict(os.getpid)))["output"]
        assert second not in (first, os.getpid())

    with_pool(work)


def test_a_worker_that_died_idle_costs_nobody_an_answer(environ: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool) -> None:
        first = (await pool.apply(predict(os.getpid)))["output"]
        os.kill(first, signal.SIGKILL)
        second = (await pool.apply(predict(os.getpid)))["output"]
        assert second not in (first, os.getpid())

    with_pool(work)


def test_a_worker_that_takes_too_long_is_replaced(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("PI10_MAX_SECONDS", "6")

    async def work(pool: Pool) -> None:
        first = (await pool.apply(predict(os.getpid)))["output"]
        with pytest.raises(web.HTTPGatewayTimeout) as caught:
            await pool.apply(predict(time.sleep, 600))
        assert refused(caught.value) == "took_too_long"
        with suppress(psutil.NoSuchProcess):  # gone, or ended and not yet fetched
            end = time.monotonic() + 60
            while psutil.Process(first).status() != "zombie":
                assert time.monotonic() < end, "it lives on"
                await asyncio.sleep(0.05)

    with_pool(work)


def test_an_error_of_the_work_leaves_its_worker(environ: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool) -> None:
        first = (await pool.apply(predict(os.getpid)))["output"]
        with pytest.raises(ValueError, match="invalid literal"):
            await pool.apply(predict(int, "x"))
        assert (await pool.apply(predict(os.getpid)))["output"] == first

    with_pool(work)


def test_an_idle_worker_that_is_stopped_is_replaced(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("PI10_MAX_SECONDS", "3")
    environ.setattr(rooms, "WATCH_S", 0.1)

    async def work(pool: Pool) -> None:
        first = (await pool.apply(predict(os.getpid)))["output"]
        os.kill(first, signal.SIGSTOP)
        await asyncio.to_thread(psutil.Process(first).wait, 60)
        assert (await pool.apply(predict(os.getpid)))["output"] != first

    with_pool(work)


def test_more_than_may_wait_are_sent_away(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("PI10_MAX_WAITING", "2")

    async def work(pool: Pool) -> None:
        inside = [asyncio.ensure_future(pool.apply(predict(time.sleep, 1))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(web.HTTPServiceUnavailable) as caught:
            await pool.apply(predict(os.getpid))
        assert refused(caught.value) == "full"
        assert int(caught.value.headers["Retry-After"]) > 0
        await asyncio.gather(*inside)
        assert (await pool.apply(predict(os.getpid)))["output"]

    with_pool(work)


def test_an_answer_that_is_none_of_what_was_asked_for() -> None:
    told = {"predictions": []}
    assert deliverable(told) is told
    assert deliverable(b"x") == b"x"


@pytest.mark.parametrize(
    ("code", "status"),
    [("corrupt_image", 422), ("empty_object", 422), ("disk_full", 507), ("internal", 500),
     ("storage_unavailable", 507), ("model_mismatch", 503)],
)  # fmt: skip
def test_an_answer_that_is_nothing_but_an_error_has_its_status(code: str, status: int) -> None:
    told = {"error": {"code": code}}
    with pytest.raises(web.HTTPException) as caught:
        deliverable(told)
    assert json.loads(caught.value.text or "") == told
    assert caught.value.status == status
