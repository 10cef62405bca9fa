"""The options and the progress of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.batch.in_flight import Patience


class Poster(Protocol):
    """Starts jobs: ``post`` sends one a message."""

    def post(self, body: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a batch.

    workers: how many at a time; None asks the cluster. chunk, chunk_bytes: the most units and
    bytes in a range. attempts: a unit is set aside when so many ranges that begin with it are lost.
    """

    workers: int | None = None
    chunk: int | None = None
    chunk_bytes: int = 20 * 2**30
    attempts: int = 3
    poll_s: float = 10.0
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        for name, low in (("workers", 1), ("chunk", 1), ("attempts", 1), ("poll_s", 0.01)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise SettingError(
                    f"--{name.removesuffix('_s')} is {value}; it must be {low} or more"
                )


@dataclass(slots=True)
class Reached:
    """The progress of a batch. ``images`` and ``seconds`` count from the last start."""

    units: int
    units_done: int
    bytes: int
    bytes_done: int
    ranges: int
    lost: int
    failed: int
    images: int
    seconds: float
    eta_s: float | None
