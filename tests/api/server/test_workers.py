"""Workers that are killed, hang, cannot be warmed, or are wanted by more than there are."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import time
from pathlib import Path

import pytest
from worker_pool import once_open, pid_after_a_while, run, unsound_model, until, working

from pi10_classifier.api.server import workers as rooms
from pi10_classifier.api.server.workers import TookTooLong, WorkerDied


class Unloadable(Exception):
    """As aiohttp's HTTP exceptions: it can be pickled, and not be loaded again."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)


def unloadable() -> None:
    raise Unloadable("a", "b")


def once_killed(mark: Path) -> str:
    """Kill the process of the first call, succeed in the second."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def test_all_workers_are_warmed_and_share_the_work():
    async def test() -> None:
        async with working(2) as workers:
            await until(lambda: workers.ready == 2)
            pids = await asyncio.gather(*(workers.apply(pid_after_a_while) for _ in range(2)))
            assert len({*pids, os.getpid()}) == 3

    run(test())


def test_work_that_comes_before_a_worker_is_warm_waits_for_it():
    async def test() -> None:
        async with working(1) as workers:
            assert workers.ready == 0
            assert await workers.apply(os.getpid) != os.getpid()

    run(test())


def test_an_idle_worker_that_was_killed_is_replaced_before_it_is_needed():
    async def test() -> None:
        async with working(1) as workers:
            pid = await workers.apply(os.getpid)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: workers.restarts == 1 and workers.ready == 1)
            assert await workers.apply(os.getpid) != pid

    run(test())


def test_an_idle_worker_that_is_stopped_is_not_ready_and_is_replaced(monkeypatch):
    monkeypatch.setattr(rooms, "WATCH_S", 0.1)
    monkeypatch.setattr(rooms, "ANSWER_S", 0.2)

    async def test() -> None:
        async with working(1, seconds=3) as workers:
            pid = await workers.apply(os.getpid)
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: workers.ready == 0 and "does not answer" in workers.problem)
            await until(lambda: workers.restarts == 1 and workers.ready == 1)
            assert await workers.apply(os.getpid) != pid
            assert workers.problem == ""

    run(test())


def test_a_worker_that_was_silent_for_a_while_is_kept(monkeypatch):
    monkeypatch.setattr(rooms, "WATCH_S", 0.1)
    monkeypatch.setattr(rooms, "ANSWER_S", 0.2)

    async def test() -> None:
        async with working(1) as workers:
            pid = await workers.apply(os.getpid)
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: workers.ready == 0)
            os.kill(pid, signal.SIGCONT)
            await until(lambda: workers.ready == 1 and not workers.problem)
            assert await workers.apply(os.getpid) == pid
            assert workers.restarts == 0

    run(test())


def test_a_worker_that_hangs_while_it_warms_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(rooms, "PATIENCE_S", 2)
    monkeypatch.setattr(rooms, "FIRST_PAUSE_S", 0.05)

    async def test() -> None:
        async with working(1, functools.partial(hang_once, tmp_path / "mark")) as workers:
            await until(lambda: "not warm within 2 s" in workers.problem)
            await until(lambda: workers.ready == 1)

    run(test())


def hang_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        time.sleep(600)


def test_work_whose_worker_was_killed_is_done_again_by_another(tmp_path):
    async def test() -> None:
        async with working(1) as workers:
            assert await workers.apply(once_killed, tmp_path / "mark") == "done"
            assert workers.restarts == 1

    run(test())


def test_work_that_kills_every_worker_is_given_up_and_the_next_is_done():
    async def test() -> None:
        async with working(1) as workers:
            with pytest.raises(WorkerDied, match="2 times"):
                await workers.apply(os._exit, 3)
            assert await workers.apply(abs, -5) == 5

    run(test())


def test_workers_that_died_idle_are_not_held_against_the_work(monkeypatch):
    monkeypatch.setattr(rooms, "WATCH_S", 600)

    async def test() -> None:
        async with working(3) as workers:
            await until(lambda: workers.ready == 3)
            for pid in await asyncio.gather(*(workers.apply(pid_after_a_while) for _ in "abc")):
                os.kill(pid, signal.SIGKILL)
            assert await workers.apply(abs, -5) == 5

    run(test())


def test_an_exception_that_cannot_be_loaded_hangs_nobody():
    async def test() -> None:
        async with working(1) as workers:
            with pytest.raises(WorkerDied):
                await workers.apply(unloadable)
            assert await workers.apply(abs, -5) == 5

    run(test())


def test_an_ordinary_exception_is_raised_and_costs_no_worker():
    async def test() -> None:
        async with working(1) as workers:
            pid = await workers.apply(os.getpid)
            with pytest.raises(ValueError, match="invalid literal"):
                await workers.apply(int, "x")
            assert await workers.apply(os.getpid) == pid
            assert workers.restarts == 0

    run(test())


def test_work_that_takes_too_long_is_killed():
    async def test() -> None:
        async with working(1) as workers:
            await until(lambda: workers.ready == 1)
            with pytest.raises(TookTooLong, match=r"0\.3 s"):
                await workers.apply(time.sleep, 60, seconds=0.3)
            assert await workers.apply(abs, -5) == 5
            assert workers.restarts == 1

    run(test())


def test_who_leaves_the_queue_takes_no_worker_with_him():
    async def test() -> None:
        async with working(1) as workers:
            first = asyncio.create_task(workers.apply(time.sleep, 0.5))
            await asyncio.sleep(0.1)
            waiting = asyncio.create_task(workers.apply(time.sleep, 60, bulk=True))
            await asyncio.sleep(0.1)
            waiting.cancel()
            await first
            assert await workers.apply(abs, -5, bulk=True) == 5

    run(test())


def test_who_leaves_amid_the_work_leaves_the_worker_whole():
    async def test() -> None:
        async with working(1) as workers:
            pid = await workers.apply(os.getpid)
            task = asyncio.create_task(workers.apply(time.sleep, 0.5))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await workers.apply(os.getpid) == pid

    run(test())


def test_bulk_work_leaves_a_worker_to_single_images(tmp_path):
    gate = tmp_path / "open"

    async def test() -> None:
        async with working(2) as workers:
            await until(lambda: workers.ready == 2)
            bulk = [asyncio.create_task(workers.apply(once_open, gate, bulk=True)) for _ in "ab"]
            await asyncio.sleep(0.1)
            assert await workers.apply(abs, -5) == 5
            assert not any(task.done() for task in bulk)
            gate.touch()
            await asyncio.gather(*bulk)

    run(test())


def test_a_model_that_cannot_be_loaded_says_so_and_is_tried_again(monkeypatch):
    monkeypatch.setattr(rooms, "FIRST_PAUSE_S", 0.05)

    async def test() -> None:
        async with working(1, unsound_model) as workers:
            await until(lambda: "another SHA-256" in workers.problem)
            assert workers.ready == 0

    run(test())


def test_closing_leaves_no_process_behind():
    async def test() -> int:
        async with working(1) as workers:
            pid: int = await workers.apply(os.getpid)
            busy = asyncio.create_task(workers.apply(time.sleep, 60))
            await asyncio.sleep(0.1)
        with pytest.raises(asyncio.CancelledError):
            await busy
        return pid

    pid = asyncio.run(asyncio.wait_for(test(), 60))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the worker outlives its pool")
