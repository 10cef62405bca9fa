"""A store in PostgreSQL: what the server refuses, and a server that goes away or is full."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import postgresql_server
import pytest
from shore_fleet import Shore, make_line, write_tokens

from pi10_classifier.errors import Code, ExitCode, OutputError, Pi10Error, SettingError
from pi10_classifier.shore.receiver.database import VARIABLE, open_database
from pi10_classifier.shore.receiver.lines import parse
from pi10_classifier.shore.receiver.store import Post, Receipt, Store
from pi10_classifier.shore.voyages.ships import Reader

NOW = int(time.time()) // 60
A = "aaaaaaaa"
LINES = [make_line(A, seq, NOW - 500 + seq) for seq in range(1, 401)]


@pytest.fixture(scope="module")
def server(postgresql_programs: Path) -> Iterator[postgresql_server.Server]:
    """A server of this module alone, which may be stopped."""
    with postgresql_server.serve(postgresql_programs) as server:
        yield server


def cut_off(server: postgresql_server.Server, name: str) -> None:
    """End every session of a database."""
    query = "select pg_terminate_backend(pid) from pg_stat_activity where datname = "
    server.sql("postgres", f"{query}'{name}'")


def post(*texts: str) -> Post:
    return Post("endeavour", NOW * 60, [parse(text, NOW) for text in texts])


def accepted(store: Store, *texts: str) -> int:
    (receipt,) = store.enter([post(*texts)])
    assert isinstance(receipt, Receipt)
    return receipt.accepted


def refusal(conninfo: str, given: str | None = None, kind: type[Pi10Error] = SettingError) -> str:
    with pytest.raises(kind) as caught:
        open_database(None, given, {VARIABLE: conninfo} if conninfo else {})
    shown = [str(caught.value)]
    cause = caught.value.__context__
    while cause:
        shown.append("" if caught.value.__suppress_context__ else str(cause))
        cause = cause.__context__
    assert "s3cret" not in "".join(shown)
    return shown[0]


def test_what_the_server_refuses_is_told_without_the_password(
    server: postgresql_server.Server,
) -> None:
    told = refusal(server.address(password="s3cretword"))
    assert "password authentication failed" in told
    assert "check the user, password and database" in told
    assert f"the PostgreSQL server at 127.0.0.1:{server.port} refuses" in told
    assert 'database "nobodys" does not exist' in refusal(server.address("nobodys"))
    with_encoding = server.create("latin", "encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'")
    assert "has the encoding LATIN1; create it with encoding UTF8" in refusal(with_encoding)
    server.sql("postgres", "create user guest password 's3cretword'")
    server.create("strangers")
    guest = server.address("strangers").replace(
        f"{postgresql_server.USER}:{server.password}", "guest:s3cretword"
    )
    database = open_database(None, None, {VARIABLE: guest})
    assert database
    try:
        with pytest.raises(OutputError, match=r"permission denied.*the owner of the database"):
            Store(database)
    finally:
        database.close()
    nowhere = f"{server.address('strangers')}?options=-csearch_path%3Dnowhere"
    database = open_database(None, None, {VARIABLE: nowhere})
    assert database
    try:
        with pytest.raises(OutputError, match=r"no schema .*; create the schema that the"):
            Store(database)
    finally:
        database.close()


def test_what_is_no_connection_string_is_told_without_showing_it(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    assert "PI10_SHORE_DATABASE is no connection string" in refusal("user s3cret")
    assert "--database is no connection string" in refusal("", "user s3cret")
    assert "put the connection string into PI10_SHORE_DATABASE" in refusal(
        "", "postgresql://a:s3cret@127.0.0.1:1/b"
    )
    for odd in ("postgresql://a:x@s3cret@127.0.0.1/b", "postgresql://a:x/s3cret@127.0.0.1/b"):
        assert "PI10_SHORE_DATABASE has a bare @ or /" in refusal(odd)
    assert "a port that is no number" in refusal("host=127.0.0.1 port=s3cret")
    with pytest.raises(SettingError, match="are both given") as caught:
        open_database(tmp_path, None, {VARIABLE: "postgresql://a:s3cret@127.0.0.1:1/b"})
    assert "s3cret" not in str(caught.value)


def test_a_server_that_cannot_be_reached_is_told_in_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    for address, told in (
        ("postgresql://a:s3cret@127.0.0.1:1/b", "127.0.0.1:1 (connection refused)"),
        ("postgresql://a:s3cret@no.such.invalid/b", "no.such.invalid:5432"),
        (f"host={tmp_path} dbname=b password=s3cret", f"{tmp_path}, port 5432 (no such file"),
    ):
        message = refusal(address, kind=OutputError)
        assert f"PI10_SHORE_DATABASE: no PostgreSQL server answers at {told}" in message
        assert message.endswith("; start it, or correct the address and its options")
        assert len(message) < 160 + len(str(tmp_path))
    with pytest.raises(OutputError) as caught:
        open_database(None, "postgresql://a@127.0.0.1:1/b", {})
    assert caught.value.code is Code.STORAGE_UNAVAILABLE


def test_at_the_start_tokens_come_before_the_server(tmp_path: Path) -> None:
    """What is wrong with the options is told before a server is sought; its lack exits with 5."""
    pytest.importorskip("psycopg")
    tokens = write_tokens(tmp_path / "tokens", ["endeavour"])
    command = [sys.executable, "-m", "pi10_classifier", "shore"]
    environ = {**os.environ, VARIABLE: "postgresql://a:s3cretword@127.0.0.1:1/b"}
    for options, code, words in (
        ([], ExitCode.USAGE, "no ship may send: give --tokens FILE"),
        (["--tokens", str(tokens)], ExitCode.NOT_WRITTEN, "no PostgreSQL server answers"),
    ):
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=120, check=False,
            env=environ,
        )  # fmt: skip
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert done.stderr.count("\n") == 1 and "s3cretword" not in done.stderr


def test_without_the_library_the_extra_is_named(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", ["endeavour"])
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from pi10_classifier.cli import main\n"
        f"sys.argv[1:] = ['shore', '--database', 'postgresql://a@b/c', '--tokens', {str(tokens)!r}]"
        "\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "a PostgreSQL store needs psycopg" in done.stderr
    assert "shore,postgres" in done.stderr


def test_a_server_that_goes_away_loses_no_line(
    server: postgresql_server.Server, tmp_path: Path
) -> None:
    """Stopped, and then crashed in the middle of lines, under a shore that goes on."""
    environ = {VARIABLE: server.create("away")}
    tokens = write_tokens(tmp_path / "tokens", ["endeavour"])
    with Shore("--tokens", str(tokens), environ=environ) as shore:
        assert shore.send("endeavour", *LINES[:100])[0] == 200
        for first, how in ((100, signal.SIGINT), (200, signal.SIGQUIT)):
            server.stop(how)
            assert shore.send("endeavour", *LINES[first : first + 100])[0] == 503
            assert shore.ask("/health")[0] == 503
            status, body, _ = shore.ask("/api/voyages")
            assert (status, body) == (503, b"the receiver's store cannot be read")
            server.start()
            told = shore.send("endeavour", *LINES[: first + 100])
            assert told[0] == 200
            assert (told[1]["accepted"], told[1]["repeated"]) == (100, first)
            assert shore.ask("/health")[0] == 200
        cut_off(server, "away")
        told = shore.send("endeavour", *LINES[200:])
        assert (told[0], told[1]["accepted"], told[1]["repeated"]) == (200, 100, 100)
        (voyage,) = shore.get("/api/voyages")["voyages"]
        assert (voyage["name"], voyage["missing"]) == ("endeavour", 0)
        assert server.sql("away", "select sum(lines), count(*) from hours") == [
            (400, len({(NOW - 500 + seq) // 60 for seq in range(-1, 401)}))
        ]
        shore.process.terminate()
        _, log = shore.process.communicate(timeout=60)
    assert "could not be stored: database away on 127.0.0.1" in log
    assert server.password not in log


def test_numbers_of_a_transaction_that_failed_are_void(
    server: postgresql_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server goes away within it, also for the reading anew of what it knows."""
    database = open_database(None, None, {VARIABLE: server.create("void")})
    assert database
    store = Store(database)
    execute = type(database).execute

    def cut(self: object, query: str, values: object = ()) -> object:
        if query.startswith("insert into lines"):
            cut_off(server, "void")
        return execute(database, query, values)  # type: ignore[arg-type]

    try:
        with monkeypatch.context() as patch:
            patch.setattr(type(database), "execute", cut)
            with pytest.raises(OutputError, match="check the database server"):
                store.enter([post(LINES[0])])
        # the numbers that were given are given to another ship first
        other = make_line("bbbbbbbb", 1, NOW - 9)
        store.enter([Post("mallory", NOW * 60, [parse(other, NOW)])])
        assert accepted(store, *LINES[:3]) == 3
        names = {ship.name: ship.state().missing for ship in Reader(database).ships()}
        assert names == {"endeavour": 0, "mallory": 0}
    finally:
        database.close()


