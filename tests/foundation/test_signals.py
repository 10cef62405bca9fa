"""Signals while work is under way: asked once, heeded between two steps."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from pi10_classifier.foundation.signals import SIGNALS, stoppable

both = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A shell that starts the tests in the background has them ignore SIGINT."""
    before = [signal.signal(number, signal.default_int_handler) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    """Signal ourselves and wait until Python has run the handler."""
    signal.raise_signal(number)
    time.sleep(0)


@both
def test_first_signal_waits_for_the_next_check(number: signal.Signals) -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), stoppable() as check:
        check()
        send(number)
        reached.append("the step went on")
        check()
        reached.append("never")
    assert reached == ["the step went on"]


@both
def test_end_of_the_block_is_a_check(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), stoppable():
        send(number)


@both
def test_second_signal_stops_at_once(number: signal.Signals) -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), stoppable():
        send(number)
        reached.append("one")
        send(number)
        reached.append("two")
    assert reached == ["one"]


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with stoppable():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_the_shell_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable() as check:
            send(signal.SIGINT)
            check()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_may_use_it() -> None:
    done = []

    def work() -> None:
        with stoppable() as check:
            check()
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
