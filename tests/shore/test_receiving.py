"""The receiver as a process: what it accepts, refuses, keeps once, and keeps through a kill."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shore_fleet import Shore, make_line, token_of, write_tokens

from pi10_classifier.errors import Code, OutputError, SettingError
from pi10_classifier.shore.receiver.lines import minute_text, parse
from pi10_classifier.shore.receiver.sqlite import SqliteDatabase
from pi10_classifier.shore.receiver.store import Post, Store

NOW = int(time.time()) // 60
A, B = "aaaaaaaa", "bbbbbbbb"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    return write_tokens(folder / "tokens", ["endeavour", "explorer", "silent"])


@pytest.fixture(scope="module")
def home(new_place: Callable[[], Any]) -> Any:
    """Where the store of the module's shore is."""
    return new_place()


@pytest.fixture(scope="module")
def shore(home: Any, tokens: Path) -> Iterator[Shore]:
    with home.shore(tokens) as process:
        yield process


def stored(home: Any, source: str) -> list[int]:
    rows = home.rows(
        "select l.seq from lines l join sources s on l.source = s.source "
        f"where id = '{source}' order by l.seq"
    )
    return [seq for (seq,) in rows]


def hourly(home: Any) -> list[tuple[object, ...]]:
    tables = ("densities", "images", "hours", "flags", "track")
    return [row for name in tables for row in home.rows(f"select * from {name} order by 1, 2, 3")]


def test_lines_are_kept_once_in_any_order_and_days_late(shore: Shore, home: Any) -> None:
    lines = [make_line(A, seq, NOW - 9000 + seq) for seq in range(1, 11)]
    assert shore.send("endeavour", *lines[5:])[1]["accepted"] == 5
    assert shore.send("endeavour", *lines[:7])[1] == {
        "accepted": 5, "repeated": 2, "refused": 0, "reasons": [],
    }  # fmt: skip
    before = hourly(home)
    assert shore.send("endeavour", *lines)[1]["repeated"] == 10
    assert (stored(home, A), hourly(home)) == (list(range(1, 11)), before)


def test_only_a_ships_own_token_opens_its_lines(shore: Shore, home: Any) -> None:
    line = make_line("cccccccc", 1, NOW)
    assert shore.send("", line, token="x" * 20)[0] == 401
    assert shore.ask("/lines", line.encode())[0] == 401
    assert shore.ask("/lines", line.encode(), {"Authorization": token_of("explorer")})[0] == 401
    assert stored(home, "cccccccc") == []
    assert shore.send("endeavour", line)[0] == 200
    status, answer = shore.send(
        "explorer", make_line("dddddddd", 1, NOW), make_line("cccccccc", 2, NOW)
    )
    assert (status, answer["error"]["code"]) == (403, "foreign_source")
    assert stored(home, "dddddddd") == []  # nothing of the request: the ship keeps all of it


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (make_line(B, 1, NOW + 600), "ahead of this receiver's clock"),
        (make_line(B, 1, 5000), "before any Pi-10"),
        ("[]", "no JSON object"),
        ("{", "no JSON"),
        ('{"seq":1}', "id, minute, model, n is missing"),
        (make_line(B, 1, NOW, n={"a": -1}), "whole number"),
        (make_line(B, 1, NOW, n={"a": 10**12 + 1}), "0 to 1,000,000,000,000"),
        (make_line(B, 1, NOW, n={"\ud800": 1}), "no name of a class"),
        (make_line("../../..", 1, NOW), "eight hexadecimal digits"),
        (make_line(B, 1, NOW, density={"a": [68, 9, 1, 10]}), "raised count"),
        (make_line(B, 1, NOW, density={"a": [68, 2, 3, 4]}), "outside its own limits"),
        (make_line(B, 1, NOW, density={"a": [1e400, 2, 3, 4]}), "Infinity"),
        (make_line(B, 1, NOW, at=[91, 0]), "no position on Earth"),
        (make_line(B, 1, NOW, trouble="x" * 3000), "longer than 2000 bytes"),
    ],
)  # fmt: skip
def test_a_bad_line_is_refused_with_a_reason_and_blocks_no_other(
    shore: Shore, home: Any, line: str, reason: str
) -> None:
    sound = make_line(A, 1, NOW - 8999)
    status, answer = shore.send("endeavour", line, sound)
    assert (status, answer["refused"], answer["repeated"]) == (200, 1, 1)
    assert reason in answer["reasons"][0]
    kept = [json.loads(text) for (text,) in home.rows("select line from refused")]
    assert line.encode("utf-8", "replace").decode() in kept


