"""The store: each line once, with sums by ship, hour and class kept up to date beside the lines.

One SQLite file in WAL mode with ``synchronous = full``: what is committed survives a power cut,
and readers never wait for the writer. Sums are updated in the transaction that enters their lines,
so they always agree with them. One process at a time may write, held by a lock.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from pi10_classifier.errors import Code, OutputError, SettingError, output_error
from pi10_classifier.shore.receiver.hourly_sums import HourlySums
from pi10_classifier.shore.receiver.lines import Line, minute_text
from pi10_classifier.shore.receiver.pictures import Picture

FILE = "shore.sqlite"
FORMAT = 1
KEPT_PICTURES = 200  # of each ship, the newest
MOST_NUMBER = 2**53
MOST_REFUSED = 10_000  # refused lines that are kept for each ship; others are only counted

# sampled: the first minute that the line reports; its sums belong to the hour of that minute.
# classes: that a model's lines have named. complete: minutes of lines that name all that was there.
# spread: minutes whose squares are known. images, failed ...: of the hour in which they were sent
_TABLES = """
create table if not exists facts(name text primary key, value text not null) without rowid;
create table if not exists ships(ship integer primary key, name text not null unique);
create table if not exists sources(
  source integer primary key, id text not null unique, ship integer not null,
  first integer not null, seq integer not null, minute integer not null,
  received integer not null, held integer not null
);
create index if not exists sources_of_ship on sources(ship);
create table if not exists lines(
  source integer, seq integer, minute integer not null, sampled integer, received integer not null,
  line text not null, primary key(source, seq)
) without rowid;
create unique index if not exists lines_minute on lines(source, minute);
create index if not exists lines_sampled on lines(source, sampled) where sampled is not null;
create table if not exists densities(
  ship integer, hour integer, label text, minutes integer not null, raised real not null,
  variance real not null, largest real not null, litres real not null, squares real not null,
  unknown integer not null, primary key(ship, hour, label)
) without rowid;
create table if not exists images(
  ship integer, hour integer, label text, images integer not null, primary key(ship, hour, label)
) without rowid;
create table if not exists hours(
  ship integer, hour integer, lines integer not null, failed integer not null,
  skipped integer not null, backlog integer not null, no_density integer not null,
  minutes integer not null, hits integer not null, misses integer not null,
  primary key(ship, hour)
) without rowid;
create table if not exists flags(
  ship integer, hour integer, flag text, minutes integer not null, primary key(ship, hour, flag)
) without rowid;
create table if not exists track(
  ship integer, slot integer, minute integer not null, latitude real not null,
  longitude real not null, primary key(ship, slot)
) without rowid;
create table if not exists refused(
  ship integer, digest blob, received integer not null, reason text not null, line text not null,
  times integer not null, primary key(ship, digest)
) without rowid;
create table if not exists classes(
  ship integer, model text, label text, primary key(ship, model, label)
) without rowid;
create table if not exists complete(
  ship integer, model text, hour integer, minutes integer not null, primary key(ship, model, hour)
) without rowid;
create table if not exists refused_beyond(ship integer primary key, times integer not null);
create table if not exists pictures(
  picture integer primary key, ship integer not null, received integer not null,
  particle text not null, label text not null, score real not null, esd_um real,
  jpeg blob not null, unique(ship, particle)
);
create table if not exists refused_numbers(
  source integer, seq integer, primary key(source, seq)
) without rowid;
"""


class ForeignSourceError(Exception):
    """Lines of an output folder that belongs to another ship's token; the text is the reason."""


@dataclass(slots=True)
class Post:
    """What one request brought: lines or a picture. received: epoch seconds.

    refused: (line, reason).
    """

    ship: str
    received: int
    lines: Sequence[Line]
    refused: list[tuple[str, str]] = field(default_factory=list)
    picture: Picture | None = None


@dataclass(slots=True)
class Receipt:
    """What became of a post's lines, once they are on disk."""

    accepted: int = 0
    repeated: int = 0
    refused: list[str] = field(default_factory=list)


