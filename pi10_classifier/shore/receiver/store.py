"""The store: each line once, with sums by ship, hour and class kept up to date beside the lines.

Sums are updated in the transaction that enters their lines, so they always agree with them. One
process at a time may write.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256

from pi10_classifier.errors import Code, OutputError, SettingError
from pi10_classifier.shore.receiver.database import Database
from pi10_classifier.shore.receiver.hourly_sums import HourlySums
from pi10_classifier.shore.receiver.lines import EARLIEST, Line, minute_text
from pi10_classifier.shore.receiver.pictures import Picture
from pi10_classifier.shore.receiver.tables import FORMAT, statements

KEPT_PICTURES = 200  # of each ship, the newest
MOST_NUMBER = 2**53
MOST_REFUSED = 10_000  # refused lines that are kept for each ship; others are only counted


class ForeignSourceError(Exception):
    """Lines of an output folder that belongs to another ship's token; the text is the reason."""


@dataclass(slots=True)
class Post:
    """What one request brought: lines or a picture. received: epoch seconds.

    refused: (line, reason). ahead: whether one of these is of a time that has not come.
    """

    ship: str
    received: int
    lines: Sequence[Line]
    refused: list[tuple[str, str]] = field(default_factory=list)
    picture: Picture | None = None
    ahead: bool = False


@dataclass(slots=True)
class Receipt:
    """What became of a post's lines, once they are on disk."""

    accepted: int = 0
    repeated: int = 0
    refused: list[str] = field(default_factory=list)


