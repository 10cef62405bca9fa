"""Tracking: the spool, what MLflow holds in the end, and servers that die or hang."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import support
from mlflow_server import artifacts, runs_of

from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.test_predictions import Predictions
from pi10_classifier.model.package import find
from pi10_classifier.model.session import Model
from pi10_classifier.oscar.local.s3_gateway import free_port
from pi10_classifier.tracking import spool as sp
from pi10_classifier.tracking.environment import environment
from pi10_classifier.tracking.run import open_run, sync

mlflow = pytest.importorskip("mlflow")

# MLflow's command line and Alembic's use names that Python or SQLAlchemy deprecate.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|alembic|sqlalchemy).*")
]

NOWHERE = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}


def predictions(n: int = 60) -> Predictions:
    rng = np.random.default_rng(3)
    truth = np.arange(n) % 3
    scores = rng.dirichlet((1, 1, 1), n) * 0.5
    scores[np.arange(n), truth] += 0.5
    images = tuple(("tank", f"{i}.png") for i in range(n))
    return Predictions(
        "vit", "LAS", 0, support.CLASSES, images, truth, scores.argmax(axis=1), scores
    )


def train(run, epochs, seed=0) -> None:
    """What a training tells a run."""
    for epoch in epochs:
        run.metrics({"validation/macro_f1": 0.5 + epoch / 100 + seed / 10, "loss": 1.0}, epoch)


def finish(run, package: Path) -> None:
    from pi10_classifier.tracking.log_test import log_test

    log_test(run, predictions())
    run.text("source,member\ntank,1.png\n", "manifest.csv")
    run.package(package, register_as="plankton")


def history(client, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(m.step, round(m.value, 6)) for m in client.get_metric_history(run_id, key)]


def check_complete(client, experiment: str, epochs: int, package: Path) -> None:
    """The parent with two seeds of ``epochs`` epochs is there, whole and once."""
    runs = runs_of(client, experiment)
    assert set(runs) == {"parent", "seed 0", "seed 1"}
    parent = runs["parent"]
    assert parent.data.params == {"network": "vit", "loss.name": "LAS", "loss.ends": "[0.3, 0.0]"}
    for seed in (0, 1):
        run = runs[f"seed {seed}"]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params == {"seed": str(seed)}
        expected = [(e, round(0.5 + e / 100 + seed / 10, 6)) for e in range(epochs)]
        assert history(client, run.info.run_id, "validation/macro_f1") == expected
        assert history(client, run.info.run_id, "loss") == [(e, 1.0) for e in range(epochs)]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert all(run.info.end_time > run.info.start_time for run in runs.values())
    last = runs["seed 1"].info.run_id
    drawn = ("confusion", "confusion_normalised", "precision_recall", "calibration")
    expected = {f"test/{name}.png" for name in drawn} | {"test/report.json", "manifest.csv"}
    expected |= {f"test/{name}.csv" for name in drawn[:2]}
    expected |= {f"model/{name}" for name in ("MLmodel", *(p.name for p in package.iterdir()))}
    assert artifacts(client, last) == expected
    assert len(history(client, last, "test/f1/copepod")) == 1
    (version,) = client.search_model_versions(f"name='plankton' and run_id='{last}'")
    held = client.get_model_version_by_alias("plankton", "candidate")
    assert (held.version, held.run_id) == (version.version, last)


def tell_all(folder: Path, environ: dict[str, str], package: Path, middle=lambda: None) -> None:
    """A parent and two seeds of six epochs; ``middle`` happens within the second."""
    with open_run("sea", "parent", folder=folder, environ=environ) as run:
        run.params({"network": "vit", "loss": {"name": "LAS", "ends": (0.3, 0.0)}})
        for seed in (0, 1):
            with run.child(f"seed {seed}", seed=seed) as child:
                child.params({"seed": seed})
                train(child, range(3), seed)
                if seed:
                    middle()
                train(child, range(3, 6), seed)
                if seed:
                    finish(child, package)


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A complete training in a local store: its folder, and the environment it had."""
    folder = tmp_path_factory.mktemp("local")
    environ = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    before = dict(os.environ)
    tell_all(folder / "out", environ, find("starter"))
    assert dict(os.environ) == before, "settings for MLflow leaked into the training"
    return folder, environ


