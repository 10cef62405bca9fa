"""Trainings as MLflow sees them: parents, seeds, resuming, and servers that are not there."""

import sys
import time
from pathlib import Path

import pytest
from mlflow_server import artifacts, runs_of

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")
mlflow = pytest.importorskip("mlflow")

from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.tracking import final_events, mlflow_reporter
from pi10_classifier.tracking import spool as sp
from pi10_classifier.tracking.sync import sync
from pi10_classifier.training import output_folder
from pi10_classifier.training import run as runs
from pi10_classifier.training.data.loading import read_examples
from pi10_classifier.training.plan import TrainingPlan
from pi10_classifier.training.recipe import recipe_for
from pi10_classifier.training.reporter import NullReporter

# MLflow's command line and Alembic's use names that Python or SQLAlchemy deprecate.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|alembic|sqlalchemy).*")
]

NOWHERE = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
DRAWN = ("confusion", "confusion_normalised", "precision_recall", "calibration")
OF_A_SEED = {
    *(f"test/{name}.png" for name in DRAWN),
    *("test/confusion.csv", "test/confusion_normalised.csv", "test/report.json"),
    *("test_predictions.csv", "metrics.csv", "config.json", "manifest.csv"),
    *("environment.json", "model_card.md"),
    *(f"model/{name}" for name in ("model.onnx", "model.json", "README.md", "MLmodel")),
}


@pytest.fixture(scope="module")
def examples(shapes):
    return read_examples([shapes / "light.tar"])


def plan(out: Path, seeds=(1,), epochs=2) -> TrainingPlan:
    recipe = recipe_for(
        "mobilenet_v2", epochs=epochs, size=32, batch=32, loss="las", augmentation="none"
    )
    return TrainingPlan("mobilenet_v2", recipe, out, seeds, init="random")


def train(examples, plan, environ, said, resume=False, raise_if_cancelled=lambda: None, **options):
    reporter = mlflow_reporter.of_training(
        plan.out, said.append, resume=resume, environ=environ, **options
    )  # fmt: skip
    return runs.train_seeds(
        examples,
        plan,
        resume=resume,
        emit=said.append,
        raise_if_cancelled=raise_if_cancelled,
        reporter=reporter,
    )


def steps(client, run) -> list[int]:
    history = client.get_metric_history(run.info.run_id, "validation_macro_f1")
    return [metric.step for metric in history]


def check_seed(client, run, parent, folder: Path, epochs=2) -> None:
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.info.status == "FINISHED"
    assert steps(client, run) == list(range(1, epochs + 1))
    best = run.data.metrics["best/validation_macro_f1"]
    assert best == pytest.approx(output_folder.best_validation(folder))
    assert run.data.params["loss"] == "las" and run.data.params["network"] == "mobilenet_v2"
    assert run.data.params["seed"] == folder.name.removeprefix("seed-")
    assert artifacts(client, run.info.run_id) == OF_A_SEED


@pytest.mark.slow
def test_a_training_is_a_parent_and_its_seeds(examples, tmp_path, monkeypatch):
    """The first seed was trained untracked; resumed, MLflow learns of both, each once."""
    environ = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/m.db"}
    out, said = tmp_path / "las", []
    runs.train_seeds(examples, plan(out), emit=said.append)
    folders = train(
        examples, plan(out, (1, 2)), environ, said, resume=True, experiment="sea", register="krill"
    )
    client = mlflow.MlflowClient(environ["MLFLOW_TRACKING_URI"])
    found = runs_of(client, "sea")
    assert set(found) == {"las", "seed-1", "seed-2"}
    parent = found["las"]
    assert parent.data.params["seeds"] == "[1, 2]" and "seed" not in parent.data.params
    assert parent.data.params["rate"] == "0.001"
    assert artifacts(client, parent.info.run_id) == {"manifest.csv", "left_out.csv"}
    children = [found[folder.name] for folder in folders]
    for folder, run in zip(folders, children, strict=True):
        check_seed(client, run, parent, folder)
    mean = sum(run.data.metrics["test/macro_f1"] for run in children) / 2
    assert parent.data.metrics["test/macro_f1"] == pytest.approx(mean)
    best = max(reversed(children), key=lambda run: run.data.metrics[final_events.BEST_FIGURE])
    if (
        children[0].data.metrics[final_events.BEST_FIGURE]
        >= best.data.metrics[final_events.BEST_FIGURE]
    ):
        best = children[0]
    held = client.get_model_version_by_alias("krill", "candidate")
    assert held.run_id == best.info.run_id

    train(examples, plan(out, (1, 2)), environ, said, resume=True, register="krill")
    again = runs_of(client, "sea")
    assert {n: r.info.run_id for n, r in again.items()} == {
        n: r.info.run_id for n, r in found.items()
    }
    assert again["las"].info.status == "FINISHED"
    assert again["seed-1"].info.end_time == found["seed-1"].info.end_time

    monkeypatch.setenv("MLFLOW_TRACKING_URI", environ["MLFLOW_TRACKING_URI"])
    tables = [
        CliRunner().invoke(pi10, ["compare", place, "--resamples", "100"]).stdout
        for place in (str(out), f"runs:/{parent.info.run_id}")
    ]
    assert "mobilenet_v2  las   2" in tables[0]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_a_server_killed_in_mid_training(examples, tmp_path, server):
    environ = {"MLFLOW_TRACKING_URI": server.url}
    client = mlflow.MlflowClient(server.url)
    out, said = tmp_path / "las", []

    def check() -> None:
        if server.killed or not (out / "seed-2" / "metrics.csv").is_file():
            return
        until = time.monotonic() + 120
        while time.monotonic() < until:  # a part must have arrived, else nothing was cut
            seed = runs_of(client, "pi10").get("seed-2")
            if seed is not None and steps(client, seed):
                server.kill()
                return
            time.sleep(0.3)
        raise AssertionError("nothing arrived before the kill")

    server.start()
    folders = train(examples, plan(out, (1, 2)), environ, said, raise_if_cancelled=check)
    assert server.killed
    assert all((folder / "test_predictions.csv").is_file() for folder in folders)
    assert f"pi10 track sync {out}" in said[-1]
    server.start()
    assert all(not run.pending and run.status == "FINISHED" for run in sync(out, {}))
    found = runs_of(client, "pi10")
    for folder in folders:
        check_seed(client, found[folder.name], found["las"], folder)


