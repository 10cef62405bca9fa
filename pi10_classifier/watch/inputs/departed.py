"""Inputs that are no longer there. What was moved leaves; what was deleted keeps its results.

Moved is what has a twin under another name: the same bytes, and either the same last part of
the name or the same time. What was never read, so that nothing is known of its bytes, needs
the same size, time and last part of the name. All else was deleted, as archives are that were
moved ashore to make room: it is put aside in the table ``away`` with its results untouched.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pi10_classifier.watch.inputs.base import CLOSED, InputVersion

if TYPE_CHECKING:
    from pi10_classifier.watch.ledger import Ledger

AGAIN = "again "  # before the version of what is to be done anew, were it there
COLUMNS = "name, version, part, outcome, content"
_PAGE = 5000

_LIKE_INPUTS = """(
  name text primary key, version text not null, part integer not null, outcome text not null,
  content integer
) without rowid"""

TABLES = f"""
create table if not exists away{_LIKE_INPUTS};
create index if not exists away_content on away(content);
create index if not exists away_unread on away(version) where content is null;
create temp table if not exists lost{_LIKE_INPUTS};
create index if not exists temp.lost_content on lost(content);
create index if not exists temp.lost_unread on lost(version) where content is null;
"""

# of sidecars (s) the name says nothing, and many are alike: they need the time as well
_TWINS = """
select a.name from inputs i cross join {gone} a on a.content = i.content
where {which} and a.name != i.name and (
  (a.outcome != 's' and base_name(a.name) = base_name(i.name))
  or (a.version = i.version and (base_name(a.name) = base_name(i.name) or a.part < i.part))
)
union
select a.name from inputs i cross join {gone} a on a.version in (i.version, '{again}' || i.version)
where {which} and a.content is null and a.name != i.name
  and base_name(a.name) = base_name(i.name)
"""


def base_name(name: str) -> str:
    """The last part of an input's name."""
    return name.rpartition("/")[2]


class Roll:
    """The names that one scan has met: eight bytes each, for there may be millions."""

    def __init__(self) -> None:
        self._met = array("q")
        self._closed: list[str] = []

    def calling(self, found: Iterable[InputVersion]) -> Iterator[InputVersion]:
        """Pass on what is found, and note it."""
        for one in found:
            self._met.append(hash(one.name))
            if one.version.startswith(CLOSED):
                self._closed.append(f"{one.name}/")  # nobody knows what lies in it
            yield one

    def missing(self, names: Iterable[Sequence[str]]) -> Iterator[str]:
        """Those of ``names``, given in pages, that the scan would have met were they there."""
        import numpy as np

        met = np.sort(np.frombuffer(self._met, np.int64)) if self._met else np.zeros(1, np.int64)
        closed = tuple(self._closed)
        for page in names:
            keys = np.fromiter(map(hash, page), np.int64, len(page))
            at = np.searchsorted(met, keys).clip(max=len(met) - 1)
            for number in np.flatnonzero(met[at] != keys).tolist():
                if not page[number].startswith(closed):
                    yield page[number]


def twins_of(db: sqlite3.Connection, names: Sequence[str]) -> list[str]:
    """Inputs that are gone, and of which one of ``names`` is the twin."""
    which = f"i.name in ({','.join('?' * len(names))})"
    query = _TWINS.format(gone="away", which=which, again=AGAIN)
    return [name for (name,) in db.execute(query, [*names, *names])]


def leave(db: sqlite3.Connection, names: Sequence[str]) -> int:
    """Have inputs that are gone taken out of their parts; returns how many they are."""
    rows = [(name,) for name in names]
    db.executemany(
        "insert or ignore into superseded select name, part, outcome from away where name = ?", rows
    )
    db.executemany("delete from away where name = ?", rows)
    return len(rows)


def depart(ledger: Ledger, roll: Roll, waits: Callable[[str], bool]) -> None:
    """Put aside what a whole scan has not met, or have it leave. Raises OutputError.

    waits: whether an input of this name is being done, and is seen to by others.
    """
    lost = [name for name in roll.missing(_names(ledger)) if not waits(name)]
    if not lost:
        return
    with ledger.transaction() as db:
        db.execute("delete from lost")
        for name in lost:
            rows = db.execute(f"select {COLUMNS} from inputs where name = ?", (name,)).fetchall()  # noqa: S608  # nosec B608
            # entered while the scan was at work: it may have come after the scan passed by
            if rows and rows[0][2] not in ledger.news:
                db.execute("insert into lost values (?, ?, ?, ?, ?)", rows[0])
        db.execute("insert or replace into away select * from lost")
        db.execute("delete from inputs where name in (select name from lost)")
        query = _TWINS.format(gone="lost", which="true", again=AGAIN)
        moved = [name for (name,) in db.execute(query)]
        # what could not be looked at has no bytes to keep a result of
        query = "select name from lost where version like ? or version like ?"
        moved += [name for (name,) in db.execute(query, (f"{CLOSED}%", f"{AGAIN}{CLOSED}%"))]
        left = leave(db, moved)
        db.execute("delete from lost")
    ledger.moved += left
    ledger.gone = ledger.count_gone()


def _names(ledger: Ledger) -> Iterator[list[str]]:
    """The names of all inputs that were there when last looked for, in pages."""
    last = ""
    query = "select name from inputs where name > ? order by name limit ?"
    while page := [name for (name,) in ledger.ask(query, (last, _PAGE))]:
        yield page
        last = page[-1]
