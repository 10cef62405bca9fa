"""What a run changes of its process, and leaves as it was."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import support

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.inference.engine import Engine
from pi10_classifier.inference.pipeline import COLLECT_AFTER, rare_collections
from pi10_classifier.inference.settings import Settings

OWN = (500, 9, 8)  # as a program that uses the library may have set them


@pytest.fixture(autouse=True)
def own_thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*OWN)
    yield
    gc.set_threshold(*before)


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int, int]]:
    """The thresholds that the engine worked under."""
    seen: set[tuple[int, int, int]] = set()
    process = Engine.process

    def watched(self: Engine, *args: object, **options: object) -> object:
        seen.add(gc.get_threshold())
        return process(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "process", watched)
    return seen


def test_a_run_leaves_the_collectors_thresholds(
    start: Callable[..., RunResult], tmp_path: Path, during: set[tuple[int, int, int]]
) -> None:
    start(support.write_tar(tmp_path / "bin.tar", support.bin_members(3)))
    assert during == {(COLLECT_AFTER, *OWN[1:])}
    assert gc.get_threshold() == OWN


def test_a_run_that_is_stopped_leaves_them_too(
    package: Path, tmp_path: Path, during: set[tuple[int, int, int]]
) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    tar = support.write_tar(tmp_path / "bin.tar", support.bin_members(3))
    with pytest.raises(KeyboardInterrupt):
        classify([str(tar)], tmp_path / "out", Settings(model=package, jobs=1), progress=stop)
    assert during
    assert gc.get_threshold() == OWN


def test_a_higher_threshold_stays() -> None:
    gc.set_threshold(10 * COLLECT_AFTER, 5, 5)
    with rare_collections():
        assert gc.get_threshold() == (10 * COLLECT_AFTER, 5, 5)


def test_runs_at_once_leave_those_of_before_the_first() -> None:
    first, second = threading.Event(), threading.Event()

    def run() -> None:
        with rare_collections():
            first.set()
            second.wait(60)

    other = threading.Thread(target=run)
    with rare_collections():
        other.start()
        assert first.wait(60)
    assert gc.get_threshold()[0] == COLLECT_AFTER, "the other run goes on"
    second.set()
    other.join()
    assert gc.get_threshold() == OWN


@pytest.mark.parametrize(("device", "threads"), [("cpu", 2), ("openvino", 3), ("cuda", 3)])
def test_one_thread_more_prepares_images_where_the_others_wait_for_the_network(
    package: Path, device: str, threads: int
) -> None:
    assert Settings(model=package, jobs=2, device=device).threads == threads
