"""A store in one SQLite file, in WAL mode with ``synchronous = full``.

What is committed survives a power cut, and readers never wait for the writer. A lock file holds
off a second process.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pi10_classifier.errors import Code, OutputError, SettingError, output_error
from pi10_classifier.shore.receiver.tables import Types

FILE = "shore.sqlite"


class SqliteDatabase:
    """The file in a folder. Raises SettingError or OutputError where it cannot be opened."""

    remedy = "choose another --store"
    types = Types("integer primary key", "integer", "real", "blob", "without rowid")

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.place = str(self.path)
        self._local = threading.local()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock")
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise SettingError(
                f"another pi10 shore writes to {folder}; stop it, or {self.remedy}"
            ) from error
        except OSError as error:
            raise output_error(error, folder, "--store") from error
        db: sqlite3.Connection | None = None
        try:
            with self._errors():
                db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
                mode = db.execute("pragma journal_mode = wal").fetchone()[0]
                if mode != "wal":
                    raise SettingError(f"--store {folder}: the disk must be a local one (no WAL)")
                db.execute("pragma synchronous = full")
                db.execute("pragma cache_size = -65536")  # 64 MB
                self._opened = self.path.stat()
        except BaseException:
            if db:
                db.close()
            self._lock.release()
            raise
        self._db = db

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._errors():
            self._check_place()
            self._db.execute("begin immediate")
            try:
                yield
                self._check_place()
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise

    def _check_place(self) -> None:
        """Raises OutputError where the file is not at its place any more.

        SQLite would go on writing into a file that was deleted, and lose it at the end.
        """
        try:
            there = os.path.samestat(self.path.stat(), self._opened)
        except OSError:
            there = False
        if not there:
            raise OutputError(
                Code.STORAGE_UNAVAILABLE,
                f"{self.place} was moved, deleted or replaced while pi10 shore runs; stop it, put "
                "the file back with its -wal, then start it",
            )

    def execute(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._db.execute(query, values)

    def executemany(self, query: str, values: Iterable[Sequence[Any]]) -> None:
        self._db.executemany(query, values)

    def ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._errors():
            self._check_place()  # a new connection would make an empty file
            db: sqlite3.Connection | None = getattr(self._local, "db", None)
            if db is None:
                db = self._local.db = sqlite3.connect(self.path, isolation_level=None)
                db.execute("pragma query_only = on")
                db.execute("pragma cache_size = -16384")
            return db.execute(query, values).fetchall()

    def close(self) -> None:
        self._db.close()
        self._lock.release()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into OutputErrors with a remedy."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
            raise OutputError(
                Code.DISK_FULL if full else Code.STORAGE_UNAVAILABLE,
                f"{self.place}: {error}; " + ("free space" if full else "check the disk"),
            ) from error
