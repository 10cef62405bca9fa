"""Handles inputs that no longer exist: results of moved ones are removed, of deleted ones kept.

An input was moved where it has a twin under another name: the same bytes, and either the same base
name or the same time. Of two names in one part neither is the older; there, the file's number on
the disk (``inode``) tells a renamed file from a copy. An input that was never read, so that its
bytes are not known, needs the same size, time and base name. Any other missing input was deleted,
such as an archive that was copied ashore to make room. It goes into the table ``away``, and its
results stay as they are.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pi10_classifier.watch.inputs.base import CLOSED, InputVersion

if TYPE_CHECKING:
    from pi10_classifier.watch.ledger import Ledger

AGAIN = "again "  # prefix of the version of an input to be done again once it is seen
COLUMNS = "name, version, part, outcome, content, inode"
_PAGE = 5000

_LIKE_INPUTS = """(
  name text primary key, version text not null, part integer not null, outcome text not null,
  content integer, inode integer
) without rowid"""

TABLES = f"""
create table if not exists away{_LIKE_INPUTS};
create index if not exists away_content on away(content);
create index if not exists away_unread on away(version) where content is null;
create temp table if not exists lost{_LIKE_INPUTS};
create index if not exists temp.lost_content on lost(content);
create index if not exists temp.lost_unread on lost(version) where content is null;
"""

# sidecars (s) share their names and often their bytes, so they need the same time as well; where
# many inputs are the same bytes, a join of each with each would take minutes, so those of one
# version are taken together
_TWINS = """
with i as materialized (
  select name, version, part, content, inode, base_name(name) as base from inputs where {which}
), a as materialized (
  select name, version, part, outcome, content, inode, base_name(name) as base from {gone}
  where content in (select content from i) and name not in (select name from i)
), newest as materialized (
  select content, version, max(part) as part from i group by content, version
), bases as materialized (
  select distinct content, base from i
), files as materialized (
  select distinct content, version, part, inode from i where inode is not null
), bases_of_versions as materialized (
  select distinct content, base, version from i
)
select name from a natural join bases where outcome != 's'
union
select name from a natural join bases_of_versions
union
select a.name from a join newest n on a.content = n.content and a.version = n.version
where a.part < n.part
union
select name from a natural join files
union
select g.name from i cross join {gone} g on g.version in (i.version, '{again}' || i.version)
where g.content is null and g.name != i.name and base_name(g.name) = i.base
"""


def base_name(name: str) -> str:
    """The last part of an input's name."""
    return name.rpartition("/")[2]


class SeenNames:
    """The names that one scan has seen, in eight bytes each, as there may be millions."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._unreadable: list[str] = []

    def record(self, candidates: Iterable[InputVersion]) -> Iterator[InputVersion]:
        """Pass the candidates on and record their names."""
        for candidate in candidates:
            self._hashes.append(hash(candidate.name))
            if candidate.version.startswith(CLOSED):
                self._unreadable.append(f"{candidate.name}/")  # the files in it are not known
            yield candidate

    def missing(self, names: Iterable[Sequence[str]]) -> Iterator[str]:
        """Those of ``names``, given in pages, that the scan would have seen if they existed."""
        import numpy as np

        hashes = (
            np.sort(np.frombuffer(self._hashes, np.int64))
            if self._hashes
            else np.zeros(1, np.int64)
        )
        unreadable = tuple(self._unreadable)
        for page in names:
            keys = np.fromiter(map(hash, page), np.int64, len(page))
            at = np.searchsorted(hashes, keys).clip(max=len(hashes) - 1)
            for number in np.flatnonzero(hashes[at] != keys).tolist():
                if not page[number].startswith(unreadable):
                    yield page[number]


def twins_of(db: sqlite3.Connection, names: Sequence[str]) -> list[str]:
    """Inputs that are gone and have a twin among ``names``."""
    which = f"name in ({','.join('?' * len(names))})"
    query = _TWINS.format(gone="away", which=which, again=AGAIN)
    return [name for (name,) in db.execute(query, names)]


def mark_superseded(db: sqlite3.Connection, names: Sequence[str]) -> int:
    """Mark inputs that are gone for removal from their parts; returns the number of inputs."""
    rows = [(name,) for name in names]
    db.executemany(
        "insert or ignore into superseded select name, part, outcome from away where name = ?", rows
    )
    db.executemany("delete from away where name = ?", rows)
    return len(rows)


def remove_missing(ledger: Ledger, seen_names: SeenNames, is_queued: Callable[[str], bool]) -> None:
    """Handle inputs that a complete scan has not seen: moved or deleted. Raises OutputError.

    is_queued: whether an input of this name is queued or in work, and so handled elsewhere.
    """
    lost = [name for name in seen_names.missing(_names(ledger)) if not is_queued(name)]
    if not lost:
        return
    with ledger.transaction() as db:
        db.execute("delete from lost")
        for name in lost:
            rows = db.execute(f"select {COLUMNS} from inputs where name = ?", (name,)).fetchall()  # noqa: S608  # nosec B608
            # one entered during the scan may have come after the scan had read its folder
            if rows and rows[0][2] not in ledger.new_parts:
                db.execute("insert into lost values (?, ?, ?, ?, ?, ?)", rows[0])
        db.execute("insert or replace into away select * from lost")
        db.execute("delete from inputs where name in (select name from lost)")
        query = _TWINS.format(gone="lost", which="true", again=AGAIN)
        moved = [name for (name,) in db.execute(query)]
        # a file or folder that could not be read has no result to keep
        query = "select name from lost where version like ? or version like ?"
        moved += [name for (name,) in db.execute(query, (f"{CLOSED}%", f"{AGAIN}{CLOSED}%"))]
        superseded = mark_superseded(db, moved)
        db.execute("delete from lost")
    ledger.moved += superseded
    ledger.gone = ledger.count_gone()


def _names(ledger: Ledger) -> Iterator[list[str]]:
    """The names of all inputs that existed at the last scan, in pages."""
    last = ""
    query = "select name from inputs where name > ? order by name limit ?"
    while page := [name for (name,) in ledger.ask(query, (last, _PAGE))]:
        yield page
        last = page[-1]
