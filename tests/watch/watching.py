"""Support for tests: a watcher in a thread, and a clock that a test moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import support

from pi10_classifier.classify import Run, Settings
from pi10_classifier.watch.watcher import Plan, watch

BEGIN = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)


class Clock:
    """Each look at it is so many seconds later: minutes pass as work goes on."""

    def __init__(self, step_s: float = 1.0) -> None:
        self._now, self._step = BEGIN, timedelta(seconds=step_s)

    def __call__(self) -> datetime:
        self._now += self._step
        return self._now


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

    def stop(self) -> None:
        self._stop = True
        self._thread.join(120)

    def end(self) -> Run:
        self.stop()
        assert self.error is None
        assert self.run
        return self.run


def same_results(out: Path, other: Path) -> None:
    """Equal but for the order of rows and failures, which is that of arrival."""
    mine, yours = support.rows_of(out), support.rows_of(other)
    key = [(row["particle_id"], row["member"]) for row in mine]
    assert key == [(row["particle_id"], row["member"]) for row in yours]
    for row, like in zip(mine, yours, strict=True):
        for name, value in row.items():
            # a batch of another size may round a score otherwise
            near = pytest.approx(like[name], abs=1e-5) if isinstance(value, float) else like[name]
            assert value == near, (row["member"], name)
    for name in ("counts.csv", "bins.csv"):
        assert (out / name).read_text() == (other / name).read_text()
    failures = [sorted(map(str, support.csv_of(o / "failures.csv"))) for o in (out, other)]
    assert failures[0] == failures[1]


def incoming(folder: Path) -> Path:
    """A bin as a tar, one as a folder, loose images, and defects among them."""
    support.write_tar(folder / "2024-06-24/1450.tar", support.bin_members(60))
    later = support.START.replace(hour=15, minute=0)
    members = support.bin_members(90, later, 1)
    members[support.name_of(900, later)] = support.particle(1)[:500]
    members["Cameralog.txt"] = b"ok"
    support.write_folder(folder / "2024-06-24/1500", members)
    support.write_folder(folder, {"a b+%2B\u00e9.tif": support.particle(5), "empty.tif": b""})
    return folder