class Store:
    """Enters lines into a database. Raises SettingError or OutputError where it cannot."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._ships: dict[str, int] = {}
        self._sources: dict[str, tuple[int, int]] = {}
        self._newest = 0
        self._known = False
        with database.transaction():
            self._set_up()
            self._load()

    def _set_up(self) -> None:
        for statement in statements(self._db.types):
            self._db.execute(statement)
        row = self._db.execute("select value from facts where name = 'format'").fetchone()
        if row and row[0] != str(FORMAT):
            raise SettingError(
                f"{self._db.place} has format {row[0]}, and this version reads {FORMAT}; use the "
                f"version that wrote it, or {self._db.remedy}"
            )
        self._db.execute(
            "insert into facts values ('format', ?) on conflict do nothing", (str(FORMAT),)
        )

    def _load(self) -> None:
        """What is known of ships and sources; anew where a transaction failed."""
        self._ships = dict(self._db.execute("select name, ship from ships").fetchall())
        rows = self._db.execute("select id, source, ship from sources").fetchall()
        self._sources = {source_id: (source, ship) for source_id, source, ship in rows}
        query = (
            "select max(case when minute * 60 < received then minute * 60 else received end) "
            "from sources"
        )
        self._newest = self._db.execute(query).fetchone()[0] or 0
        self._known = True

    def enlist(self, ships: Iterable[str]) -> None:
        """Enter ships that may send, so that one that is silent is shown. Raises OutputError."""
        with self._db.transaction():
            self._db.executemany(
                "insert into ships(name) values (?) on conflict do nothing",
                [(ship,) for ship in ships],
            )
            self._load()

    def enter(self, posts: Sequence[Post]) -> list[Receipt | ForeignSourceError | OutputError]:
        """Enter the lines of several requests in one transaction; on disk when it returns.

        Nothing is entered of a request that gets an error. Raises OutputError; then the senders
        must send all of it again.
        """
        try:
            with self._db.transaction():
                if not self._known:
                    self._load()
                sums = HourlySums()
                receipts = [self._enter(post, sums) for post in posts]
                sums.write(self._db)
            return receipts
        except BaseException:
            self._known = False  # numbers given in the transaction are void
            raise

    def _enter(self, post: Post, sums: HourlySums) -> Receipt | ForeignSourceError | OutputError:
        # lines from the future are refused for good, which must not rest on a clock that went back
        if post.ahead and post.received < max(EARLIEST * 60, self._newest):
            return OutputError(
                Code.STORAGE_UNAVAILABLE,
                f"this machine's clock says {minute_text(post.received // 60)}, but it is after "
                f"{minute_text(max(EARLIEST, self._newest // 60))} already; set the clock",
            )
        ship = self._ships.get(post.ship)
        if ship is None:
            query = "insert into ships(name) values (?) returning ship"
            ship = self._ships[post.ship] = self._number_of(query, (post.ship,))
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
        left: list[tuple[int, Line]] = []
        entered = self._enter_lines(post, ship)
        for line in post.lines:
            source = self._source(line, ship, post.received)
            if (source, line.seq, line.minute) in entered:
                entered.remove((source, line.seq, line.minute))  # a repeat of it was not entered
                new[source].append(line)
            else:
                left.append((source, line))
        stored = self._stored(left)
        for source, line in left:
            if stored.get((source, line.seq)) == line.text:
                receipt.repeated += 1
            else:
                refused.append((line.text, _conflict(line, (source, line.seq) in stored)))
        for source, lines in new.items():
            last = max(lines, key=lambda line: line.seq)
            self._db.execute(
                "update sources set seq = case when seq < ? then ? else seq end, "
                "minute = case when minute < ? then ? else minute end, received = ?, "
                "held = held + ? where source = ?",
                (last.seq, last.seq, last.minute, last.minute, post.received, len(lines), source),
            )
            for line in lines:
                sums.add(ship, line)
            receipt.accepted += len(lines)
        if new:
            latest = max(line.minute for lines in new.values() for line in lines)
            # what ship and receiver both say: one clock that was ahead for a while proves nothing
            self._newest = max(self._newest, min(post.received, latest * 60))
        for text, reason in refused:
            self._refuse(ship, post.received, text, reason)
            receipt.refused.append(reason)
        return receipt

    def _enter_lines(self, post: Post, ship: int) -> set[tuple[int, int, int]]:
        """Source, number and minute of the lines that were not there. One statement for all."""
        if not post.lines:
            return set()
        values: list[object] = []
        for line in post.lines:
            source = self._source(line, ship, post.received)
            values += (source, line.seq, line.minute, line.sampled, post.received, line.text)
        query = (
            f"insert into lines values {_rows(6, len(post.lines))} "  # noqa: S608  # nosec B608
            "on conflict do nothing returning source, seq, minute"
        )
        return {tuple(row) for row in self._db.execute(query, values).fetchall()}

    def _stored(self, lines: Sequence[tuple[int, Line]]) -> dict[tuple[int, int], str]:
        """Source and number -> text, of those whose number is taken."""
        stored: dict[tuple[int, int], str] = {}
        for source in {source for source, _ in lines}:
            seqs = [line.seq for owner, line in lines if owner == source]
            query = f"select seq, line from lines where source = ? and seq in {_rows(len(seqs))}"  # noqa: S608  # nosec B608
            rows = self._db.execute(query, (source, *seqs)).fetchall()
            stored |= {(source, seq): text for seq, text in rows}
        return stored

    def _enter_picture(self, ship: int, received: int, picture: Picture) -> Receipt:
        p = picture
        new = self._db.execute(
            "insert into pictures(ship, received, particle, label, score, esd_um, jpeg) "
            "values (?, ?, ?, ?, ?, ?, ?) on conflict do nothing",
            (ship, received, p.particle, p.label, p.score, p.esd_um, p.jpeg),
        ).rowcount
        self._db.execute(
            "delete from pictures where ship = ? and picture not in (select picture from pictures "
            "where ship = ? order by picture desc limit ?)",
            (ship, ship, KEPT_PICTURES),
        )
        return Receipt(accepted=new, repeated=1 - new)

    def _number_of(self, query: str, values: Sequence[object]) -> int:
        return int(self._db.execute(query, values).fetchone()[0])

    def _source(self, line: Line, ship: int, received: int) -> int:
        if line.source not in self._sources:
            number = self._number_of(
                "insert into sources(id, ship, first, seq, minute, received, held) "
                "values (?, ?, ?, 0, 0, ?, 0) returning source",
                (line.source, ship, received, received),
            )
            self._sources[line.source] = (number, ship)
        return self._sources[line.source][0]

    def _number(self, ship: int, text: str) -> None:
        """Note the number of a refused line, so that it is not awaited; of those that have one."""
        with suppress(ValueError, RecursionError, AttributeError, TypeError):
            fields = json.loads(text)
            source, owner = self._sources.get(fields.get("id"), (0, 0))
            seq = fields.get("seq")
            if owner == ship and type(seq) is int and 0 < seq < MOST_NUMBER:
                self._db.execute(
                    "insert into refused_numbers values (?, ?) on conflict do nothing",
                    (source, seq),
                )

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
                "on conflict(ship) do update set times = refused_beyond.times + 1",
                (ship,),
            )
            return
        self._db.execute(
            "insert into refused values (?, ?, ?, ?, ?, 1)",
            (ship, digest, received, reason, json.dumps(kept)),
        )


def _conflict(line: Line, number_taken: bool) -> str:
    if number_taken:
        return f"another line of {line.source} has the number {line.seq}"
    return f"another line of {line.source} has the minute {minute_text(line.minute)}"


def _rows(columns: int, rows: int = 1) -> str:
    """Places for values: ``(?,?),(?,?)``."""
    return ",".join([f"({','.join('?' * columns)})"] * rows)
