"""Requests that break off or are compressed, and a store that goes away under the process."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
from shore_fleet import Shore, make_line, token_of, write_tokens

from pi10_classifier.errors import OutputError
from pi10_classifier.shore.receiver.database import Database
from pi10_classifier.shore.receiver.lines import parse
from pi10_classifier.shore.receiver.receiving import _post
from pi10_classifier.shore.receiver.store import Post, Receipt, Store

NOW = int(time.time()) // 60
A, B = "aaaaaaaa", "bbbbbbbb"
BEARER = {"Authorization": f"Bearer {token_of('endeavour')}"}
HEAD = (
    "POST /lines HTTP/1.1\r\nHost: shore\r\n"
    f"Authorization: Bearer {token_of('endeavour')}\r\n"
)  # fmt: skip


def _options(folder: Path) -> tuple[str, ...]:
    tokens = write_tokens(folder / "tokens", ["endeavour"])
    return "--store", str(folder / "store"), "--tokens", str(tokens)


def _lines(store: Path) -> int:
    with sqlite3.connect(store / "shore.sqlite") as db:
        return int(db.execute("select count(*) from lines").fetchone()[0])


def _told(shore: Shore) -> str:
    """The log of a shore, which this ends."""
    shore.process.terminate()
    return str(shore.process.communicate(timeout=30)[1])


@pytest.mark.parametrize(
    ("header", "beginning"),
    [("Content-Length: 5000", ""), ("Transfer-Encoding: chunked", "1388\r\n"),
     ("Transfer-Encoding: chunked", "zz\r\n")],
    ids=["length", "chunk", "no chunk"],
)  # fmt: skip
def test_a_request_that_breaks_off_is_told_in_a_line(
    tmp_path: Path, header: str, beginning: str
) -> None:
    line = make_line(A, 1, NOW)
    with Shore(*_options(tmp_path)) as shore:
        with socket.create_connection(("127.0.0.1", shore.port), timeout=60) as link:
            link.sendall(f"{HEAD}{header}\r\nExpect: 100-continue\r\n\r\n".encode())
            assert link.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"  # the handler has it
            link.sendall(f"{beginning}{line}\n{line[:90]}".encode())
            link.shutdown(socket.SHUT_WR)
            assert link.recv(4096) == b"", "nobody is there to be answered"
        assert shore.send("endeavour", line)[1]["accepted"] == 1  # nothing was kept before
        told = _told(shore)
    assert told.count("a request of endeavour broke off: nothing of it was kept\n") == 1
    assert "Traceback" not in told


def test_a_body_that_is_no_http_from_the_start_reaches_no_handler(tmp_path: Path) -> None:
    line = make_line(A, 1, NOW)
    with Shore(*_options(tmp_path)) as shore:
        with socket.create_connection(("127.0.0.1", shore.port), timeout=60) as link:
            link.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n{line}\n".encode())
            assert b" 400 " in link.recv(4096)
        assert shore.send("endeavour", line)[1]["accepted"] == 1
        told = _told(shore)
    assert "Error handling request from 127.0.0.1: invalid HTTP (" in told
    assert "broke off" not in told
    assert "Traceback" not in told


def test_what_is_no_http_leaves_no_token_in_the_log(tmp_path: Path) -> None:
    with Shore(*_options(tmp_path)) as shore:
        with socket.create_connection(("127.0.0.1", shore.port), timeout=20) as link:
            link.sendall(f"{HEAD.rstrip()}\x01\r\n\r\n".encode())
            assert b" 400 " in link.recv(4096)
        told = _told(shore)
    assert "Error handling request from 127.0.0.1: invalid HTTP (" in told
    assert "Traceback" not in told
    assert token_of("endeavour") not in told


@pytest.mark.skipif(sys.platform == "win32", reason="no ulimit")
@pytest.mark.parametrize("sent", [HEAD, "GET /health HTTP/1.1\r\nHost: shore\r\n\r\n"],
                         ids=["a head that does not end", "one request"])  # fmt: skip
def test_connections_that_are_held_open_do_not_shut_ships_out(tmp_path: Path, sent: str) -> None:
    """More of them than the process may have files open."""
    tokens = write_tokens(tmp_path / "tokens", ["endeavour"])
    start = (
        "import pathlib, sys\n"
        "from pi10_classifier.shore.server import ShoreSettings, serve\n"
        "store, tokens = map(pathlib.Path, sys.argv[1:])\n"
        "serve(ShoreSettings(store, tokens=tokens, port=0, head_s=1.0, idle_s=1.0), {}, "
        "lambda url: print(url, flush=True))"
    )
    words = [sys.executable, "-c", start, str(tmp_path / "store"), str(tokens)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", 'ulimit -n 64; exec "$@"', "bash", *words],
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    assert process.stdout
    port = int(process.stdout.readline().rpartition(":")[2].strip("/\n"))
    with contextlib.ExitStack() as held:
        held.callback(process.kill)
        for _ in range(100):
            link = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            link.sendall(sent.encode())
        ship = held.enter_context(contextlib.closing(HTTPConnection("127.0.0.1", port, 60)))
        ship.request("POST", "/lines", make_line(A, 1, NOW), BEARER)
        assert ship.getresponse().status == 200
        process.terminate()
        process.communicate(timeout=60)
    told = (tmp_path / "log").read_text("utf-8")
    assert told.count("no more connections can be accepted: Too many open files; see") == 1
    assert "Traceback" not in told


@pytest.mark.parametrize("cut", [0, 20])
def test_a_compressed_body_is_not_taken(tmp_path: Path, cut: int) -> None:
    line = make_line(A, 1, NOW).encode()
    packed = gzip.compress(line)
    with Shore(*_options(tmp_path)) as shore:
        for body in (packed[: len(packed) - cut], b"no gzip", b""):
            headers = BEARER | {"Content-Encoding": "gzip"}
            status, answer, _ = shore.ask("/lines", body, headers)
            assert status == 415, answer
            assert "'gzip'; send it uncompressed" in json.loads(answer)["error"]["message"]
        assert shore.ask("/lines", line, BEARER | {"Content-Encoding": "identity"})[0] == 200
        assert "Traceback" not in _told(shore)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be moved")
def test_a_store_that_was_moved_away_acknowledges_nothing(tmp_path: Path) -> None:
    store, away = tmp_path / "store", tmp_path / "away"
    lines = [make_line(A, seq, NOW - seq) for seq in (1, 2)]
    with Shore(*_options(tmp_path)) as shore:
        assert shore.send("endeavour", lines[0])[0] == 200
        store.rename(away)
        assert shore.send("endeavour", lines[1])[0] == 503
        assert shore.ask("/health")[0] == 503
        assert shore.ask("/api/voyages")[0] == 503
        assert not store.exists()
        away.rename(store)
        assert shore.send("endeavour", lines[1])[0] == 200
        assert shore.ask("/health")[0] == 200
        shutil.rmtree(store)
        assert shore.send("endeavour", make_line(A, 3, NOW - 3))[0] == 503
        told = _told(shore)
    assert "moved, deleted or replaced while pi10 shore runs; stop it, put the file back" in told
    assert "Traceback" not in told
    with Shore(*_options(tmp_path)) as anew:
        assert anew.send("endeavour", *lines)[1]["accepted"] == 2
        assert _lines(store) == 2


def test_no_line_is_refused_for_good_by_a_clock_that_went_back(store: Store) -> None:
    """As after a start without a battery for the clock: all lines would be from the future."""
    line = make_line(A, 1, NOW)
    early = _post("endeavour", make_line(A, 1, NOW + 600).encode())
    assert early and early.ahead and not early.lines
    early.received = 0
    (outcome,) = store.enter([early])
    assert isinstance(outcome, OutputError)
    assert "clock says 1970-01-01T00:00Z, but it is after 20" in outcome.message
    post = _post("endeavour", line.encode())
    assert post and not post.ahead
    assert store.enter([post]) == [Receipt(accepted=1)]
    early.received = (NOW - 100) * 60
    fine = Post("endeavour", early.received, [parse(make_line(A, 2, NOW - 200), NOW)])
    outcome, other = store.enter([early, fine])
    assert isinstance(outcome, OutputError), "it was later when the last line came"
    assert other == Receipt(accepted=1), "what the clock allows is taken"
    early.received = NOW * 60
    (outcome,) = store.enter([early])
    assert isinstance(outcome, Receipt)
    assert len(outcome.refused) == 1, "the ship's clock is wrong, not this one"


@pytest.mark.parametrize("restart", [False, True])
def test_a_receiver_that_was_once_ahead_makes_no_ship_wait_for_good(
    database: Database, *, restart: bool
) -> None:
    """By a year, for one request of each of two ships: one whose clock is right, and one fast."""
    store = Store(database)
    year = NOW + 366 * 24 * 60
    right = Post("endeavour", year * 60, [parse(make_line(A, 1, NOW), year)])
    assert store.enter([right]) == [Receipt(accepted=1)]
    if restart:
        store = Store(database)
    fast = _post("other", make_line(B, 1, NOW + 240).encode())
    assert fast and fast.ahead
    fast.received = (NOW + 1) * 60
    (outcome,) = store.enter([fast])
    assert isinstance(outcome, Receipt), "no line has said that it is later"
    assert len(outcome.refused) == 1

    both = Post("other", year * 60, [parse(make_line(B, 2, NOW + 120), year)])
    assert store.enter([both]) == [Receipt(accepted=1)]
    if restart:
        store = Store(database)
    (outcome,) = store.enter([fast])
    assert isinstance(outcome, OutputError), "both clocks have said that it is later"
    fast.received = (NOW + 120) * 60
    (outcome,) = store.enter([fast])
    assert isinstance(outcome, Receipt), "until it is"
    assert len(outcome.refused) == 1


def test_a_clock_that_went_back_by_little_refuses_no_line_for_good(store: Store) -> None:
    """By so much that a line of this minute seems to be ahead, a while after the last one came."""
    last = Post("endeavour", NOW * 60, [parse(make_line(A, 1, NOW), NOW)])
    assert store.enter([last]) == [Receipt(accepted=1)]
    early = Post("endeavour", (NOW - 56) * 60, [], [("", "ahead")], ahead=True)
    (outcome,) = store.enter([early])
    assert isinstance(outcome, OutputError)
