"""A watcher with a registered model: the next model takes over, and no table holds two."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
import support
from watching import Clock

from pi10_classifier.errors import ExitCode, SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.registry.client import Registry
from pi10_classifier.registry.register import register
from pi10_classifier.watch.following import follow
from pi10_classifier.watch.options import WatchOptions

pytestmark = pytest.mark.slow
REFERENCE = "models:/watched@champion"


@pytest.fixture
def environ(mlflow_server_process, tmp_path):
    pytest.importorskip("mlflow")
    mlflow_server_process.start()
    return {
        "MLFLOW_TRACKING_URI": mlflow_server_process.url,
        "PI10_MODEL_CACHE": str(tmp_path / "cache"),
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two packages of the same classes, one that the runtime refuses, and one to be damaged."""
    home = tmp_path_factory.mktemp("m")
    second = support.tiny_model(support.weights(seed=1))
    absent = {"name": "absent", "activation": "softmax"}
    return [
        support.write_package(home / "1"),
        support.write_package(home / "2", second, version="2.0"),
        support.write_package(home / "3", version="3.0", output=absent),
        support.write_package(home / "4", version="4.0"),
    ]


def rows(folder):
    return {row["member"]: row["model_sha256"] for row in support.rows_of(folder)}


def test_the_next_model_takes_over(mlflow_server_process, environ, models, tmp_path, caplog):
    hashes = [read_package(folder)[0].sha256 for folder in models]
    registry = Registry.from_environ(environ)
    versions = [register(registry, "watched", folder) for folder in models]
    numbers = [version.version for version in versions]
    with mlflow_server_process.stored(versions[3], "model.onnx").open("ab") as stream:
        stream.write(b"x")
    registry.set_alias("watched", "champion", numbers[0])
    source = support.write_folder(
        tmp_path / "in", {f"a{i}.tif": support.particle(i) for i in range(8)}
    )
    out, lines, ended, stop = tmp_path / "out", [], [], threading.Event()
    results = []

    def check():
        if stop.is_set():
            raise KeyboardInterrupt

    def work(**more):
        plan = WatchOptions(settle_s=0.0, rescan_s=1.0, **more)
        results.append(
            follow(
                str(source), out, Settings(jobs=1), plan, REFERENCE, poll_s=1.0,
                raise_if_cancelled=check, ended=ended.append, emit_line=lines.append,
                environ=environ, clock=Clock(6.0),
            )
        )  # fmt: skip

    def until(holds):
        deadline = time.monotonic() + 120
        while not holds():
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def told():
        return sum(sum(json.loads(line)["n"].values()) for line in list(lines))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        until(lambda: told() == 8)
        registry.set_alias("watched", "champion", numbers[2])
        until(lambda: "absent" in caplog.text)  # refused; the first goes on
        registry.set_alias("watched", "champion", numbers[3])
        until(lambda: "but it was registered with" in caplog.text)  # so is damage
        support.write_folder(source, {"a8.tif": support.particle(8)})
        until(lambda: told() == 9)
        registry.set_alias("watched", "champion", numbers[1])
        until(lambda: ended)
        support.write_folder(source, {f"b{i}.tif": support.particle(i) for i in range(5)})
        until(lambda: told() == 14)
    finally:
        stop.set()
        thread.join(120)
    [last], [first] = results, ended
    assert rows(first.folder) == {f"a{i}.tif": hashes[0] for i in range(9)}
    assert rows(last.folder) == {f"b{i}.tif": hashes[1] for i in range(5)}
    assert [path.name[:7] for path in sorted(out.iterdir())] == ["0001-v1", "0002-v2"]
    for done, sha256 in ((first, hashes[0]), (last, hashes[1])):
        assert done.run.exit_code is ExitCode.OK
        assert json.loads((done.folder / "run.json").read_text())["model"]["sha256"] == sha256
        assert (done.folder / "counts.csv").is_file()
    said = [json.loads(line) for line in lines]
    assert len({line["id"] for line in said}) == 1, "ashore it is one stream"
    assert [line["seq"] for line in said] == list(range(1, len(said) + 1))
    assert len({line["minute"] for line in said}) == len(said)
    assert {line["model"] for line in said if line["n"]} == {h[:8] for h in hashes[:2]}

    # a restart goes on in the last folder; an input that changes is done again there
    # also where the alias names a damaged version by now
    registry.set_alias("watched", "champion", numbers[3])
    stop.clear()
    (source / "a0.tif").write_bytes(support.particle(77))
    work(until_idle=True)
    assert results[-1].folder == last.folder
    assert rows(last.folder) == {f"b{i}.tif": hashes[1] for i in range(5)} | {"a0.tif": hashes[1]}
    assert len(rows(first.folder)) == 9


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_sighup_has_the_registry_asked_at_once(environ, models, tmp_path):
    """A real process, which never asks by itself. An archive is published at once."""
    hashes = [read_package(folder)[0].sha256 for folder in models]
    registry = Registry.from_environ(environ)
    numbers = [register(registry, "hung-up", folder).version for folder in models[:2]]
    registry.set_alias("hung-up", "champion", numbers[0])
    source = tmp_path / "in"
    support.write_tar(source / "a.tar", {"a.tif": support.particle(1)})
    out, log = tmp_path / "out", tmp_path / "log"
    command = [sys.executable, "-m", "pi10_classifier", "watch", str(source), "--out", str(out),
               "--model", "models:/hung-up@champion", "--model-poll", "0", "--settle", "0",
               "--rescan", "1", "--no-report"]  # fmt: skip

    def until(holds, what):
        deadline = time.monotonic() + 240
        while not holds():
            assert watcher.poll() is None, log.read_text()
            assert time.monotonic() < deadline, (what, log.read_text())
            time.sleep(0.1)

    with log.open("w") as stream:
        watcher = subprocess.Popen(command, stderr=stream, env={**os.environ, **environ})
    try:
        until(lambda: ledger_of(out) == {"a.tar"}, "the first archive")
        watcher.send_signal(signal.SIGHUP)
        until(lambda: "version 1" in log.read_text(), "an answer: as before")
        registry.set_alias("hung-up", "champion", numbers[1])
        watcher.send_signal(signal.SIGHUP)
        watcher.send_signal(signal.SIGHUP)
        until(lambda: [*out.glob("0002-*/journal/watch.sqlite")], "the next folder")
        support.write_tar(source / "b.tar", {"b.tif": support.particle(2)})
        until(lambda: ledger_of(out) == {"a.tar", "b.tar"}, "the second archive")
    finally:
        watcher.terminate()
        code = watcher.wait(120)
    assert code == 0
    first, last = sorted(out.iterdir())
    assert rows(first) == {"a.tif": hashes[0]}
    assert rows(last) == {"b.tif": hashes[1]}


def ledger_of(out):
    """The inputs that the newest ledger holds as done."""
    found = sorted(out.glob("*/journal/watch.sqlite"))
    if not found:
        return set()
    try:
        with closing(sqlite3.connect(found[-1])) as ledger:
            return {name for (name,) in ledger.execute("select name from inputs")}
    except sqlite3.OperationalError:  # it is being made
        return set()


def test_a_run_of_one_model_is_not_mixed_with(environ, models, tmp_path):
    registry = Registry.from_environ(environ)
    register(registry, "alone", models[0])
    source = support.write_folder(tmp_path / "in", {"a.tif": support.particle(1)})
    (tmp_path / "out/journal").mkdir(parents=True)
    (tmp_path / "out/journal/settings.json").write_text("{}")
    plan = WatchOptions(until_idle=True)
    given = (str(source), tmp_path / "out", Settings(), plan, "models:/alone@candidate")
    with pytest.raises(SettingError, match="choose another --out"):
        follow(*given, environ=environ)
    with pytest.raises(SettingError, match=r"--model-poll is 0\.5"):
        follow(*given, environ=environ, poll_s=0.5)
