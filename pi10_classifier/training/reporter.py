"""The interface of reporters, which follow the progress of a training, e.g. for tracking.

``run.py`` and the search call them. A reporter must not stop a training: if it cannot deliver
something, it stores it and emits a warning itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol


class Reporter(Protocol):
    """The reporter of one run: of all seeds together or, as ``child``, of one seed.

    A resumed training calls ``on_start`` again, but ``on_epoch`` only for new epochs.
    """

    def on_start(self, params: Mapping[str, Any]) -> None:
        """``params``: the requested settings, which may be nested (the recipe)."""

    def on_epoch(self, metrics: Mapping[str, float], step: int) -> None:
        """The numbers of epoch ``step``, from 1."""

    def on_end(self, folder: Path, status: str) -> None:
        """The run has ended and its folder is final. status: FINISHED, FAILED or KILLED."""

    def on_done_before(self, folder: Path, params: Mapping[str, Any]) -> None:
        """Called instead of the other methods if the folder was complete before this process."""

    def child(self, name: str) -> Reporter:
        """The reporter of one seed, nested in this one; nothing is reported before its start."""


class NullReporter:
    """A reporter that does nothing."""

    def on_start(self, params: Mapping[str, Any]) -> None:
        pass

    def on_epoch(self, metrics: Mapping[str, float], step: int) -> None:
        pass

    def on_end(self, folder: Path, status: str) -> None:
        pass

    def on_done_before(self, folder: Path, params: Mapping[str, Any]) -> None:
        pass

    def child(self, name: str) -> Reporter:
        return self


@contextmanager
def reported(reporter: Reporter, folder: Path, params: Mapping[str, Any]) -> Iterator[None]:
    """Report the start and the end of a piece of work."""
    reporter.on_start(params)
    try:
        yield
    except KeyboardInterrupt:
        reporter.on_end(folder, "KILLED")
        raise
    except BaseException:
        reporter.on_end(folder, "FAILED")
        raise
    reporter.on_end(folder, "FINISHED")
