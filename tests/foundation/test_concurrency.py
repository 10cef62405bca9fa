"""Work ahead of its use: in order, bounded, and gone with its user."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pi10_classifier.foundation.concurrency import in_order


def test_reading_ahead_is_bounded_and_stops_with_its_user() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(10_000):
            taken.append(i)
            yield i

    results = in_order(lambda x: x * x, items(), threads=2)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(taken) <= 5 + 2 * 4 + 1
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_an_error_comes_in_its_turn() -> None:
    results = in_order(lambda x: 6 // x, [3, 2, 0, 1], threads=2)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
