"""The watcher's SQLite ledger: inputs, parts, and one summary line per minute.

A part's inputs are entered in the same transaction that ends its publication. Killed at any
moment, the file and the parts on disk differ by one part at the most, and ``reconcile_parts``
makes them agree: an input is done where it is entered and its part is there.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pi10_classifier.errors import Code, OutputError, SettingError
from pi10_classifier.instrument.names import BIN_MINUTES, Bin, Rows
from pi10_classifier.watch.inputs.departed import AGAIN, COLUMNS, TABLES, base_name, leave, twins_of

FILE = "watch.sqlite"
KEPT_LINES = 100_000  # 69 days
_IN = 500

_TABLES = """
create table if not exists facts(name text primary key, value text not null) without rowid;
create table if not exists inputs(
  name text primary key, version text not null, part integer not null, outcome text not null,
  content integer
) without rowid;
create table if not exists parts(
  id integer primary key autoincrement, stem text not null unique, line integer,
  failed integer not null, skipped integer not null, counts text not null
);
create table if not exists superseded(
  name text, part integer, outcome text not null, primary key(name, part)
);
create table if not exists images(
  bin text, minute text, label text, count integer not null, primary key(bin, minute, label)
) without rowid;
create table if not exists sampled(
  bin text, minute text, hits integer not null, misses integer not null,
  line integer, primary key(bin, minute)
) without rowid;
create table if not exists sidecars(folder text primary key, rows text not null) without rowid;
create table if not exists homes(folder text, bin text, primary key(folder, bin)) without rowid;
create table if not exists suspects(name text primary key, deaths integer) without rowid;
create table if not exists lines(seq integer primary key, minute text unique, line text not null);
create index if not exists parts_without_line on parts(line) where line is null;
create index if not exists sampled_without_line on sampled(line) where line is null;
"""


def minute_text(when: datetime) -> str:
    """A minute (UTC) as journals write it."""
    return f"{when.replace(tzinfo=None, second=0).isoformat(timespec='minutes')}:00Z"


Counts = dict[tuple[str, str, str], int]


@dataclass(slots=True)
class Entry:
    """A part to be entered: its inputs as (name, version, outcome), and what it counts.

    outcome: r, f, s of an image or sidecar (result, failure, skipped), a of an archive;
    of any input g (it was gone) or u (tried in vain: done again after the next start).
    contents: name -> what ``Place.content`` says of those that were read.
    """

    number: int
    stem: str
    inputs: list[tuple[str, str, str]]
    failed: int
    skipped: int
    counts: Counts
    folders: dict[str, set[str]] = field(default_factory=dict)
    hits_misses: dict[str, Rows] = field(default_factory=dict)
    contents: dict[str, int] = field(default_factory=dict)


class Ledger:
    """One connection behind a lock; every error of the disk is an OutputError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self.news: set[int] = set()  # parts that were entered since the last scan began
        self.moved = 0  # inputs that left since this start, for their bytes are elsewhere
        with self._connection():
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            try:
                self._set_up()
            except BaseException:
                self._db.close()
                raise
        self.id = self.fact("id")
        self.gone = self.count_gone()

    def _set_up(self) -> None:
        # not WAL: it needs memory shared by mmap, which network disks lack
        self._db.execute("pragma synchronous = extra")
        self._db.execute("pragma temp_store = memory")
        self._db.create_function("base_name", 1, base_name, deterministic=True)
        self._db.executescript(_TABLES)
        if "content" not in {row[1] for row in self._db.execute("pragma table_info(inputs)")}:
            self._db.execute("alter table inputs add column content integer")  # of before 2027
        self._db.executescript(TABLES)
        self._db.execute("insert or ignore into facts values ('id', ?)", (uuid.uuid4().hex[:8],))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """Hold the lock, and say of SQLite's errors what a user can do."""
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                full = "full" in str(error)
                raise OutputError(
                    Code.DISK_FULL if full else Code.STORAGE_UNAVAILABLE,
                    f"{self._path}: {error}; " + ("free space" if full else "check the disk"),
                ) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. Raises OutputError."""
        with self._connection():
            self._db.execute("begin immediate")
            try:
                yield self._db
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise

    def ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query. Raises OutputError."""
        with self._connection():
            return self._db.execute(query, values).fetchall()

    def fact(self, name: str) -> str:
        rows = self.ask("select value from facts where name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def known(self, names: Sequence[str]) -> dict[str, str]:
        """Name -> version of those that are done."""
        found: dict[str, str] = {}
        for start in range(0, len(names), _IN):
            some = names[start : start + _IN]
            marks = ",".join("?" * len(some))
            for table in ("inputs", "away"):
                query = f"select name, version from {table} where name in ({marks})"  # noqa: S608  # nosec B608
                found.update(self.ask(query, some))
        return found

    def come_back(self, names: Sequence[str]) -> None:
        """These are there: what was thought gone of them no longer is. Raises OutputError."""
        marks = ",".join("?" * len(names))
        query = f"select name from away where name in ({marks})"  # noqa: S608  # nosec B608
        back = [name for (name,) in self.ask(query, names)]
        if back:
            with self.transaction() as db:
                self._back(db, back)
            self.gone = self.count_gone()

    @staticmethod
    def _back(db: sqlite3.Connection, names: Sequence[str]) -> int:
        marks = ",".join("?" * len(names))
        where = f"from away where name in ({marks})"
        db.execute(f"insert or ignore into inputs select {COLUMNS} {where}", names)  # nosec B608
        return db.execute(f"delete {where}", names).rowcount  # nosec B608

    def count_gone(self) -> int:
        """How many inputs are no longer there, whose results are kept."""
        return int(self.ask("select count(*) from away")[0][0])

    def totals(self) -> dict[str, int]:
        """How many inputs ended in what, by ``Entry``'s letters; those that are gone too."""
        both = "select outcome from inputs union all select outcome from away"
        return dict(self.ask(f"select outcome, count(*) from ({both}) group by outcome"))  # noqa: S608  # nosec B608

    def next_part(self) -> int:
        """The number of the part that is entered next."""
        rows = self.ask("select seq from sqlite_sequence where name = 'parts'")
        return int(rows[0][0]) + 1 if rows else 1

    def enter(self, entry: Entry, publish: Callable[[], None]) -> None:
        """Publish a part and enter its inputs; where either fails, neither is done.

        ``publish`` makes the part appear on disk, and is called last before the commit.
        """
        names = [name for name, *_ in entry.inputs]
        moved = back = 0
        with self.transaction() as db:
            self.news.add(entry.number)
            counts = json.dumps(sorted([*key, n] for key, n in entry.counts.items()))
            part = entry.number
            db.execute(
                "insert into parts(id, stem, failed, skipped, counts) values (?, ?, ?, ?, ?)",
                (part, entry.stem, entry.failed, entry.skipped, counts),
            )
            for start in range(0, len(names), _IN):
                some = names[start : start + _IN]
                back += self._back(db, some)
                marks = ",".join("?" * len(some))
                db.execute(
                    "insert or ignore into superseded select name, part, outcome from inputs "  # noqa: S608  # nosec B608
                    f"where name in ({marks})",
                    some,
                )
            db.executemany(
                "insert or replace into inputs values (?, ?, ?, ?, ?)",
                (
                    (name, version, part, outcome, entry.contents.get(name))
                    for name, version, outcome in entry.inputs
                ),
            )
            for start in range(0, len(names), _IN):
                moved += leave(db, twins_of(db, names[start : start + _IN]))
            db.executemany("delete from suspects where name = ?", ((name,) for name in names))
            self._count(db, entry.counts, 1)
            for folder, bins in entry.folders.items():
                db.executemany(
                    "insert or ignore into homes values (?, ?)", ((folder, b) for b in bins)
                )
            for folder, rows in entry.hits_misses.items():
                db.execute(
                    "insert or replace into sidecars values (?, ?)", (folder, json.dumps(rows))
                )
            self._sample(db, {*entry.folders, *entry.hits_misses})
            publish()
        if moved or back:
            self.moved += moved
            self.gone = self.count_gone()

    @staticmethod
    def _sample(db: sqlite3.Connection, folders: set[str]) -> None:
        """Hits and misses by minute, for folders whose bin is known and one."""
        for folder in folders:
            rows = db.execute("select rows from sidecars where folder = ?", (folder,)).fetchall()
            bins = db.execute("select bin from homes where folder = ?", (folder,)).fetchall()
            found = Bin.parse(bins[0][0]) if len(bins) == 1 else None
            if not rows or not found:
                continue
            db.executemany(
                "insert into sampled(bin, minute, hits, misses) values (?, ?, ?, ?) "
                "on conflict(bin, minute) do update set hits = excluded.hits, "
                "misses = excluded.misses",
                (
                    (str(found), minute_text(found.start + timedelta(minutes=number)), *row)
                    for number, row in enumerate(json.loads(rows[0][0])[:BIN_MINUTES])
                    if row  # else nothing is known of the minute
                ),
            )

    @staticmethod
    def _count(db: sqlite3.Connection, counts: Counts, sign: int) -> None:
        db.executemany(
            "insert into images values (?, ?, ?, ?) on conflict(bin, minute, label) "
            "do update set count = count + excluded.count",
            ((*key, sign * n) for key, n in counts.items() if key[0] and key[1]),
        )

    def recount(self, part: int, counts: Counts, gone: Iterable[str]) -> None:
        """A part no longer holds the inputs ``gone``: ``counts`` is what it holds now."""
        with self.transaction() as db:
            self._count(db, self._counts_of(db, part), -1)
            self._count(db, counts, 1)
            text = json.dumps(sorted([*key, n] for key, n in counts.items()))
            db.execute("update parts set counts = ? where id = ?", (text, part))
            # no others: a scan may have added some since
            db.executemany(
                "delete from superseded where part = ? and name = ?", ((part, n) for n in gone)
            )

    def forget(self, part: int, *, empty: bool = False) -> None:
        """Undo a part: its inputs are to be done again, unless a newer part has them.

        empty: it is known to have none, so that they need not be looked for.
        """
        with self.transaction() as db:
            self._count(db, self._counts_of(db, part), -1)
            for table in ("superseded",) if empty else ("inputs", "away", "superseded"):
                db.execute(f"delete from {table} where part = ?", (part,))  # noqa: S608  # nosec B608
            db.execute("delete from parts where id = ?", (part,))

    @staticmethod
    def _counts_of(db: sqlite3.Connection, part: int) -> Counts:
        rows = db.execute("select counts from parts where id = ?", (part,)).fetchall()
        return {(b, m, label): n for b, m, label, n in json.loads(rows[0][0])} if rows else {}

    def try_again(self) -> None:
        """Have what was tried in vain done anew, once a scan finds it."""
        # permissions that were mended leave a file's time and size as they were
        with self.transaction() as db:
            for table in ("inputs", "away"):
                db.execute(
                    f"update {table} set version = ? || version "  # noqa: S608  # nosec B608
                    "where outcome = 'u' and substr(version, 1, ?) != ?",
                    (AGAIN, len(AGAIN), AGAIN),
                )

    def reconcile_parts(self, on_disk: set[str]) -> set[str]:
        """Forget parts that are gone; returns what is on disk and was never entered.

        Raises SettingError where that is more than one part, which no kill leaves behind.
        """
        entered = {stem: part for part, stem in self.ask("select id, stem from parts")}
        unknown = on_disk - set(entered)
        if len(unknown) > 1:
            raise SettingError(
                f"{self._path} does not list {len(unknown)} parts beside it; they are another "
                "run's, or the file was replaced: choose another --out"
            )
        for stem in set(entered) - on_disk:
            self.forget(entered[stem])
        return unknown