def test_a_shore_that_lost_its_lock_enters_nothing(server: postgresql_server.Server) -> None:
    environ = {VARIABLE: server.create("lock")}
    first = open_database(None, None, environ)
    assert first
    store = Store(first)
    assert accepted(store, LINES[0]) == 1
    cut_off(server, "lock")
    second = open_database(None, None, environ)
    assert second
    assert accepted(Store(second), LINES[1]) == 1
    with pytest.raises(OutputError, match="another pi10 shore writes to database lock"):
        store.enter([post(LINES[2])])
    second.close()
    assert accepted(store, *LINES[:3]) == 1
    first.close()


def test_a_full_disk_of_the_server_is_told(server: postgresql_server.Server) -> None:
    """The file of the lines becomes a link to a device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    environ = {VARIABLE: server.create("brim")}
    database = open_database(None, None, environ)
    assert database
    Store(database)
    database.close()
    ((relative,),) = server.sql("brim", "select pg_relation_filepath('lines')")
    path = server.data / str(relative)
    server.stop()
    path.unlink()
    path.symlink_to("/dev/full")
    server.start()
    database = open_database(None, None, environ)
    assert database
    store = Store(database)
    with pytest.raises(OutputError, match="free space on the server's disk") as caught:
        store.enter([post(*LINES[:50])])
    assert caught.value.code is Code.DISK_FULL
    assert database.ask("select count(*) from sources") == [(0,)]
    path.unlink()
    path.touch()
    path.chmod(0o600)
    if path.owner() != server.data.owner():
        shutil.chown(path, server.data.owner(), server.data.group())
    # the session has the full device open
    cut_off(server, "brim")
    assert accepted(store, *LINES[:50]) == 50
    database.close()


def test_a_server_without_fsync_is_told_of(
    server: postgresql_server.Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pi10.shore"):
        database = open_database(None, None, {VARIABLE: server.create("loose")})
    assert database
    database.close()
    assert "database loose on 127.0.0.1 has fsync = off" in caplog.text


def test_two_stores_in_one_server_hold_each_other_off_in_nothing(
    server: postgresql_server.Server,
) -> None:
    """The lock is of a schema, so schemas of one database are stores too."""
    address = server.create("several")
    server.sql("several", "create schema a")
    server.sql("several", "create schema b")
    opened = [
        open_database(None, None, {VARIABLE: f"{address}?options=-csearch_path%3D{schema}"})
        for schema in ("a", "b")
    ]
    for database in opened:
        assert database
        assert accepted(Store(database), LINES[0]) == 1
    for database in opened:
        assert database
        database.close()
