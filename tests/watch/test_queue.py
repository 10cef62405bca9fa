"""Inputs that wait: each once, a bounded number, files until they have settled."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from pi10_classifier.sources.local import LooseFile
from pi10_classifier.watch.inputs.base import InputVersion
from pi10_classifier.watch.ledger import Entry, Ledger
from pi10_classifier.watch.queue import InputQueue


def found(name: str, version: str = "1") -> InputVersion:
    return InputVersion(name, version, LooseFile(Path(name), name, 1, 1))


def names(taken: list[InputVersion]) -> list[str]:
    return [one.name for one in taken]


def test_each_name_once_until_it_is_done(ledger: Ledger) -> None:
    ledger.enter(Entry(1, "p", [("done", "1", "r"), ("changed", "0", "r")], 0, 0, {}), lambda: None)
    waiting = InputQueue(ledger, 0.0)
    for _ in range(2):
        waiting.offer(map(found, ("a", "done", "changed", "a")), patient=True)
    assert names(waiting.take(10, 1, 0)) == ["a", "changed"]
    waiting.offer([found("a")], patient=True)
    assert waiting.take(10, 1, 0) == []
    assert len(waiting) == 2
    waiting.done(["a", "changed"])
    assert len(waiting) == 0
    waiting.offer([found("a", "2")], patient=True)
    assert names(waiting.take(10, 1, 0)) == ["a"]


def test_settles(ledger: Ledger) -> None:
    waiting = InputQueue(ledger, 0.05)
    waiting.offer([found("a")], patient=True)
    assert waiting.take(10, 1, 0) == []
    assert not waiting.is_drained
    due: list[InputVersion] = []
    while not due:
        due = waiting.due()
    waiting.settle(due[0])
    assert waiting.take(10, 1, 0) == []
    while not (due := waiting.due()):
        pass
    waiting.ready(due[0])
    assert names(waiting.take(10, 1, 0)) == ["a"]
    assert waiting.is_drained


def test_events_are_dropped_and_scans_wait_where_there_is_no_room(ledger: Ledger) -> None:
    waiting = InputQueue(ledger, 0.0, capacity=600)
    waiting.offer((found(f"{n}") for n in range(600)), patient=False)
    waiting.offer([found("event")], patient=False)
    assert waiting.overflowed
    assert len(waiting) == 600
    scan = threading.Thread(target=waiting.offer, args=([found("scan")],), kwargs={"patient": True})
    scan.start()
    first = names(waiting.take(600, 600, 0))
    assert "scan" not in first
    waiting.done(first)
    until = time.monotonic() + 60
    while not (taken := names(waiting.take(10, 1, 0.1))):
        assert time.monotonic() < until
    assert taken == ["scan"]
    scan.join()
    waiting.close()
