"""The watcher's SQLite ledger: inputs, parts, and one summary line per minute.

A part's inputs are entered in the same transaction that ends its publication. After a kill at any
moment, the ledger and the parts on disk differ by at most one part, and ``reconcile_parts`` makes
them agree. An input is done where it is entered and its part is on disk.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pi10_classifier.abundance.track import Moment
from pi10_classifier.errors import Code, OutputError, SettingError
from pi10_classifier.instrument.names import BIN_MINUTES, Bin, Rows
from pi10_classifier.watch.inputs.departed import (
    AGAIN,
    COLUMNS,
    TABLES,
    base_name,
    mark_superseded,
    twins_of,
)

FILE = "watch.sqlite"
KEPT_LINES = 100_000  # 69 days
POSITION = "position"  # the fact with the newest fix, as JSON: time, latitude, longitude
_PAGE = 500  # names in one query
_AHEAD = timedelta(hours=1)

_TABLES = """
create table if not exists facts(name text primary key, value text not null) without rowid;
create table if not exists inputs(
  name text primary key, version text not null, part integer not null, outcome text not null,
  content integer, inode integer
) without rowid;
create table if not exists parts(
  id integer primary key autoincrement, stem text not null unique, line integer,
  failed integer not null, skipped integer not null, counts text not null, drift text
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
create table if not exists pictures(
  id integer primary key autoincrement, query text not null, data blob not null
);
create table if not exists lines(seq integer primary key, minute text unique, line text not null);
create index if not exists parts_without_line on parts(line) where line is null;
create index if not exists sampled_without_line on sampled(line) where line is null;
"""


def minute_text(when: datetime) -> str:
    """A minute (UTC) as text, such as ``2024-06-24T14:50:00Z``."""
    return f"{when.replace(tzinfo=None, second=0).isoformat(timespec='minutes')}:00Z"


Counts = dict[tuple[str, str, str], int]
"""Images by bin, minute and label; "" where unknown."""


@dataclass(slots=True)
class Entry:
    """A part to be entered: its inputs as (name, version, outcome), and its counts.

    outcome: r (result), f (failure) or s (skipped) for an image or sidecar, a for an archive. For
    any input g (gone before it was read) or u (could not be read; is tried again after the next
    start). contents: name -> ``WatchedInput.content``, for inputs that were read. inodes: name ->
    the file's number on its disk, where it has one. fix: the newest of the part's. drift: its
    counts in the cells of a reference, as JSON; None without one.
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
    inodes: dict[str, int] = field(default_factory=dict)
    fix: Moment | None = None
    drift: str | None = None


class Ledger:
    """The database, used by one thread at a time; each error of the disk is an OutputError.

    new_parts: numbers of the parts entered since the last scan began. moved: inputs that were
    moved since this start. gone: inputs that no longer exist and whose results are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self.new_parts: set[int] = set()
        self.moved = 0
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
        for table in ("inputs", "away"):  # of before 2027; an older version made them
            held = {row[1] for row in self._db.execute(f"pragma table_info({table})")}
            for column in ("content", "inode") if held else ():
                if column not in held:
                    self._db.execute(f"alter table {table} add column {column} integer")
        if "drift" not in {row[1] for row in self._db.execute("pragma table_info(parts)")}:
            self._db.execute("alter table parts add column drift text")  # of before references
        self._db.executescript(TABLES)
        self._db.execute("insert or ignore into facts values ('id', ?)", (uuid.uuid4().hex[:8],))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """Hold the lock, and turn SQLite's errors into OutputErrors with a remedy."""
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
        """A transaction, rolled back where the block raises. Raises OutputError."""
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
        """A stored value; "" where there is none. Raises OutputError."""
        rows = self.ask("select value from facts where name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def versions_of(self, names: Sequence[str]) -> dict[str, str]:
        """Name -> version, for those of ``names`` that are done. Raises OutputError."""
        versions: dict[str, str] = {}
        for start in range(0, len(names), _PAGE):
            page = names[start : start + _PAGE]
            marks = ",".join("?" * len(page))
            for table in ("inputs", "away"):
                query = f"select name, version from {table} where name in ({marks})"  # noqa: S608  # nosec B608
                versions.update(self.ask(query, page))
        return versions

    def restore(self, names: Sequence[str]) -> None:
        """Mark inputs as present that were thought to be gone. Raises OutputError."""
        marks = ",".join("?" * len(names))
        query = f"select name from away where name in ({marks})"  # noqa: S608  # nosec B608
        restored = [name for (name,) in self.ask(query, names)]
        if restored:
            with self.transaction() as db:
                self._restore(db, restored)
            self.gone = self.count_gone()

    @staticmethod
    def _restore(db: sqlite3.Connection, names: Sequence[str]) -> int:
        marks = ",".join("?" * len(names))
        where = f"from away where name in ({marks})"
        db.execute(f"insert or ignore into inputs select {COLUMNS} {where}", names)  # nosec B608
        return db.execute(f"delete {where}", names).rowcount  # nosec B608

    def count_gone(self) -> int:
        """Number of inputs that no longer exist and whose results are kept."""
        return int(self.ask("select count(*) from away")[0][0])

    def totals(self) -> dict[str, int]:
        """Number of inputs by outcome (letters as in ``Entry``), including those that are gone."""
        every_input = "select outcome from inputs union all select outcome from away"
        return dict(self.ask(f"select outcome, count(*) from ({every_input}) group by outcome"))  # noqa: S608  # nosec B608

    def next_part(self) -> int:
        """The number of the next part."""
        rows = self.ask("select seq from sqlite_sequence where name = 'parts'")
        return int(rows[0][0]) + 1 if rows else 1

    def enter(self, entry: Entry, publish: Callable[[], None]) -> None:
        """Publish a part and enter its inputs; where either fails, nothing is entered.

        publish: makes the part appear on disk; called just before the commit. Raises OutputError.
        """
        names = [name for name, *_ in entry.inputs]
        moved = restored = 0
        with self.transaction() as db:
            self.new_parts.add(entry.number)
            counts = json.dumps(sorted([*key, n] for key, n in entry.counts.items()))
            part = entry.number
            db.execute(
                "insert into parts(id, stem, failed, skipped, counts, drift) "
                "values (?, ?, ?, ?, ?, ?)",
                (part, entry.stem, entry.failed, entry.skipped, counts, entry.drift),
            )
            # mostly nothing is gone, and then no input can be the twin of one that is
            any_gone = db.execute("select exists(select 1 from away)").fetchone()[0]
            for start in range(0, len(names), _PAGE):
                page = names[start : start + _PAGE]
                if any_gone:
                    restored += self._restore(db, page)
                marks = ",".join("?" * len(page))
                db.execute(
                    "insert or ignore into superseded select name, part, outcome from inputs "  # noqa: S608  # nosec B608
                    f"where name in ({marks})",
                    page,
                )
            db.executemany(
                "insert or replace into inputs values (?, ?, ?, ?, ?, ?)",
                (
                    (name, version, part, outcome, entry.contents.get(name), entry.inodes.get(name))
                    for name, version, outcome in entry.inputs
                ),
            )
            for start in range(0, len(names) if any_gone else 0, _PAGE):
                moved += mark_superseded(db, twins_of(db, names[start : start + _PAGE]))
            if db.execute("select exists(select 1 from suspects)").fetchone()[0]:
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
            if entry.fix:
                # as text, times of one form are in order: an older fix does not replace a newer
                # a stored one in the future is of a wrong clock and gives way
                ahead = json.dumps([minute_text(datetime.now(UTC) + _AHEAD)])
                db.execute(
                    "insert into facts values (?, ?) on conflict(name) do update set "
                    "value = excluded.value where excluded.value > value or value > ?",
                    (POSITION, json.dumps(entry.fix), ahead),
                )
            publish()
        if moved or restored:
            self.moved += moved
            self.gone = self.count_gone()

    @staticmethod
    def _sample(db: sqlite3.Connection, folders: set[str]) -> None:
        """Store hits and misses by minute, for folders with exactly one bin."""
        for folder in folders:
            rows = db.execute("select rows from sidecars where folder = ?", (folder,)).fetchall()
            bins = db.execute("select bin from homes where folder = ?", (folder,)).fetchall()
            bin_ = Bin.parse(bins[0][0]) if len(bins) == 1 else None
            if not rows or not bin_:
                continue
            db.executemany(
                "insert into sampled(bin, minute, hits, misses) values (?, ?, ?, ?) "
                "on conflict(bin, minute) do update set hits = excluded.hits, "
                "misses = excluded.misses",
                (
                    (str(bin_), minute_text(bin_.start + timedelta(minutes=number)), *row)
                    for number, row in enumerate(json.loads(rows[0][0])[:BIN_MINUTES])
                    if row  # None: the row is unknown
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
        """Record that a part without the inputs ``gone`` has the counts ``counts``."""
        with self.transaction() as db:
            self._count(db, self._counts_of(db, part), -1)
            self._count(db, counts, 1)
            text = json.dumps(sorted([*key, n] for key, n in counts.items()))
            db.execute("update parts set counts = ? where id = ?", (text, part))
            # only these, as a scan may have added others since
            db.executemany(
                "delete from superseded where part = ? and name = ?", ((part, n) for n in gone)
            )

    def forget(self, part: int, *, empty: bool = False) -> None:
        """Remove a part; its inputs are classified again, unless a newer part has them.

        empty: the part has no inputs, which saves looking for them.
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
        """Make inputs that could not be read be tried again, once a scan finds them."""
        # their version must change here: corrected permissions leave a file's time and size alone
        with self.transaction() as db:
            for table in ("inputs", "away"):
                db.execute(
                    f"update {table} set version = ? || version "  # noqa: S608  # nosec B608
                    "where outcome = 'u' and substr(version, 1, ?) != ?",
                    (AGAIN, len(AGAIN), AGAIN),
                )

    def reconcile_parts(self, on_disk: set[str]) -> set[str]:
        """Forget parts that are not on disk; returns those on disk that were never entered.

        Raises SettingError where these are more than one, which no kill can cause.
        """
        entered = {stem: part for part, stem in self.ask("select id, stem from parts")}
        unknown = on_disk - set(entered)
        if len(unknown) > 1:
            raise SettingError(
                f"{self._path} does not list {len(unknown)} parts in its output folder; they "
                "belong to another run, or the file was replaced; choose another --out"
            )
        for stem in set(entered) - on_disk:
            self.forget(entered[stem])
        return unknown
