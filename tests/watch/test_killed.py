"""A watcher that is killed, stopped or without room: in the end the tables of `classify`."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
import support
from watching import same_results

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.errors import OutputError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.results.run_folder import RunFolder
from pi10_classifier.watch.ledger import Ledger
from pi10_classifier.watch.publisher import remove_part
from pi10_classifier.watch.quarantine import CrashQuarantine

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
Done = Callable[..., RunResult]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[5:]
from watching import Clock
from pi10_classifier.classify import Settings
from pi10_classifier.watch.options import WatchOptions
from pi10_classifier.watch.watcher import watch

source, out, model, last = sys.argv[1:5]
left = int(last)

def deadly(function):
    def call(*words, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*words, **named)
    return call

os.fsync, Path.replace, Path.unlink = deadly(os.fsync), deadly(Path.replace), deadly(Path.unlink)
from pi10_classifier.watch import ledger
from pi10_classifier.watch.inputs import departed
ledger.mark_superseded = departed.mark_superseded = deadly(departed.mark_superseded)
watch(source, Path(out), Settings(model=Path(model), jobs=2), WatchOptions(0.0, until_idle=True),
      clock=Clock(30))
"""


@posix
class TestKilled:
    @pytest.mark.slow
    def test_at_every_step(self, package: Path, whole: Path, tmp_path: Path, done: Done) -> None:
        """One folder of results, killed again and again, each time at a later step."""
        here = Path(__file__).parents[1] / "fixtures"
        words = [tmp_path / "in", tmp_path / "out", package]
        deaths = 0
        for last in (1, 2, 3, 4, 5, 6, 8, 9):
            if last == 6:  # something changes meanwhile, and something moves
                support.write_folder(tmp_path / "in", {"empty.tif": support.particle(8)})
                (tmp_path / "in/2024-06-24/1500").rename(tmp_path / "in/moved")
            if last == 9:
                (tmp_path / "in/2024-06-24/1450.tar").rename(tmp_path / "in/moved.tar")
            command = [sys.executable, "-c", KILLED, *map(str, words), str(last), str(here),
                       str(here.parent)]  # fmt: skip
            code = subprocess.run(command, timeout=300).returncode
            assert code in (0, -signal.SIGKILL)
            deaths += code != 0
            if (tmp_path / "out/predictions.parquet").is_dir():
                for part in (tmp_path / "out/predictions.parquet").glob("*.parquet"):
                    ds.dataset(part).to_table()
        assert deaths >= 5
        run = done(tmp_path / "in")
        again = classify([str(tmp_path / "in")], tmp_path / "again", Settings(model=package))
        same_results(run.out, again.out)
        assert support.litter(run.out) == []
        ledger = Ledger(run.out / "journal/watch.sqlite")
        told = [json.loads(line) for (line,) in ledger.ask("select line from lines order by seq")]
        ledger.close()
        assert sum(sum(line["n"].values()) for line in told) == run.tally.totals["results"]
        assert [line["seq"] for line in told] == list(range(1, len(told) + 1))
        assert len({line["minute"] for line in told}) == len(told)

    def test_poison_is_set_aside(self, done: Done, tmp_path: Path) -> None:
        """An image that was in work at five deaths is not touched again."""
        source = support.write_folder(
            tmp_path / "in", {f"{n}.tif": support.particle(n) for n in range(9)}
        )
        run = done(source, until_idle=True)
        for stem in (run.out / "predictions.parquet").iterdir():
            stem.unlink()  # so that all is to be done again
        for _ in range(5):
            note = json.dumps(["+", ["3.tif"]]) + '\n["-", ["7.tif'
            (run.out / "journal/watch.in-work").write_text(note)
            ledger = Ledger(run.out / "journal/watch.sqlite")
            from pi10_classifier.watch.quarantine import FILE, CrashQuarantine

            CrashQuarantine(run.out / "journal" / FILE, ledger)._stream.close()
            (run.out / "journal" / FILE).unlink()
            ledger.close()
        run = done(source)
        assert [row["code"] for row in support.csv_of(run.out / "failures.csv")] == ["set_aside"]
        assert run.tally.totals["results"] == 8
        os.utime(source / "3.tif")
        assert done(source).tally.totals == {"inputs": 9, "results": 9, "failures": 0, "skipped": 0}

    def test_archive_is_to_blame_until_its_last_chunk_is_done(self, tmp_path: Path) -> None:
        """What kills may lie in the last chunk, after others have ended."""
        ledger = Ledger(tmp_path / "watch.sqlite")
        for _ in range(5):
            suspects = CrashQuarantine(tmp_path / "in-work", ledger)
            suspects.begin(["a.tar"])
            suspects.begin(["a.tar"])
            suspects.end(["a.tar"])
            suspects._stream.close()  # it dies
        suspects = CrashQuarantine(tmp_path / "in-work", ledger)
        assert suspects.verdict("a.tar")
        suspects.close()
        ledger.close()


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_stopped_by_a_signal(number: signal.Signals, package: Path, tmp_path: Path) -> None:
    """What is in work is published; exit code 0; the lines are JSON."""
    source = support.write_folder(tmp_path / "in", support.bin_members(50))
    out = tmp_path / "out"
    words = ["watch", source, "--out", out, "--model", package, "--settle", "0", "--json"]

    def listen() -> None:  # a shell that starts us in the background has us ignore SIGINT
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen([sys.executable, "-m", "pi10_classifier", *map(str, words)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=listen) as running:  # fmt: skip
        until = time.monotonic() + 120
        while not (out / "journal/watch.in-work").exists():
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        while '"-"' not in (out / "journal/watch.in-work").read_text():
            assert time.monotonic() < until
            time.sleep(0.02)
        running.send_signal(number)
        said, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (0, "")
    *lines, run = map(json.loads, said.splitlines())
    assert run["totals"]["inputs"] == run["totals"]["results"] + 2 > 2
    assert sum(sum(line["n"].values()) for line in lines) == run["totals"]["results"]
    assert hashlib.sha256((out / "run.json").read_bytes()) and not support.litter(out)
    assert not (out / "journal/watch.in-work").exists()


def test_part_that_cannot_be_removed_is_an_error_of_the_disk(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, ("a",))
    (folder.parts / "x.parquet").mkdir(parents=True)  # unlink refuses it
    with pytest.raises(OutputError, match="predictions"):
        remove_part(folder, "x")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a small disk"
)
def test_full_disk_is_waited_for(
    at_work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real disk fills; images wait, not lost; freed, all is done and told."""
    out = tmp_path / "out"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(out)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    for module in ("publisher", "watcher"):
        monkeypatch.setattr(f"pi10_classifier.watch.{module}._DISK_WAIT_S", 0.2)
    try:
        source = support.write_folder(tmp_path / "in", {"0.tif": support.particle(0)})
        watcher = at_work(source, step_s=20.0)
        watcher.until(lambda: watcher.lines and watcher.status.backlog == 0, "the first")
        with (out / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(4096)):
                pass
        support.write_folder(source, support.bin_members(200))
        watcher.until(
            lambda: watcher.status and "free space" in watcher.status.trouble, "a full disk"
        )
        for part in (out / "predictions.parquet").glob("*.parquet"):
            ds.dataset(part).to_table()
        (out / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
        watcher.until(lambda: watcher.status.backlog == 0, "all done")
        run = watcher.end()
        assert run.tally.totals == {"inputs": 203, "results": 201, "failures": 0, "skipped": 2}
        told = [json.loads(line) for line in watcher.lines]
        assert sum(sum(line["n"].values()) for line in told) == 201
        assert [line["seq"] for line in told] == list(range(1, len(told) + 1))
    finally:
        watcher.stop()
        subprocess.run(["umount", str(out)], check=True)
