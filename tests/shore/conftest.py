"""Each kind of store: a folder with SQLite, and a database of a real PostgreSQL server."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import postgresql_server
import pytest
from shore_fleet import Shore

from pi10_classifier.shore.receiver.database import VARIABLE, Database, open_database
from pi10_classifier.shore.receiver.sqlite import FILE
from pi10_classifier.shore.receiver.store import Store

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """Where a store is, and how it is named. server: None for SQLite."""

    folder: Path
    server: postgresql_server.Server | None = None
    name: str = ""

    @property
    def environ(self) -> dict[str, str]:
        return {VARIABLE: self.server.address(self.name)} if self.server else {}

    def open(self) -> Database:
        database = open_database(None if self.server else self.folder, None, self.environ)
        assert database
        return database

    def shore(self, tokens: Path, *options: str, limits: str = "") -> Shore:
        """A process of `pi10 shore` on it."""
        store = () if self.server else ("--store", str(self.folder))
        words = (*store, "--tokens", str(tokens), *options)
        return Shore(*words, limits=limits, environ=self.environ)

    def rows(self, query: str) -> list[Any]:
        """What a query finds, asked beside the shore."""
        if self.server:
            return self.server.sql(self.name, query)
        with closing(sqlite3.connect(self.folder / FILE)) as db, db:
            return db.execute(query).fetchall()


@pytest.fixture(scope="session")
def postgresql_programs() -> Path:
    pytest.importorskip("psycopg", reason="psycopg, the extra [postgres], is not installed")
    programs = postgresql_server.programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian: postgresql)")
    return programs


@pytest.fixture(scope="session")
def postgresql(postgresql_programs: Path) -> Iterator[postgresql_server.Server]:
    with postgresql_server.serve(postgresql_programs) as server:
        yield server


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def new_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Place]:
    """Makes a new, empty place."""

    def make() -> Place:
        folder = tmp_path_factory.mktemp("shore") / "store"
        if request.param == "sqlite":
            return Place(folder)
        server = request.getfixturevalue("postgresql")
        name = f"store{next(_NUMBERS)}"
        server.create(name)
        return Place(folder, server, name)

    return make


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Place:
    return new_place()


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    database = place.open()
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)
