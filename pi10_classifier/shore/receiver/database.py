"""What a store asks of its database, and which database a setting names.

Queries are in the SQL that both databases share, with ``?`` for a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.shore.receiver.sqlite import SqliteDatabase
from pi10_classifier.shore.receiver.tables import Types

VARIABLE = "PI10_SHORE_DATABASE"


class Rows(Protocol):
    """What a query gave."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Database(Protocol):
    """A database that this process alone writes to.

    place: what messages call it; it holds no password. remedy: how to name another one.
    """

    place: str
    remedy: str
    types: Types

    def transaction(self) -> AbstractContextManager[None]:
        """Until its end nothing is entered, and then all of it, on disk.

        Raises OutputError; then nothing is known to be entered.
        """

    def execute(self, query: str, values: Sequence[Any] = ()) -> Rows:
        """Within a transaction."""

    def executemany(self, query: str, values: Iterable[Sequence[Any]]) -> None:
        """Within a transaction."""

    def ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query, in any thread, beside the writer. Raises OutputError."""

    def close(self) -> None: ...


def is_named(store: Path | None, database: str | None, environ: Mapping[str, str]) -> bool:
    """Whether there is a store at all. Raises SettingError where there are two."""
    conninfo = database or environ.get(VARIABLE, "").strip()
    if store and conninfo:
        given = "--database" if database else VARIABLE
        raise SettingError(f"--store {store} and {given} are both given; give one of them")
    return bool(store or conninfo)


def open_database(
    store: Path | None, database: str | None, environ: Mapping[str, str]
) -> Database | None:
    """The database in a folder, or the one that a PostgreSQL connection string names.

    database: the argument; without it the variable counts. Raises SettingError or OutputError
    where it cannot be opened; no message holds the string.
    """
    if not is_named(store, database, environ):
        return None
    if store:
        return SqliteDatabase(store)
    try:
        from pi10_classifier.shore.receiver.postgresql import PostgresqlDatabase, names_password
    except ImportError as error:
        raise SettingError(
            f"a PostgreSQL store needs psycopg ({error}); run: {install_command('shore,postgres')}"
        ) from error
    if database and names_password(database, "--database"):
        raise SettingError(
            "--database holds a password, which every user of this machine can read; put the "
            f"connection string into {VARIABLE}, or the password into PGPASSWORD or ~/.pgpass"
        )
    given = "--database" if database else VARIABLE
    return PostgresqlDatabase(database or environ[VARIABLE].strip(), given)
