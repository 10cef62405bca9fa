"""A watcher whose output disk is full at the start or at the end; and whose output fails."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import support

from pi10_classifier.classify import RunResult
from pi10_classifier.errors import Code, ExitCode, OutputError, output_error
from pi10_classifier.results.run_folder import RunFolder
from pi10_classifier.watch import watcher as watchers
from pi10_classifier.watch.disk_space import is_temporary, retry_until_writable
from pi10_classifier.watch.ledger import Ledger
from pi10_classifier.watch.quarantine import FILE as IN_WORK

posix = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
Done = Callable[..., RunResult]
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pi10_classifier.watch.disk_space.WAIT_S", 0.05)
    monkeypatch.setattr("pi10_classifier.watch.watcher._DISK_WAIT_S", 0.05)
    monkeypatch.setattr("pi10_classifier.watch.publisher._DISK_WAIT_S", 0.05)


@pytest.fixture
def killed(done: Done, tmp_path: Path) -> Path:
    """Results, and beside them what a watcher had in work when it was killed."""
    source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
    out = done(source).out
    names = [f"{n:0100}.tif" for n in range(2000)]  # more than the ledger's free pages hold
    (out / "journal" / IN_WORK).write_text(json.dumps(["+", names]) + "\n")
    support.write_folder(source, {"2.tif": support.particle(2)})
    return source


def test_a_real_full_ledger_at_the_start_is_waited_for(
    killed: Path, at_work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself refuses to grow, as on a full disk, until there is room."""
    full = [True]
    transaction = Ledger.transaction

    def limited(self: Ledger) -> Any:
        pages = self.ask("pragma page_count")[0][0] if full[0] else 1_000_000
        self.ask(f"pragma max_page_count = {pages}")
        return transaction(self)

    monkeypatch.setattr(Ledger, "transaction", limited)
    watcher = at_work(killed)
    watcher.until(lambda: watcher.status and "free space" in watcher.status.trouble, "a full disk")
    assert (tmp_path / "out/journal" / IN_WORK).read_text()  # not forgotten meanwhile
    full[0] = False
    watcher.until(lambda: watcher.status.results == 1, "the second")
    run = watcher.end()
    assert run.tally.totals == {"inputs": 2, "results": 2, "failures": 0, "skipped": 0}
    ledger = Ledger(run.out / "journal/watch.sqlite")
    assert ledger.ask("select count(*), max(deaths) from suspects") == [(2000, 1)]
    ledger.close()


