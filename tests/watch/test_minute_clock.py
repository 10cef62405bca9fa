"""Minutes as keys, whatever becomes of the clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from watching import BEGIN

from pi10_classifier.watch.minute_clock import FILLED_MINUTES, MINUTE, MinuteClock


class Wall:
    def __init__(self) -> None:
        self.now = BEGIN + timedelta(seconds=30)

    def __call__(self) -> datetime:
        return self.now


def test_every_minute_once() -> None:
    wall = Wall()
    clock = MinuteClock(wall, None)
    assert (clock.current, clock.ended()) == (BEGIN, [])
    wall.now += 3 * MINUTE
    assert clock.ended() == [BEGIN, BEGIN + MINUTE, BEGIN + 2 * MINUTE]
    assert clock.ended() == []
    wall.now -= timedelta(days=400)  # set back: no minute comes twice
    assert clock.ended() == []
    assert clock.current == BEGIN + 3 * MINUTE
    wall.now += timedelta(days=800)  # set forward: not a year of idle lines
    assert clock.ended() == [BEGIN + 3 * MINUTE]
    wall.now += FILLED_MINUTES * MINUTE
    assert len(clock.ended()) == FILLED_MINUTES


def test_goes_on_after_the_last_line() -> None:
    wall = Wall()
    assert MinuteClock(wall, BEGIN - 5 * MINUTE).current == BEGIN
    assert MinuteClock(wall, BEGIN).current == BEGIN + MINUTE
    assert MinuteClock(wall, BEGIN + 9 * MINUTE).current == BEGIN + 10 * MINUTE


def test_a_clock_that_was_set_back_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all later lines would be ahead for good, and refused ashore."""
    wall, passed = Wall(), 0.0
    monkeypatch.setattr("time.monotonic", lambda: passed)
    clock = MinuteClock(wall, None)
    wall.now -= timedelta(hours=2)
    ended = []
    for _ in range(5 * 60):
        passed += 60
        wall.now += MINUTE
        ended += clock.ended()
    assert ended == [BEGIN + number * MINUTE for number in range(len(ended))]
    assert 170 <= len(ended) <= 190, "120 of the first four hours, 60 of the fifth"
    assert abs(clock.current - wall.now) <= MINUTE
