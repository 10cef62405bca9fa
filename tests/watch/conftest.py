"""Fixtures of the watcher: watched until all is done, with a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from summary_receiver import Receiver
from watching import Background, Clock, incoming

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.inference.settings import Settings
from pi10_classifier.watch.ledger import Ledger
from pi10_classifier.watch.options import WatchOptions
from pi10_classifier.watch.watcher import watch


@pytest.fixture
def done(package: Path, tmp_path: Path) -> Callable[..., RunResult]:
    """Watch a source into ``tmp_path/out`` until all that is there is done."""

    def run(source: object, out: str = "out", *, model: Path | None = None, step_s: float = 1.0,
            environ: dict[str, str] | None = None,
            emit_line: Callable[[str], None] = lambda _: None,
            **plan: Any) -> RunResult:  # fmt: skip
        settings = Settings(model=model or package, jobs=2)
        chosen = WatchOptions(**{"settle_s": 0.0, "until_idle": True, **plan})
        ended = watch(str(source), tmp_path / out, settings, chosen, emit_line=emit_line,
                      environ=environ or {}, clock=Clock(step_s))  # fmt: skip
        assert ended.tally.adds_up
        return ended

    return run


@pytest.fixture
def whole(package: Path, tmp_path: Path) -> Path:
    """`classify` over the same inputs."""
    classify([str(incoming(tmp_path / "in"))], tmp_path / "whole", Settings(model=package, jobs=2))
    return tmp_path / "whole"


@pytest.fixture
def at_work(package: Path, tmp_path: Path) -> Iterator[Callable[..., Background]]:
    """Start a watcher that goes on until the test ends it."""
    begun: list[Background] = []

    def start(source: object, *, step_s: float = 0.2, environ: dict[str, str] | None = None,
              **plan: Any) -> Background:  # fmt: skip
        settings = Settings(model=package, jobs=2)
        chosen = WatchOptions(**{"settle_s": 0.1, **plan})
        begun.append(Background(str(source), tmp_path / "out", settings, chosen,
                                environ=environ or {}, clock=Clock(step_s)))  # fmt: skip
        return begun[-1]

    yield start
    for background in begun:
        background.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(tmp_path / "watch.sqlite")
    yield found
    found.close()
