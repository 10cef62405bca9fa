"""Pairs inputs with their records by two sorted listings, in little memory.

A record's name begins with its input's key, so both listings run side by side. Only keys
that the current name begins with can still get records: a stack of prefixes, however
many millions of keys there are.
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
    """How an input stands under the current model."""

    RESULT = "result"
    FAILURE = "failure"
    RETRY = "retry"
    MISSING = "missing"


@dataclass(slots=True)
class Pair:
    """An input and what lies on the output side for its version and the model.

    stale: records of the same model for an earlier content. attempts: how often it was
    submitted again; ``last_attempt`` when. begun: how many jobs began on it and have not
    ended; ``last_begun`` is the last sign of life of one.
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
        """Result before failure before retry; an archive's result needs all its tables."""
        found = self.names
        if Ending.RESULT in found or (
            Ending.TABLES_RESULT in found and all(table in found for table in TABLES)
        ):
            return PairState.RESULT
        if Ending.FAILURE in found:
            return PairState.FAILURE
        return PairState.RETRY if Ending.RETRY in found else PairState.MISSING

    @property
    def activity(self) -> tuple[int, datetime | None]:
        """What changes where a job on it begins, goes on or ends."""
        return self.begun, self.last_begun

    def litter(self) -> list[str]:
        """Names that say nothing more, now that there is a result or failure."""
        spent = [name for ending, name in self.names.items() if ending.startswith(ATTEMPT)]
        overruled = {
            PairState.RESULT: (Ending.FAILURE, Ending.RETRY),
            PairState.FAILURE: (Ending.RETRY,),
        }.get(self.state)
        if overruled is None:
            return []
        return spent + [self.names[ending] for ending in overruled if ending in self.names]

    def take(self, output: Output, parsed: ResultName, digest: str) -> None:
        """Take up one file of ours that belongs to the input's key."""
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
        """The number of the next submission, 1 to 9: one that no job has begun under."""
        numbers = range(1, MAX_ATTEMPTS + 1)
        unseen = [n for n in numbers if f"{ATTEMPT}{n}{BEGUN}" not in self.names]
        fresh = [n for n in unseen if f"{ATTEMPT}{n}" not in self.names]
        return (fresh or unseen or [MAX_ATTEMPTS])[0]


def pair_of(listed: Listed, outputs: Iterable[Output], identity: str) -> Pair:
    """One input with what of ``outputs`` belongs to it under the model ``identity``."""
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
    orphan: Callable[[Output, ResultName], None] = lambda _, __: None,
) -> Iterator[Pair]:
    """Pair two listings, each in the order of its keys' UTF-8 bytes.

    ``look_up`` lists the outputs whose names begin with a stem, for the few keys whose
    results go by a short form; ``orphan`` is told of files of ours without an input.
    Raises SettingError where a listing is out of order.
    """
    model = identity[:MODEL_DIGITS]
    waiting = _in_order(inputs, lambda entry: entry.version.key, "input")
    ahead = next(waiting, None)
    stack: list[_Open] = []

    def closed_by(key: bytes) -> Iterator[Pair]:
        # what is no prefix of this key is none of any later one either
        while stack and not key.startswith(stack[-1].key):
            yield stack.pop().pair

    def pull() -> Iterator[Pair]:
        nonlocal ahead
        assert ahead is not None  # noqa: S101  callers look first
        raw, listed = ahead
        ahead = next(waiting, None)
        digest = listed.version.digest(identity)
        stem = stem_of(listed.version.key)
        if stem == listed.version.key:
            yield from closed_by(raw)
            stack.append(_Open(raw, Pair(listed), digest))
            return
        yield pair_of(listed, look_up(f"{stem}.pi10."), identity)

    for raw, output in _in_order(outputs, lambda entry: entry.name, "output"):
        while ahead is not None and ahead[0] <= raw:
            yield from pull()
        yield from closed_by(raw)
        parsed = ResultName.parse(output.name)
        if parsed is None or parsed.model != model:
            continue  # another's, or of another model: kept, and none of our business
        key = parsed.stem.encode("utf-8", "surrogateescape")
        mine = next((entry for entry in reversed(stack) if entry.key == key), None)
        if mine is None:
            orphan(output, parsed)
        else:
            mine.pair.take(output, parsed, mine.digest)
    while ahead is not None:
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
                f"the storage lists the {side} side out of order ({raw!r} after {last!r}); "
                "S3 lists by UTF-8 bytes, so this storage cannot be reconciled"
            )
        last = raw
        yield raw, entry
