"""Fixtures of the watcher: watched until all is done, with a clock that a test moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from summary_receiver import Receiver

from pi10_classifier.classify import Run, Settings
from pi10_classifier.watch.ledger import Ledger
from pi10_classifier.watch.watcher import Plan, watch

BEGIN = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)


class Clock:
    """Each look at it is so many seconds later: minutes pass as work goes on."""

    def __init__(self, step_s: float = 1.0) -> None:
        self._now, self._step = BEGIN, timedelta(seconds=step_s)

    def __call__(self) -> datetime:
        self._now += self._step
        return self._now


@pytest.fixture
def done(package: Path, tmp_path: Path) -> Callable[..., Run]:
    """Watch a source into ``tmp_path/out`` until all that is there is done."""

    def run(source: object, out: str = "out", *, model: Path | None = None, step_s: float = 1.0,
            environ: dict[str, str] | None = None, tell: Callable[[str], None] = lambda _: None,
            **plan: Any) -> Run:  # fmt: skip
        settings = Settings(model=model or package, jobs=2)
        chosen = Plan(**{"settle_s": 0.0, "until_idle": True, **plan})
        ended = watch(str(source), tmp_path / out, settings, chosen, tell=tell,
                      environ=environ or {}, clock=Clock(step_s))  # fmt: skip
        assert ended.tally.adds_up
        return ended

    return run


class Background:
    """A watcher in a thread, as long as a test needs it."""

    def __init__(self, source: str, out: Path, settings: Settings, plan: Plan, **more: Any) -> None:
        self._stop = False
        self.run: Run | None = None
        self.error: Exception | None = None
        self.status: Any = None
        self.lines: list[str] = []

        def check() -> None:
            if self._stop:
                raise KeyboardInterrupt

        def show(status: Any) -> None:
            self.status = status

        def work() -> None:
            try:
                self.run = watch(source, out, settings, plan, check=check, show=show,
                                 tell=self.lines.append, **more)  # fmt: skip
            except Exception as error:
                self.error = error

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def until(self, holds: Callable[[], Any], what: str) -> None:
        """Wait until a condition holds while the watcher is at work."""
        until = time.monotonic() + 120
        while not holds():
            assert self._thread.is_alive(), self.error
            assert time.monotonic() < until, f"waited in vain for {what}; {self.status}"
            time.sleep(0.02)

    def end(self) -> Run:
        self._stop = True
        self._thread.join(120)
        assert self.error is None
        assert self.run
        return self.run


@pytest.fixture
def at_work(package: Path, tmp_path: Path) -> Iterator[Callable[..., Background]]:
    """Start a watcher that goes on until the test ends it."""
    begun: list[Background] = []

    def start(source: object, *, step_s: float = 0.2, environ: dict[str, str] | None = None,
              **plan: Any) -> Background:  # fmt: skip
        settings = Settings(model=package, jobs=2)
        chosen = Plan(**{"settle_s": 0.1, **plan})
        begun.append(Background(str(source), tmp_path / "out", settings, chosen,
                                environ=environ or {}, clock=Clock(step_s)))  # fmt: skip
        return begun[-1]

    yield start
    for background in begun:
        background._stop = True
        background._thread.join(120)


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