def test_without_a_server_it_trains_and_says_what_to_do(examples, tmp_path):
    said = []
    (folder,) = train(examples, plan(tmp_path / "las", epochs=1), NOWHERE, said)
    assert (folder / "test_predictions.csv").is_file()
    assert [line for line in said if "MLflow did not take" in line] == said[-1:]
    assert f"pi10 track sync {tmp_path / 'las'}" in said[-1]
    ends = [
        event
        for run in sp.runs_of(tmp_path / "las" / sp.SPOOL)
        for event, _ in run.events()
        if event["kind"] == "end"
    ]
    assert [event["status"] for event in ends] == ["FINISHED", "FINISHED"]


def test_a_killed_training_goes_on_with_the_same_runs(examples, tmp_path):
    left = iter([*range(5), "stop", *range(99)])  # 3 steps an epoch: in the second one

    def check():
        if next(left) == "stop":
            raise KeyboardInterrupt

    out, said = tmp_path / "las", []
    with pytest.raises(KeyboardInterrupt):
        train(examples, plan(out), NOWHERE, said, raise_if_cancelled=check, experiment="sea")
    train(examples, plan(out), NOWHERE, said, resume=True)
    parent, seed = sp.runs_of(out / sp.SPOOL)
    assert (parent.header.name, parent.header.experiment) == ("las", "sea")
    assert (seed.header.name, seed.header.parent) == ("seed-1", parent.header.id)
    for run in (parent, seed):
        turns = [e.get("status", "open") for e, _ in run.events() if e["kind"] in ("open", "end")]
        assert turns == ["open", "KILLED", "open", "FINISHED"]


def test_a_new_training_in_the_folder_of_a_deleted_one_is_another_run(tmp_path):
    for _ in range(2):
        reporter = mlflow_reporter.of_training(tmp_path / "las", print, environ=NOWHERE)
        reporter.on_start({})
        reporter.on_end(tmp_path / "las", "FAILED")
    names = sorted(run.header.name for run in sp.runs_of(tmp_path / "las" / sp.SPOOL))
    assert names == ["las", "las-2"]


def test_without_mlflow_it_says_so_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said = []
    assert isinstance(mlflow_reporter.of_training(tmp_path, said.append), NullReporter)
    assert len(said) == 1 and "mlflow is not installed" in said[0]
    assert not list(tmp_path.iterdir())


def test_a_spool_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / sp.SPOOL).write_text("in the way")
    said = []
    reporter = mlflow_reporter.of_training(tmp_path, said.append, environ=NOWHERE)
    reporter.on_start({"recipe": {}})
    seed = reporter.child("seed-1")
    seed.on_start({})
    seed.on_epoch({"loss": 1.0}, 1)
    seed.on_end(tmp_path / "seed-1", "FINISHED")
    reporter.on_end(tmp_path, "FINISHED")
    assert said and all(line.startswith("tracking, which is now incomplete") for line in said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"register": "a/b"}, "cannot be named 'a/b'"),
        ({"environ": {"MLFLOW_TRACKING_URI": "mlruns"}}, "no longer writes file stores"),
    ],
)
def test_wrong_settings_are_told_before_training(tmp_path, options, message):
    with pytest.raises(SettingError, match=message):
        mlflow_reporter.of_training(tmp_path, print, **({"environ": NOWHERE} | options))
