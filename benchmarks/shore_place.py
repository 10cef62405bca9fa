"""The stores of `benchmarks.shore`: a folder or a PostgreSQL server, and how they are filled."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pi10_classifier.shore.receiver.database import VARIABLE, Database, open_database
from pi10_classifier.shore.receiver.lines import minute_text, parse
from pi10_classifier.shore.receiver.sqlite import FILE
from pi10_classifier.shore.receiver.store import Post, Store

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "fixtures")]
import postgresql_server  # noqa: E402

DAY = 1440


@dataclass(frozen=True)
class Place:
    """Where the store is: a folder, or a database of a server that runs for it."""

    home: Path
    server: postgresql_server.Server | None = None

    @property
    def environ(self) -> dict[str, str]:
        return {VARIABLE: self.server.address("shore")} if self.server else {}

    @property
    def words(self) -> list[str]:
        return [] if self.server else ["--store", str(self.home / "store")]

    def open(self) -> Database:
        database = open_database(None if self.server else self.home / "store", None, self.environ)
        assert database
        return database

    def rows(self, query: str) -> list[Any]:
        """What a query finds, asked beside the receiver or without one."""
        if self.server:
            return self.server.sql("shore", query)
        with closing(sqlite3.connect(self.home / "store" / FILE)) as db:
            return db.execute(query).fetchall()

    @property
    def size(self) -> int:
        """Bytes on disk, with indexes, without the server's log."""
        if self.server:
            return int(self.rows("select pg_database_size('shore')")[0][0])
        return (self.home / "store" / FILE).stat().st_size

    @property
    def server_seconds(self) -> float:
        """Processor seconds of the server's processes that live."""
        if not self.server:
            return 0.0
        parent = psutil.Process(self.server.pid)
        every = [parent, *parent.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in every)


def line_of(source: str, seq: int, minute: int) -> str:
    """A line as the watcher makes it, of one sampled minute."""
    fields = {
        "id": source, "seq": seq, "minute": minute_text(minute), "model": "5b9cd020",
        "n": {"copepod": 4772, "detritus": 6896, "noncopepod": 2059}, "failed": 27, "skipped": 1,
        "backlog": 1688, "at": [50.1234, -4.1234, 2], "from": minute_text(minute - 2),
        "minutes": 1, "hits": 12003, "misses": 36009, "weight": 4, "density": {
            "copepod": [16720, 491.8, 478.1, 505.8], "detritus": [24160, 710.6, 694, 727.5],
            "noncopepod": [7212, 212.1, 203.1, 221.4],
        },
    }  # fmt: skip
    return json.dumps(fields, separators=(",", ":"))


def fill(place: Place, ships: int, days: int) -> tuple[int, int]:
    """A store of so many lines; returns the first minute and the one after the last."""
    end = int(time.time()) // 60 // 60 * 60
    start = end - days * DAY
    database = place.open()
    store = Store(database)
    for number in range(ships):
        line = parse(line_of(f"{number:08x}", 1, start), end)
        store.enter([Post(f"ship{number:02d}", start * 60, [line])])
    minutes, hours = days * DAY, days * 24
    series = "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) "
    template = line_of("$$$$$$$$", 987654321, start).replace("987654321", "%SEQ%")
    template = template.replace(minute_text(start), "%NOW%").replace(
        minute_text(start - 2), "%FROM%"
    )
    text_of = (
        "to_char(to_timestamp({}) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI\"Z\"')"
        if place.server else "strftime('%Y-%m-%dT%H:%MZ', {}, 'unixepoch')"
    )  # fmt: skip
    with database.transaction():
        db = _without_places(database)
        for number in range(ships):
            (source,) = db(f"select source from sources where id = '{number:08x}'").fetchone()
            text = template.replace("$$$$$$$$", f"{number:08x}")
            now, sampled = f"({start} + i) * 60", f"({start} + i - 2) * 60"
            db(
                series.format(minutes - 1)
                + f"insert into lines select {source}, i + 1, {start} + i, {start} + i - 2, {now}, "
                f"replace(replace(replace('{text}', '%SEQ%', cast(i + 1 as text)), '%NOW%', "
                f"{text_of.format(now)}), '%FROM%', {text_of.format(sampled)}) from n"
            )
            db(
                f"update sources set seq = {minutes}, held = {minutes}, minute = {end - 1}, "
                f"received = {(end - 1) * 60} where source = {source}"
            )
            print(f"\rfilled {number + 1} of {ships} ships", end="", file=sys.stderr, flush=True)
        _fill_sums(db, series, start // 60, hours, days)
    database.close()
    if place.server:
        place.rows("vacuum analyze")
    print(file=sys.stderr)
    return start, end


def _without_places(database: Database) -> Callable[[str], Any]:
    """Runs a statement as it stands: lines of text may hold ? and %."""
    return database._db.execute


def _fill_sums(db: Callable[[str], Any], series: str, hour: int, hours: int, days: int) -> None:
    """The sums of every hour, from those of the first."""
    for table, columns, values in (
        (
            "densities",
            "ship, hour, label, minutes, raised, variance, largest, litres, squares, unknown",
            "ship, hour + i, label, 60, raised * 60, variance * 60, largest, litres * 60, "
            "squares * 60, 0",
        ),
        ("images", "ship, hour, label, images", "ship, hour + i, label, images * 60"),
        (
            "hours",
            "ship, hour, lines, failed, skipped, backlog, no_density, minutes, hits, misses",
            "ship, hour + i, 60, failed * 60, skipped * 60, backlog, 0, 60, hits * 60, misses * 60",
        ),
    ):
        db(
            series.format(hours - 1)
            + f"insert into {table}({columns}) select {values} from {table}, n "
            f"where hour in ({hour}, {hour - 1}) on conflict do nothing"
        )
    db(
        series.format(days * 144 - 1) + "insert into track select ship, slot + i, minute + 10 * i, "
        "latitude + (i % 700) * 0.01, longitude + (i % 900) * 0.01 from track, n "
        "where true on conflict do nothing"
    )
