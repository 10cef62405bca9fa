"""Shows the watcher's status: a live line at a terminal, plain lines in a log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pi10_classifier.watch.watcher import Status

_LOG_EVERY_S = 60.0


@contextmanager
def status_line(*, shown: bool) -> Iterator[Callable[[Status], None]]:
    """Yield a function that shows a status as a live line on stderr; a no-op if not shown."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield lambda status: live.update(Text(described(status)), refresh=True)


class Log:
    """Plain lines for a log: one at the start, and one for each minute with something new.

    first: the line for the start. It is written once the watcher works, as the error of a refused
    option should come alone.
    """

    def __init__(
        self,
        first: str,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first, self._write, self._clock = first, write, clock
        self._due = clock() + _LOG_EVERY_S
        self._line: str | None = None
        self._results = 0
        self._logged_state = ("ok", "ok", "")
        self._departed = (0, 0)

    def __call__(self, status: Status) -> None:
        if self._first:
            self._write(self._first)
            self._first = ""
        if self._line is None:
            self._line = status.line  # of an earlier start, whose minutes were logged then
        if self._clock() < self._due:
            return
        self._due = self._clock() + _LOG_EVERY_S
        link = status.link.rpartition(", ")[0]
        now = (link or "ok", status.listening, status.trouble)
        fresh, self._results = status.results - self._results, status.results
        failed = skipped = 0
        if status.line and status.line != self._line:
            line = json.loads(status.line)
            failed, skipped = line["failed"], line["skipped"]
            self._line = status.line
        moved, gone = status.moved - self._departed[0], status.gone - self._departed[1]
        self._departed = (status.moved, status.gone)
        if not (fresh or failed or skipped or moved or gone or now != self._logged_state):
            return
        self._logged_state = now
        words = [f"{datetime.now(UTC):%H:%M} UTC: {fresh:,} more images, {status.results:,} in all"]
        if failed:
            words[0] += f", {failed:,} failed"
        words.append(f"{'at least ' if status.more else ''}{status.backlog:,} waiting")
        if moved:
            words.append(f"{moved:,} moved: old names removed")
        if gone:
            words.append(f"{status.gone:,} no longer there: their results are kept")
        words += _state(status)
        self._write(" | ".join(words))


def described(status: Status) -> str:
    """The status as text: rate, backlog, last minute, link and problems."""
    words = [f"{status.results:,} done, {status.per_second:,.0f}/s"]
    words.append(f"{'at least ' if status.more else ''}{status.backlog:,} waiting")
    if status.line:
        line = json.loads(status.line)
        counts = ", ".join(f"{count:,} {label}" for label, count in line["n"].items())
        words.append(f"{line['minute'][11:16]} UTC: {counts}")
    words += _state(status)
    return " | ".join(words)


def _state(status: Status) -> list[str]:
    words = [f"link {status.link}"] if status.link else []
    if status.listening not in ("ok", "not yet"):
        words.append(status.listening)
    if status.trouble:
        words.append(status.trouble)
    return words