# names of classes that differ only by signs, by what MLflow cannot take, or beyond its length
CLASSES = ["a/b", "a_b", "a b", "a.b", "a*b", "a?b", "a(b", "a//b", "a/./b", "a/", "/a", "é", "É*",
           "", "..", "..a", "x" * 300, "x" * 299 + "y", "a\nb", "a+b", "a-b"]  # fmt: skip


@pytest.mark.slow
def test_classes_that_differ_by_signs_stay_apart(tmp_path):
    environ = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    run = open_run("signs", "one", folder=tmp_path / "out", environ=environ)
    keys = {f"test/f1/{name}": 0.001 * n for n, name in enumerate(CLASSES)}
    keys |= {name: 0.5 + 0.001 * n for n, name in enumerate(CLASSES)}
    run.metrics(keys)
    run.end()
    assert not run.unsent
    client = mlflow.MlflowClient(environ["MLFLOW_TRACKING_URI"])
    found = runs_of(client, "signs")["one"].data.metrics
    assert sorted(round(value, 3) for value in found.values()) == sorted(
        round(value, 3) for value in keys.values()
    )
    assert (
        found["test/f1/a/b"] == 0 and found["test/f1/a_b"] == 0.001
    )  # as they are, where possible


@pytest.mark.slow
def test_local_store_holds_everything_once(local):
    folder, environ = local
    client = mlflow.MlflowClient(environ["MLFLOW_TRACKING_URI"])
    check_complete(client, "sea", 6, find("starter"))
    assert (folder / "mlruns").is_dir()
    assert [run.sent for run in sync(folder, environ)] == [0, 0, 0]


@pytest.mark.slow
def test_a_lost_acknowledgement_doubles_nothing(local):
    folder, environ = local
    for path in folder.rglob(sp.SENT):
        path.unlink()
    synced = sync(folder / "out", environ)
    assert all(run.sent and not run.pending and not run.refused for run in synced)
    check_complete(mlflow.MlflowClient(environ["MLFLOW_TRACKING_URI"]), "sea", 6, find("starter"))


@pytest.mark.slow
def test_the_registered_version_is_a_package_and_an_onnx_model(local, tmp_path, monkeypatch):
    _, environ = local
    monkeypatch.setenv("MLFLOW_TRACKING_URI", environ["MLFLOW_TRACKING_URI"])
    before = mlflow.get_tracking_uri()
    try:
        mlflow.set_tracking_uri(environ["MLFLOW_TRACKING_URI"])
        uri = "models:/plankton@candidate"
        fetched = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path)))
        assert Model.load(fetched).package.classes == support.CLASSES
        assert mlflow.onnx.load_model(uri).graph.output[0].name == "logits"
    finally:
        mlflow.set_tracking_uri(before)


