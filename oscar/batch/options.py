"""Options and progress of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.batch.in_flight import Patience


class Poster(Protocol):
    """Has a job started with a message."""

    def post(self, body: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    """How to run it.

    workers: how many at a time, asked of the cluster where None. chunk, chunk_bytes: of a
    range, at the most. attempts: after how many lost ranges their first unit is set aside.
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
    """How far a batch is; of this session ``images`` and ``seconds``."""

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
