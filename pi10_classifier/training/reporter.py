"""Who is told of a training as it goes: a tracking server, or nobody.

The one hook of ``runs.py``. A reporter must not stop a training: what it cannot deliver
it keeps, and says so by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Reporter(Protocol):
    """One run: of all seeds together, or (``child``) of one of them.

    A training that is resumed calls ``on_start`` anew, and ``on_epoch`` for new epochs alone.
    """

    def on_start(self, params: Mapping[str, Any]) -> None:
        """``params``: what was asked for; mappings may hold mappings (the recipe)."""

    def on_epoch(self, metrics: Mapping[str, float], step: int) -> None:
        """The numbers of epoch ``step``, from 1."""

    def on_end(self, folder: Path, status: str) -> None:
        """The run's folder is as complete as it gets. status: FINISHED, FAILED or KILLED."""

    def child(self, name: str) -> Reporter:
        """The reporter of one seed, nested in this one."""


class Silence:
    """Tells nobody."""

    def on_start(self, params: Mapping[str, Any]) -> None:
        pass

    def on_epoch(self, metrics: Mapping[str, float], step: int) -> None:
        pass

    def on_end(self, folder: Path, status: str) -> None:
        pass

    def child(self, name: str) -> Reporter:
        return self