@pytest.mark.slow
def test_a_resumed_run_goes_on_as_the_same_run(local, package):
    folder, environ = local
    client = mlflow.MlflowClient(environ["MLFLOW_TRACKING_URI"])
    script = f"""
import sys, time
from pathlib import Path
from pi10_classifier.tracking.run import open_run
run = open_run("killed", "one", folder=Path({str(folder / "killed")!r}), environ={environ!r})
run.params({{"rate": 0.1}})
for epoch in range(3):
    run.metrics({{"loss": float(epoch)}}, epoch)
print("here", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # the epoch that was cut is told again, with another value, and one parameter changed
    with open_run("killed", "one", folder=folder / "killed", environ=environ) as run:
        run.params({"rate": 0.2, "batch": 8})
        for epoch in (2, 3):
            run.metrics({"loss": 10.0 + epoch}, epoch)
    assert run.unsent == 0
    (found,) = runs_of(client, "killed").values()
    assert found.info.status == "FINISHED"
    assert found.data.params == {"rate": "0.1", "batch": "8"}
    assert found.data.tags["changed.rate"] == "0.2"
    assert history(client, found.info.run_id, "loss") == [(0, 0), (1, 1), (2, 2), (3, 13)]


@pytest.mark.slow
def test_an_older_run_sent_late_does_not_take_the_alias(local, package):
    folder, environ = local
    client = mlflow.MlflowClient(environ["MLFLOW_TRACKING_URI"])
    newest = client.get_model_version_by_alias("plankton", "candidate")
    with open_run("late", "old", folder=folder / "late", environ=NOWHERE) as run:
        run.package(package, register_as="plankton")
    (events,) = folder.glob("late/*/old-*/events.jsonl")
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    events.write_text("".join(json.dumps(line | {"at": 1000}) + "\n" for line in lines))
    (sent,) = sync(folder / "late", environ)
    assert sent.status == "FINISHED"
    assert len(client.search_model_versions(f"name='plankton' and run_id='{sent.run_id}'")) == 1
    now = client.get_model_version_by_alias("plankton", "candidate")
    assert now.version == newest.version


@pytest.mark.slow
def test_refused_entries_do_not_hold_up_the_rest(local):
    folder, environ = local
    with open_run("refused", "one", folder=folder / "refused", environ=NOWHERE) as run:
        run.text("x", "notes.txt")
    (spool,) = sp.runs_of(folder / "refused" / sp.SPOOL)
    spool.append("metrics", values={"good": 1.0, "bad*": 1.0}, step=0)
    with (spool.path / sp.EVENTS).open("ab") as stream:
        stream.write(b'{"kind": "metr\n')
    spool.append("end", status="FAILED")
    next((spool.path / sp.FILES).rglob("notes.txt")).unlink()
    (sent,) = sync(folder / "refused", environ)
    assert (sent.pending, sent.status) == (0, "FAILED")
    assert len(sent.refused) == 3
    for reason in ("damaged line", "bad", "gone from the spool"):
        assert any(reason in text for text in sent.refused), reason
    run = mlflow.MlflowClient(environ["MLFLOW_TRACKING_URI"]).get_run(sent.run_id)
    assert run.data.metrics == {"good": 1.0}


@pytest.mark.slow
def test_a_server_killed_in_mid_training(server, tmp_path, package, caplog):
    server.start()
    environ = {"MLFLOW_TRACKING_URI": server.url}
    client = mlflow.MlflowClient(server.url)

    def die() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:  # a part must have arrived, else nothing was cut
            if (experiment := client.get_experiment_by_name("sea")) and any(
                run.info.run_name == "seed 1" and run.data.metrics
                for run in client.search_runs([experiment.experiment_id])
            ):
                return server.kill()
            time.sleep(0.3)
        raise AssertionError("nothing arrived before the kill")

    tell_all(tmp_path, environ, package, middle=die)
    assert "pi10 track sync" in caplog.text
    # nobody answers: nothing is lost, and it says so
    first = sync(tmp_path, environ | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    assert any(run.pending and run.problem for run in first)
    server.start()
    second = sync(tmp_path, {})  # the spool knows where it was going
    assert all(not run.pending and run.status == "FINISHED" for run in second)
    assert [run.sent for run in sync(tmp_path, {})] == [0, 0, 0]
    check_complete(client, "sea", 6, package)
    nan = open_run("numbers", "odd", folder=tmp_path / "odd", environ=environ)
    nan.metrics({"nan": float("nan"), "fine": 1.5}, 4)
    nan.end("KILLED")
    found = runs_of(client, "numbers")["odd"]
    assert (found.info.status, nan.unsent) == ("KILLED", 0)
    assert np.isnan(found.data.metrics["nan"]) and found.data.metrics["fine"] == 1.5


def test_a_server_that_never_answers_is_given_up(tmp_path, caplog):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        environ = {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{deaf.getsockname()[1]}",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
        }
        with open_run("deaf", "one", folder=tmp_path, environ=environ) as run:
            train(run, range(3))
    assert run.unsent == 5
    assert "do not" not in caplog.text and f"track sync {tmp_path}" in caplog.text


def test_no_secret_is_written_anywhere(tmp_path, caplog):
    secrets = {"MLFLOW_TRACKING_PASSWORD": "pass%word", "MLFLOW_TRACKING_TOKEN": "token-4711"}
    uri = f"http://anna:geheim99@127.0.0.1:{free_port()}/?key=query-key"
    environ = {"MLFLOW_TRACKING_URI": uri, **secrets}
    caplog.set_level(logging.DEBUG)
    with open_run("secret", "one", folder=tmp_path, environ=environ) as run:
        run.params({"argv": f"--uri {uri} --token token-4711", "deep": [{"x": "pass%word"}]})
        run.tags({"note": "geheim99"})
        run.text(f"MLFLOW_TRACKING_URI={uri}", "environment.txt")
    answers = sync(tmp_path, environ)
    written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    everything = written.decode() + caplog.text + repr(answers)
    for secret in ("geheim99", "query-key", *secrets.values()):
        assert secret not in everything
    assert "127.0.0.1" in written.decode()  # where to send is no secret
    assert "***" in written.decode()
    names = json.dumps(environment())
    assert "MLFLOW" not in names and "numpy" in names


def test_a_torn_line_is_neither_read_nor_glued_to_the_next(tmp_path):
    header = sp.Header("ab" * 16, "e", "n", "", "", {})
    spool = sp.RunSpool.create(tmp_path, header)
    spool.append("params", values={"a": "1"})
    with (spool.path / sp.EVENTS).open("ab") as stream:
        stream.write(b'{"kind": "metrics", "at"')
    assert [event["kind"] for event, _ in spool.events()] == ["params"]
    spool.append("end", status="FINISHED")
    assert [event and event["kind"] for event, _ in spool.events()] == ["params", None, "end"]
    assert list(spool.events())[-1][1] == spool.size


def test_an_artifact_is_kept_as_it_was(tmp_path):
    (tmp_path / "figure.txt").write_text("first")
    with open_run("e", "n", folder=tmp_path, environ=NOWHERE) as run:
        run.artifact(tmp_path / "figure.txt", "figures")
        (tmp_path / "figure.txt").write_text("second")
    (kept,) = (tmp_path / sp.SPOOL).rglob("figure.txt")
    assert kept.read_text() == "first"


def test_artifacts_stay_inside(tmp_path):
    with open_run("e", "n", folder=tmp_path, environ=NOWHERE) as run:
        for name in ("../out.txt", "/etc/x", "a/../../b", "a\\b"):
            with pytest.raises(SettingError, match="leaves the run"):
                run.text("x", name)


def test_a_failed_training_ends_as_failed(tmp_path):
    for error, status in ((ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")):
        with (
            pytest.raises(error),
            open_run("e", status, folder=tmp_path, environ=NOWHERE),
        ):
            raise error
        (spool,) = (s for s in sp.runs_of(tmp_path / sp.SPOOL) if s.header.name == status)
        assert [event["status"] for event, _ in spool.events() if event["kind"] == "end"] == [
            status
        ]


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", "/data/mlruns"])
def test_file_stores_are_refused_with_a_remedy(tmp_path, uri):
    with pytest.raises(SettingError, match="sqlite:///"):
        open_run("e", "n", folder=tmp_path, environ={"MLFLOW_TRACKING_URI": uri})


def test_sync_without_a_spool_says_so(tmp_path):
    with pytest.raises(SettingError, match="holds no tracking-spool"):
        sync(tmp_path, {})