@pytest.mark.parametrize("where", ["open", "ledger", "reconcile", "tables", "run.json", "line"])
def test_refused_three_times_anywhere(
    where: str, killed: Path, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the opening of the folder to the last table: waited for, nothing lost or doubled."""
    left = [3]

    def refusing(function: Any, *, after: bool = False) -> Any:
        def call(*words: Any, **named: Any) -> Any:
            made = function(*words, **named) if after else None
            if left[0]:
                left[0] -= 1
                raise output_error(FULL, where) from FULL
            return made if after else function(*words, **named)

        return call

    if where == "open":
        monkeypatch.setattr(RunFolder, "_open", refusing(RunFolder._open, after=True))
    elif where == "ledger":
        monkeypatch.setattr(watchers, "Ledger", refusing(Ledger))
    elif where == "reconcile":
        monkeypatch.setattr(Ledger, "try_again", refusing(Ledger.try_again))
    elif where == "tables":
        monkeypatch.setattr(watchers, "summarise", refusing(watchers.summarise))
    elif where == "run.json":
        monkeypatch.setattr(watchers, "write_json", refusing(watchers.write_json))
    else:
        monkeypatch.setattr(watchers, "compose", refusing(watchers.compose))
    lines: list[str] = []
    run = done(killed, emit_line=lines.append)
    assert left == [0]
    assert run.tally.totals == {"inputs": 2, "results": 2, "failures": 0, "skipped": 0}
    assert sum(sum(json.loads(line)["n"].values()) for line in lines) == 1


def test_stopped_while_it_waits_is_the_disks_error() -> None:
    error = output_error(FULL, "x")
    error.__cause__ = FULL

    def refuse() -> None:
        raise error

    def stop() -> None:
        raise KeyboardInterrupt

    told: list[OutputError] = []
    with pytest.raises(OutputError, match="no space left"):
        retry_until_writable(refuse, stop, told.append)
    assert told == [error]


@pytest.mark.parametrize(
    ("number", "waited"),
    [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, True), (errno.EACCES, False),
     (errno.EROFS, False), (errno.ENAMETOOLONG, False)],
)  # fmt: skip
def test_what_a_wait_mends(number: int, waited: bool) -> None:
    cause = OSError(number, "reason")
    error = output_error(cause, "x")
    error.__cause__ = cause
    assert is_temporary(error) is waited


def test_file_that_is_no_ledger_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with pytest.raises(OutputError) as caught:
        Ledger(tmp_path / "l")
    assert not is_temporary(caught.value)
    assert caught.value.code is Code.STORAGE_UNAVAILABLE
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)


FAILING = """
import errno, os, signal, sys
from pi10_classifier.watch import disk_space, watcher
from pi10_classifier.cli import main

def full(*words, **named):
    os.kill(os.getpid(), signal.SIGTERM)
    raise OSError(errno.ENOSPC, "No space left on device")

disk_space.WAIT_S = 0.05
if sys.argv.pop(1) == "start":
    from pi10_classifier.results.run_folder import RunFolder
    RunFolder._open = full
else:
    from pi10_classifier.foundation.files import write_atomically
    from pi10_classifier.results.part_writer import PartWriter
    PartWriter._write = lambda *_: watcher.OutputError
    PartWriter.publish = lambda self, record: write_atomically(full(), b"")
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.parametrize("when", ["start", "end"])
def test_stopped_by_a_signal_on_a_full_disk_is_no_usage_error(
    when: str, package: Path, tmp_path: Path
) -> None:
    """Else the documented unit would not start it again."""
    source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
    words = ["watch", source, "--out", tmp_path / "out", "--model", package, "--settle", "0",
             "--until-idle", "--no-report"]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", FAILING, when, *map(str, words)],
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == ExitCode.NOT_WRITTEN, done.stderr


@posix
@pytest.mark.parametrize("json_", [False, True], ids=["plain", "json"])
@pytest.mark.parametrize("command", ["watch", "classify"])
@pytest.mark.parametrize("streams", ["out", "err", "both", "pipe", "closed"])
def test_output_that_cannot_be_written_stops_nothing(
    streams: str, command: str, json_: bool, package: Path, tmp_path: Path
) -> None:
    """Results, tables and the run's own exit code, wherever standard output and error go."""
    members = {"1.tif": support.particle(1), "bad.tif": support.particle(2)[:300]}
    source = support.write_folder(tmp_path / "in", members)
    words = [command, source, "--out", tmp_path / "out", "--model", package, "--no-report",
             *(["--settle", "0", "--until-idle"] if command == "watch" else []),
             *(["--json"] if json_ else [])]  # fmt: skip
    program = [sys.executable, "-m", "pi10_classifier", *map(str, words)]
    if streams == "closed":
        code = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *program]).returncode
    elif streams == "pipe":
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            for stream in (running.stdout, running.stderr):
                assert stream
                stream.close()
            code = running.wait(300)
    else:
        with Path("/dev/full").open("wb") as full:
            out = full if streams in ("out", "both") else subprocess.DEVNULL
            err = full if streams in ("err", "both") else subprocess.DEVNULL
            code = subprocess.run(program, stdout=out, stderr=err, timeout=300).returncode
    assert code == ExitCode.SOME_FAILED
    said = json.loads((tmp_path / "out/run.json").read_text())
    assert said["totals"] == {"inputs": 2, "results": 1, "failures": 1, "skipped": 0}


def test_callbacks_that_fail_stop_nothing(done: Done, tmp_path: Path) -> None:
    def full(_: object) -> None:
        raise FULL

    source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
    assert done(source, emit_line=full).tally.totals["results"] == 1
