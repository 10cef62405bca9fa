"""The line that a person at a terminal sees of a watcher."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pi10_classifier.watch.watcher import Status


@contextmanager
def status_line(*, shown: bool) -> Iterator[Callable[[Status], None]]:
    """A live line on standard error; silence where nobody looks on."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield lambda status: live.update(Text(described(status)), refresh=True)


def described(status: Status) -> str:
    """Rate, what waits, the last minute, the link, and what is wrong."""
    said = [f"{status.results:,} done, {status.per_second:,.0f}/s"]
    said.append(f"{'at least ' if status.more else ''}{status.backlog:,} waiting")
    if status.line:
        line = json.loads(status.line)
        counts = ", ".join(f"{count:,} {label}" for label, count in line["n"].items())
        said.append(f"{line['minute'][11:16]} UTC: {counts}")
    if status.link:
        said.append(f"link {status.link}")
    if status.listening not in ("ok", "not yet"):
        said.append(status.listening)
    if status.trouble:
        said.append(status.trouble)
    return " | ".join(said)
