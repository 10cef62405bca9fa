"""What all workers are to load: in one after the other, beside requests, kills and hangs."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from worker_pool import once_open, pid_after_a_while, run, unsound_model, until, working

from pi10_classifier.api.predictions.served_model import FOLLOWER
from pi10_classifier.api.server import workers as rooms
from pi10_classifier.api.server.workers import Workers
from pi10_classifier.errors import ModelError


def _prepared(folder: Path) -> bool:
    """Note that this process has begun; True once the file ``go`` is there."""
    (folder / f"began-{os.getpid()}").touch()
    return (folder / "go").exists()


def began(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("began-")) for path in folder.glob("began-*")}


@asynccontextmanager
async def turning(
    folder: Path, seconds: float = 0
) -> AsyncIterator[tuple[Workers, asyncio.Task[None], int]]:
    """Two workers, the turn that has begun on one of them, and the process of that one."""
    async with working(2, seconds=seconds) as workers:
        await until(lambda: workers.ready == 2)
        turn = asyncio.create_task(workers.in_turn(_prepared, folder))
        await until(lambda: bool(began(folder)))
        [first] = began(folder)
        yield workers, turn, first


class TestInTurn:
    """What all workers are to load: one after the other, and no request beside it."""

    def test_one_after_the_other_and_requests_go_to_the_rest(self, tmp_path):
        async def test() -> None:
            async with turning(tmp_path) as (workers, turn, first):
                served = {await workers.apply(os.getpid) for _ in range(10)}
                assert len(served) == 1
                assert first not in served
                assert began(tmp_path) == {first}
                (tmp_path / "go").touch()
                await turn
                assert began(tmp_path) == {first} | served
                # both are back
                both = await asyncio.gather(*(workers.apply(pid_after_a_while) for _ in range(2)))
                assert set(both) == began(tmp_path)

        run(test())

    def test_the_only_worker_goes_on_with_its_requests(self, tmp_path):
        async def test() -> None:
            async with working(1) as workers:
                pid = await workers.apply(os.getpid)
                turn = asyncio.create_task(workers.in_turn(_prepared, tmp_path))
                await until(lambda: bool(began(tmp_path)))
                assert await workers.apply(os.getpid) == pid
                assert not turn.done()
                (tmp_path / "go").touch()
                await turn

        run(test())

    def test_beside_a_bin_single_images_keep_their_worker(self, tmp_path, monkeypatch):
        monkeypatch.setattr(rooms, "IDLE_S", 0.2)
        gate = tmp_path / "open"

        async def test() -> None:
            async with working(2) as workers:
                await until(lambda: workers.ready == 2)
                bulk = asyncio.create_task(workers.apply(once_open, gate, bulk=True))
                await asyncio.sleep(0.1)
                turn = asyncio.create_task(workers.in_turn(_prepared, tmp_path))
                served = {await workers.apply(os.getpid) for _ in range(3)}
                assert not turn.done()
                assert not bulk.done()
                gate.touch()
                (tmp_path / "go").touch()
                await asyncio.gather(bulk, turn)
                assert served < began(tmp_path)

        run(test())

    def test_a_worker_that_dies_meanwhile_is_replaced_and_its_successor_prepared(self, tmp_path):
        async def test() -> None:
            async with turning(tmp_path) as (workers, turn, first):
                os.kill(first, signal.SIGKILL)
                await until(lambda: len(began(tmp_path)) == 2)
                await until(lambda: workers.ready == 2)  # before the turn is over
                (tmp_path / "go").touch()
                await turn
                assert len(began(tmp_path)) == 3
                assert workers.restarts == 1

        run(test())

    def test_a_worker_that_is_stopped_meanwhile_is_replaced(self, tmp_path):
        async def test() -> None:
            async with turning(tmp_path, seconds=3) as (workers, turn, first):
                os.kill(first, signal.SIGSTOP)
                (tmp_path / "go").touch()
                await turn
                assert workers.restarts == 1
                assert first not in {await workers.apply(os.getpid) for _ in range(3)}

        run(test())

    def test_after_an_error_all_serve_again(self):
        async def test() -> None:
            async with working(2) as workers:
                await until(lambda: workers.ready == 2)
                with pytest.raises(ModelError):
                    await workers.in_turn(unsound_model)
                both = await asyncio.gather(*(workers.apply(pid_after_a_while) for _ in range(2)))
                assert len(set(both)) == 2

        run(test())

    def test_a_worker_that_is_warmed_during_a_change_has_the_new_model(self, tmp_path):
        """Its warming began with the model before."""

        async def test() -> None:
            async with working(1, functools.partial(_note_model, tmp_path)) as workers:
                await until(lambda: bool([*tmp_path.glob("model-*")]))
                assert workers.ready == 0
                workers.model_folder = "/new"
                (tmp_path / "go").touch()
                await until(lambda: workers.ready == 1)
                found = [path.name for path in sorted(tmp_path.glob("model-*"))]
                assert found == ["model-None", "model-_new"]

        run(test())


def _note_model(folder: Path) -> None:
    """A warming that notes the model it begins with, and lasts until there is a file ``go``."""
    (folder / f"model-{str(FOLLOWER.told).replace('/', '_')}").touch()
    once_open(folder / "go")
