"""Work ahead of its use: in order, bounded, and gone with its user."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pi10_classifier.foundation.concurrency import OrderedPool, ordered_map


def test_reading_ahead_is_bounded_and_stops_with_its_user() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(10_000):
            taken.append(i)
            yield i

    results = ordered_map(lambda x: x * x, items(), threads=2)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(taken) <= 5 + 2 * 4 + 1
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_an_error_comes_in_its_turn() -> None:
    results = ordered_map(lambda x: 6 // x, [3, 2, 0, 1], threads=2)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_results_come_in_the_order_of_their_tasks_with_marks_between() -> None:
    pool: OrderedPool[str, int] = OrderedPool(2, window=10)
    release = threading.Event()
    pool.submit("slow", lambda: release.wait(30) and 1)
    pool.submit("quick", lambda: 2)
    pool.add_marker("end")
    assert not pool.is_first_done()
    release.set()
    found = []
    while pool:
        found.append(pool.first())
        pool.drop_first()
    pool.close()
    assert found == [("slow", 1), ("quick", 2), ("end", None)]


def test_a_pool_is_full_by_number_or_by_bytes() -> None:
    pool: OrderedPool[int, None] = OrderedPool(1, window=2, held_bytes=100)
    for number in range(3):
        assert not pool.is_full
        pool.submit(number, lambda: None)
    assert pool.is_full
    pool.drop_first()
    assert not pool.is_full
    pool.submit(3, lambda: None, held_bytes=101)
    pool.drop_first()
    assert pool.is_full, "by its bytes"
    assert pool.tags == [2, 3]
    pool.close()


def test_what_failed_stays_first_until_it_is_dropped() -> None:
    pool: OrderedPool[str, float] = OrderedPool(1, window=2)
    pool.submit("bad", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pool.first()
    assert pool.tags == ["bad"]
    pool.close()