def test_another_line_of_the_same_minute_or_number_is_refused(shore: Shore, home: Any) -> None:
    first = make_line(B, 1, NOW - 100)
    assert shore.send("explorer", first)[1]["accepted"] == 1
    forged = [make_line(B, 1, NOW - 50), make_line(B, 2, NOW - 100)]
    answer = shore.send("explorer", *forged)[1]
    assert "has the number 1" in answer["reasons"][0]
    assert "has the minute" in answer["reasons"][1]
    assert stored(home, B) == [1]


def test_sizes_are_limited(shore: Shore) -> None:
    bearer = {"Authorization": f"Bearer {token_of('explorer')}"}
    assert shore.ask("/lines", b" " * 300_000, bearer)[0] == 413
    assert shore.ask("/lines", b"x\n" * 1500, bearer)[0] == 413


def test_lines_of_one_request_may_repeat_each_other(shore: Shore, home: Any) -> None:
    one, other = make_line("12121212", 1, NOW - 60), make_line("12121212", 2, NOW - 60)
    same_number = make_line("12121212", 1, NOW - 59)
    assert shore.send("explorer", one, other, one, same_number)[1] == {
        "accepted": 1, "repeated": 1, "refused": 2,
        "reasons": [
            f"another line of 12121212 has the minute {minute_text(NOW - 60)}",
            "another line of 12121212 has the number 1",
        ],
    }  # fmt: skip
    assert stored(home, "12121212") == [1]


def test_a_second_shore_on_the_store_is_refused(shore: Shore, home: Any, tokens: Path) -> None:
    with pytest.raises(AssertionError, match="another pi10 shore writes to"):
        home.shore(tokens)


def test_what_was_acknowledged_survives_a_kill(place: Any, tokens: Path) -> None:
    first = place.shore(tokens)
    lines = [make_line(A, seq, NOW - 500 + seq) for seq in range(1, 401)]
    for start in range(0, 400, 50):
        assert first.send("endeavour", *lines[start : start + 50])[0] == 200
    first.kill()
    with place.shore(tokens) as second:
        answer = second.send("endeavour", *lines)[1]
        assert (answer["accepted"], answer["repeated"]) == (0, 400)
        assert second.stop() == 0


def test_a_full_store_is_told_and_keeps_nothing_of_the_request(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path)
    store = Store(database)
    try:
        database.execute("pragma max_page_count = 40")
        with pytest.raises(OutputError) as caught:
            for start in range(1, 1000, 100):
                texts = [make_line(A, seq, NOW - 2000 + seq) for seq in range(start, start + 100)]
                store.enter([Post("explorer", NOW * 60, [parse(text, NOW) for text in texts])])
        assert caught.value.code is Code.DISK_FULL
        assert database.ask("select count(*) % 100 from lines") == [(0,)]
    finally:
        database.close()


def test_a_store_of_another_format_is_told(place: Any) -> None:
    database = place.open()
    Store(database)
    with database.transaction():
        database.execute("update facts set value = '99' where name = 'format'")
    with pytest.raises(SettingError, match="has format 99, and this version reads 1"):
        Store(database)
    database.close()


def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "shore.sqlite").write_text("no database " * 100, "utf-8")
    with pytest.raises(OutputError, match="not a database"):
        SqliteDatabase(tmp_path)


def test_a_failing_disk_acknowledges_nothing(tokens: Path, tmp_path: Path) -> None:
    """A limit on the file's size stands for the disk: writes beyond it fail."""
    options = ("--store", str(tmp_path / "s"), "--tokens", str(tokens))
    statuses = []
    lines = [make_line(A, seq, NOW - 5000 + seq) for seq in range(1, 3001)]
    with Shore(*options, limits="trap '' XFSZ; ulimit -f 500") as full:
        for start in range(0, 3000, 500):
            statuses.append(full.send("endeavour", *lines[start : start + 500])[0])
        assert full.ask("/health")[0] == 503
    assert statuses[0] == 200
    assert statuses[-1] == 503
    with Shore(*options) as roomy:
        answer = roomy.send("endeavour", *lines[:500])[1]
        assert answer["repeated"] == 500
        for start in range(500, 3000, 500):
            answer = roomy.send("endeavour", *lines[start : start + 500])[1]
            taken = 500 * (statuses[start // 500] == 200)
            assert (answer["repeated"], answer["accepted"]) == (taken, 500 - taken)
