"""The link to a real receiver that is away, refuses, or breaks amid an answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import support
from summary_receiver import Receiver
from watching import BEGIN

from pi10_classifier.classify import RunResult
from pi10_classifier.errors import SettingError
from pi10_classifier.watch import ledger as ledgers
from pi10_classifier.watch.ashore import uplink as links
from pi10_classifier.watch.ashore.minute_summary import LinkState, compose
from pi10_classifier.watch.ashore.uplink import Uplink
from pi10_classifier.watch.ledger import Ledger

NOTHING = LinkState(0, False, "")


def line(ledger: Ledger, number: int) -> str:
    minute = BEGIN + timedelta(minutes=number)
    return compose(ledger, minute, "ab" * 32, ("a", "b"), NOTHING, lambda *_: True)


def wait(holds: Callable[[], Any]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(links, "_LONGEST_WAIT_S", 0.2)


def test_lines_arrive_in_order_through_an_outage(ledger: Ledger, receiver: Receiver) -> None:
    receiver.down()
    link = Uplink(receiver.url, ledger, {"PI10_SUMMARY_TOKEN": "secret"})
    link.start()
    for number in range(150):
        line(ledger, number)
    wait(lambda: "Error" in link.state)
    assert link.waiting == 150
    receiver.up()
    wait(lambda: not link.waiting)
    link.close(10)
    assert receiver.order == list(range(1, 151))
    assert receiver.requests == 3  # sixty lines each
    head = receiver.headers[0]
    assert head["Authorization"] == "Bearer secret"
    assert head["Content-Type"] == "application/x-ndjson"


@pytest.mark.parametrize("answer", [500, 503, 429, 401, 404, 302, "cut"])
def test_what_is_not_acknowledged_is_sent_again(
    ledger: Ledger, receiver: Receiver, answer: int | str
) -> None:
    receiver.answers = [answer] * 3
    line(ledger, 0)
    link = Uplink(receiver.url, ledger, {})
    link.start()
    wait(lambda: not link.waiting)
    link.close(10)
    assert receiver.requests == 4
    assert receiver.repeated == (3 if answer == "cut" else 0)
    assert len(receiver.lines) == 1
    assert "Authorization" not in receiver.headers[0]


@pytest.mark.parametrize("header", ["Content-Encoding: gzip", "Transfer-Encoding: chunked", "X: y"])
def test_any_body_of_an_acknowledgement_will_do(ledger: Ledger, header: str) -> None:
    """One that is no gzip, no chunks, and one that never ends."""
    ended = threading.Event()

    def answer() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode())
            while not ended.wait(0.01):
                connection.sendall(b"<html>" * 1000)
        server.close()

    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=answer)
    thread.start()
    line(ledger, 0)
    link = Uplink(f"http://127.0.0.1:{server.getsockname()[1]}/", ledger, {})
    link.start()
    try:
        wait(lambda: not link.waiting)
    finally:
        ended.set()
        thread.join()
        link.close(10)


@pytest.mark.parametrize(
    ("token", "sent"), [("secret\r\n", "Bearer secret"), ("a\nb", ""), ("é", "")]
)
def test_tokens(ledger: Ledger, receiver: Receiver, token: str, sent: str) -> None:
    """Of a file with ends of lines, and those that no header can hold."""
    if not sent:
        with pytest.raises(SettingError, match="PI10_SUMMARY_TOKEN"):
            Uplink(receiver.url, ledger, {"PI10_SUMMARY_TOKEN": token})
        return
    line(ledger, 0)
    link = Uplink(receiver.url, ledger, {"PI10_SUMMARY_TOKEN": token})
    link.start()
    wait(lambda: not link.waiting)
    link.close(10)
    assert receiver.headers[0]["Authorization"] == sent


def test_too_large_a_request_is_cut(ledger: Ledger, receiver: Receiver) -> None:
    receiver.answers = [413, 413]
    for number in range(60):
        line(ledger, number)
    link = Uplink(receiver.url, ledger, {})
    link.start()
    wait(lambda: not link.waiting)
    link.close(10)
    assert receiver.order == list(range(1, 61))
    assert receiver.requests == 2 + 4


def test_sent_after_a_restart(
    done: Callable[..., RunResult],
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lines of a run whose receiver was away go with the next run's, and none twice."""
    source = support.write_folder(tmp_path / "in", support.bin_members(20))
    receiver.down()
    monkeypatch.setattr("pi10_classifier.watch.watcher._LAST_SEND_S", 0.1)
    done(source, summary_url=receiver.url, step_s=30)
    receiver.up()
    monkeypatch.setattr("pi10_classifier.watch.watcher._LAST_SEND_S", 60.0)
    for _ in range(2):
        done(source, summary_url=receiver.url)
    assert not receiver.missing()
    assert receiver.order == sorted(receiver.order)
    assert receiver.repeated == 0
    assert sum(sum(found["n"].values()) for found in receiver.lines.values()) == 20
    assert receiver.longest < 500


def test_spool_is_bounded_and_says_what_it_dropped(
    ledger: Ledger, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi10_classifier.watch.ashore.minute_summary.KEPT_LINES", 10)
    assert ledgers.KEPT_LINES > 10
    link = Uplink(receiver.url, ledger, {})
    for number in range(25):
        last = line(ledger, number)
    assert json.loads(last)["dropped"] == 15
    assert link.waiting == 10
    link.start()
    wait(lambda: not link.waiting)
    link.close(10)
    for number in range(25, 40):
        last = line(ledger, number)
    assert json.loads(last)["dropped"] == 20  # ten had been sent


@pytest.mark.parametrize("url", ["", "ftp://x/y", "https://", "http://user:pass@x/", "http://x:0/"])
def test_addresses(ledger: Ledger, url: str) -> None:
    with pytest.raises(SettingError, match="PI10_SUMMARY_TOKEN") as caught:
        Uplink(url, ledger, {})
    assert "pass" not in caught.value.message
