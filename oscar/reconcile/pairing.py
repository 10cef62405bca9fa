"""Pairs inputs with their records from two sorted listings, in little memory.

A record's name begins with its input's key, so both listings are read side by side. Only keys
that are a prefix of the current name can still get records. So a small stack of keys is enough,
even for many millions of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.bucket import Listed, Output
from pi10_classifier.oscar.records.naming import (
    ATTEMPT,
    BEGUN,
    MAX_ATTEMPTS,
    MODEL_DIGITS,
    TABLES,
    Ending,
    ResultName,
    stem_of,
)

T = TypeVar("T")


class PairState(StrEnum):
    """The state of an input under the current model."""

    RESULT = "result"
    FAILURE = "failure"
    RETRY = "retry"
    MISSING = "missing"


@dataclass(slots=True)
class Pair:
    """An input and the output files for its version and the model.

    stale: records of the same model for an earlier content. attempts: how often it was submitted
    again, and ``last_attempt`` the last time. begun: how many jobs began on it and have not ended,
    and ``last_begun`` the time of their last heartbeat.
    """

    listed: Listed
    names: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    last_attempt: datetime | None = None
    begun: int = 0
    last_begun: datetime | None = None
    stale: int = 0

    @property
    def state(self) -> PairState:
        """A result outranks a failure, a failure a retry. An archive's result needs all tables."""
        names = self.names
        if Ending.RESULT in names or (
            Ending.TABLES_RESULT in names and all(table in names for table in TABLES)
        ):
            return PairState.RESULT
        if Ending.FAILURE in names:
            return PairState.FAILURE
        return PairState.RETRY if Ending.RETRY in names else PairState.MISSING

    @property
    def activity(self) -> tuple[int, datetime | None]:
        """A value that changes when a job on it begins, continues or ends."""
        return self.begun, self.last_begun

    def litter(self) -> list[str]:
        """Files that are no longer needed, because there is a result or failure."""
        markers = [name for ending, name in self.names.items() if ending.startswith(ATTEMPT)]
        superseded = {
            PairState.RESULT: (Ending.FAILURE, Ending.RETRY),
            PairState.FAILURE: (Ending.RETRY,),
        }.get(self.state)
        if superseded is None:
            return []
        return markers + [self.names[ending] for ending in superseded if ending in self.names]

    def take(self, output: Output, parsed: ResultName, digest: str) -> None:
        """Add one output file that belongs to the input's key."""
        if parsed.version != digest:
            self.stale += not parsed.ending.startswith(ATTEMPT)
            return
        self.names[parsed.ending] = output.name
        if parsed.ending.endswith(BEGUN):
            self.begun += 1
            self.last_begun = max(output.modified, self.last_begun or output.modified)
        elif parsed.ending.startswith(ATTEMPT):
            self.attempts += 1
            self.last_attempt = max(output.modified, self.last_attempt or output.modified)

    @property
    def next_attempt(self) -> int:
        """The number of the next submission, 1 to 9, with which no job has begun."""
        numbers = range(1, MAX_ATTEMPTS + 1)
        unseen = [n for n in numbers if f"{ATTEMPT}{n}{BEGUN}" not in self.names]
        fresh = [n for n in unseen if f"{ATTEMPT}{n}" not in self.names]
        return (fresh or unseen or [MAX_ATTEMPTS])[0]


def pair_of(listed: Listed, outputs: Iterable[Output], identity: str) -> Pair:
    """One input with those of ``outputs`` that belong to it under the model ``identity``."""
    stem, digest = stem_of(listed.version.key), listed.version.digest(identity)
    pair = Pair(listed)
    for output in outputs:
        parsed = ResultName.parse(output.name)
        if parsed and parsed.stem == stem and parsed.model == identity[:MODEL_DIGITS]:
            pair.take(output, parsed, digest)
    return pair


@dataclass(slots=True)
class _Open:
    key: bytes
    pair: Pair
    digest: str


def pairs(
    inputs: Iterable[Listed],
    outputs: Iterable[Output],
    identity: str,
    look_up: Callable[[str], Iterable[Output]],
    unpaired: Callable[[Output, ResultName], None] = lambda _, __: None,
) -> Iterator[Pair]:
    """Pair two listings, each in the order of its keys' UTF-8 bytes.

    ``look_up`` lists the outputs whose names begin with a stem, for the few keys whose results
    have a shortened name. ``unpaired`` is called with each of our output files that has no input.
    Raises SettingError if a listing is out of order.
    """
    model = identity[:MODEL_DIGITS]
    remaining = _in_order(inputs, lambda entry: entry.version.key, "input")
    upcoming = next(remaining, None)
    stack: list[_Open] = []

    def closed_by(key: bytes) -> Iterator[Pair]:
        # a key that is not a prefix of this one is not a prefix of a later one either
        while stack and not key.startswith(stack[-1].key):
            yield stack.pop().pair

    def pull() -> Iterator[Pair]:
        nonlocal upcoming
        assert upcoming is not None  # noqa: S101  callers check it
        raw, listed = upcoming
        upcoming = next(remaining, None)
        digest = listed.version.digest(identity)
        stem = stem_of(listed.version.key)
        if stem == listed.version.key:
            yield from closed_by(raw)
            stack.append(_Open(raw, Pair(listed), digest))
            return
        yield pair_of(listed, look_up(f"{stem}.pi10."), identity)

    for raw, output in _in_order(outputs, lambda entry: entry.name, "output"):
        while upcoming is not None and upcoming[0] <= raw:
            yield from pull()
        yield from closed_by(raw)
        parsed = ResultName.parse(output.name)
        if parsed is None or parsed.model != model:
            continue  # not ours, or of another model: left alone
        key = parsed.stem.encode("utf-8", "surrogateescape")
        match = next((entry for entry in reversed(stack) if entry.key == key), None)
        if match is None:
            unpaired(output, parsed)
        else:
            match.pair.take(output, parsed, match.digest)
    while upcoming is not None:
        yield from pull()
    while stack:
        yield stack.pop().pair


def _in_order(
    entries: Iterable[T], key_of: Callable[[T], str], side: str
) -> Iterator[tuple[bytes, T]]:
    last = b""
    for entry in entries:
        raw = key_of(entry).encode("utf-8", "surrogateescape")
        if raw < last:
            raise SettingError(
                f"the storage lists the {side} folder out of order ({raw!r} after {last!r}), so it "
                "cannot be reconciled; use a storage that lists keys by UTF-8 bytes, as S3 does"
            )
        last = raw
        yield raw, entry