class Store:
    """The writer's side of a store. Raises SettingError where it cannot be opened."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock")
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise SettingError(
                f"another pi10 shore writes to {folder}; stop it, or choose another --store"
            ) from error
        except OSError as error:
            raise output_error(error, folder) from error
        db: sqlite3.Connection | None = None
        try:
            with _errors(self.path):
                db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
                self._db = db
                self._set_up()
        except BaseException:
            if db:
                db.close()
            self._lock.release()
            raise
        self._ships: dict[str, int] = {}
        self._sources: dict[str, tuple[int, int]] = {}
        self._load()

    def _set_up(self) -> None:
        mode = self._db.execute("pragma journal_mode = wal").fetchone()[0]
        if mode != "wal":
            raise SettingError(f"--store {self.path.parent}: the disk must be a local one (no WAL)")
        self._db.execute("pragma synchronous = full")
        self._db.execute("pragma cache_size = -65536")  # 64 MB
        self._db.executescript(_TABLES)
        row = self._db.execute("select value from facts where name = 'format'").fetchone()
        if row and int(row[0]) != FORMAT:
            raise SettingError(
                f"{self.path} has format {row[0]}, and this version reads {FORMAT}; use the "
                "version that wrote it, or choose another --store"
            )
        self._db.execute("insert or ignore into facts values ('format', ?)", (str(FORMAT),))

    def _load(self) -> None:
        """What is known of ships and sources; anew where a transaction failed."""
        with _errors(self.path):
            self._ships = dict(self._db.execute("select name, ship from ships").fetchall())
            rows = self._db.execute("select id, source, ship from sources")
            self._sources = {source_id: (source, ship) for source_id, source, ship in rows}

    def close(self) -> None:
        self._db.close()
        self._lock.release()

    def enlist(self, ships: Iterable[str]) -> None:
        """Enter ships that may send, so that one that is silent is shown. Raises OutputError."""
        with self._transaction():
            self._db.executemany(
                "insert or ignore into ships(name) values (?)", ((ship,) for ship in ships)
            )
        self._load()

    def enter(self, posts: Sequence[Post]) -> list[Receipt | ForeignSourceError]:
        """Enter the lines of several requests in one transaction; on disk when it returns.

        Raises OutputError; then nothing of any post is entered.
        """
        try:
            with self._transaction():
                sums = HourlySums()
                receipts = [self._enter(post, sums) for post in posts]
                sums.write(self._db)
            return receipts
        except BaseException:
            self._load()  # numbers given in the transaction are void
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _errors(self.path):
            self._db.execute("begin immediate")
            try:
                yield
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise

    def _enter(self, post: Post, sums: HourlySums) -> Receipt | ForeignSourceError:
        ship = self._ships.get(post.ship)
        if ship is None:
            ship = self._ships[post.ship] = self._insert(
                "insert into ships(name) values (?)", (post.ship,)
            )
        if post.picture:
            return self._enter_picture(ship, post.received, post.picture)
        for source_id in {line.source for line in post.lines}:
            if self._sources.get(source_id, (0, ship))[1] != ship:
                return ForeignSourceError(
                    f"the output folder {source_id} has sent with the token of another ship"
                )
        receipt = Receipt()
        refused = list(post.refused)
        new: dict[int, list[Line]] = defaultdict(list)
        for line in post.lines:
            source = self._source(line, ship, post.received)
            values = (source, line.seq, line.minute, line.sampled, post.received, line.text)
            if self._db.execute(
                "insert or ignore into lines values (?,?,?,?,?,?)", values
            ).rowcount:
                new[source].append(line)
            elif self._holds(source, line):
                receipt.repeated += 1
            else:
                refused.append((line.text, self._conflict(source, line)))
        for source, lines in new.items():
            last = max(lines, key=lambda line: line.seq)
            self._db.execute(
                "update sources set seq = max(seq, ?), minute = max(minute, ?), received = ?, "
                "held = held + ? where source = ?",
                (last.seq, last.minute, post.received, len(lines), source),
            )
            for line in lines:
                sums.add(ship, line)
            receipt.accepted += len(lines)
        for text, reason in refused:
            self._refuse(ship, post.received, text, reason)
            receipt.refused.append(reason)
        return receipt

    def _enter_picture(self, ship: int, received: int, picture: Picture) -> Receipt:
        p = picture
        new = self._db.execute(
            "insert or ignore into pictures(ship, received, particle, label, score, esd_um, jpeg) "
            "values (?, ?, ?, ?, ?, ?, ?)",
            (ship, received, p.particle, p.label, p.score, p.esd_um, p.jpeg),
        ).rowcount
        self._db.execute(
            "delete from pictures where ship = :s and picture not in (select picture from pictures "
            "where ship = :s order by picture desc limit :n)",
            {"s": ship, "n": KEPT_PICTURES},
        )
        return Receipt(accepted=new, repeated=1 - new)

    def _insert(self, query: str, values: Sequence[object]) -> int:
        return int(self._db.execute(query, values).lastrowid or 0)

    def _source(self, line: Line, ship: int, received: int) -> int:
        if line.source not in self._sources:
            number = self._insert(
                "insert into sources(id, ship, first, seq, minute, received, held) "
                "values (?, ?, ?, 0, 0, ?, 0)",
                (line.source, ship, received, received),
            )
            self._sources[line.source] = (number, ship)
        return self._sources[line.source][0]

    def _holds(self, source: int, line: Line) -> bool:
        query = "select line from lines where source = ? and seq = ?"
        row = self._db.execute(query, (source, line.seq)).fetchone()
        return bool(row) and row[0] == line.text

    def _conflict(self, source: int, line: Line) -> str:
        query = "select 1 from lines where source = ? and seq = ?"
        if self._db.execute(query, (source, line.seq)).fetchone():
            return f"another line of {line.source} has the number {line.seq}"
        return f"another line of {line.source} has the minute {minute_text(line.minute)}"

    def _number(self, ship: int, text: str) -> None:
        """Note the number of a refused line, so that it is not awaited; of those that have one."""
        with suppress(ValueError, RecursionError, AttributeError, TypeError):
            fields = json.loads(text)
            source, owner = self._sources.get(fields.get("id"), (0, 0))
            seq = fields.get("seq")
            if owner == ship and type(seq) is int and 0 < seq < MOST_NUMBER:
                self._db.execute("insert or ignore into refused_numbers values (?, ?)",
                                 (source, seq))  # fmt: skip

    def _refuse(self, ship: int, received: int, text: str, reason: str) -> None:
        self._number(ship, text)
        kept = text[:4000]
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
        updated = self._db.execute(
            "update refused set times = times + 1 where ship = ? and digest = ?", (ship, digest)
        ).rowcount
        if updated:
            return
        query = "select count(*) from refused where ship = ?"
        if self._db.execute(query, (ship,)).fetchone()[0] >= MOST_REFUSED:
            self._db.execute(
                "insert into refused_beyond values (?, 1) "
                "on conflict(ship) do update set times = times + 1",
                (ship,),
            )
            return
        self._db.execute(
            "insert into refused values (?, ?, ?, ?, ?, 1)",
            (ship, digest, received, reason, json.dumps(kept)),
        )


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into OutputErrors with a remedy."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        raise OutputError(
            Code.DISK_FULL if full else Code.STORAGE_UNAVAILABLE,
            f"{path}: {error}; " + ("free space" if full else "check the disk"),
        ) from error
