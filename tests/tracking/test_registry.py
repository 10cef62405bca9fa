"""Registered versions on a real MLflow server: each once, and who holds the alias."""

import itertools

import pytest

from pi10_classifier.tracking.registry import FIGURE_TAG, register
from pi10_classifier.tracking.run import open_run, sync

mlflow = pytest.importorskip("mlflow")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|alembic|sqlalchemy).*"),
]

ONE, OTHER = "a" * 64, "b" * 64
_clock = itertools.count(1000)


@pytest.fixture(scope="module")
def client(server):
    server.start()
    return mlflow.MlflowClient(server.url)


@pytest.fixture
def submit(client, request):
    """A run that registers a version; returns the version that holds the alias after it."""
    name = request.node.name
    experiment = client.create_experiment(name)

    def make(figure=None, split="", at=0) -> str:
        run = client.create_run(experiment)
        event = {
            "model": name, "alias": "candidate", "folder": "model", "stored": "files/x/model",
            "content": "c", "figure": "" if figure is None else repr(figure), "split": split,
            "at": at or next(_clock),
        }  # fmt: skip
        place = run.info.run_id, run.info.artifact_uri
        register(client, *place, "f" * 32, event)
        register(client, *place, "f" * 32, event)  # as after a kill before it was noted
        (version,) = client.search_model_versions(f"name='{name}' and run_id='{place[0]}'")
        assert version.tags.get(FIGURE_TAG, "") == event["figure"]
        return client.get_model_version_by_alias(name, "candidate").version

    return make


def test_on_one_split_the_better_one_is_the_candidate(submit):
    assert submit(0.80, ONE) == "1"
    assert submit(0.79, ONE) == "1", "a later training that is worse takes nothing"
    assert submit(0.80, ONE) == "1", "nor one that is as good"
    assert submit(0.81, ONE) == "4"
    assert submit(0.9, ONE, at=5) == "5", "one that is sent late is judged alike"


def test_figures_of_two_splits_are_not_compared(submit):
    assert submit(0.9, ONE) == "1"
    assert submit(0.5, OTHER) == "2", "the later one, as new data ask for"
    assert submit(0.4, OTHER) == "2"
    assert submit(0.99, ONE, at=5) == "2", "an older one that is sent late takes nothing"


def test_without_a_figure_the_later_one_is_the_candidate(submit):
    assert submit() == "1"
    assert submit() == "2"
    assert submit(at=5) == "2"


def test_a_package_that_is_told_twice_is_one_version(client, server, tmp_path, package):
    """As of a training that was killed between telling of its package and its end."""
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    for _ in range(2):
        with open_run("twice", "seed-1", folder=tmp_path, environ=nowhere) as run:
            run.package(package, register_as="twice", figure=0.5, split=ONE)
    (sent,) = sync(tmp_path, {"MLFLOW_TRACKING_URI": server.url})
    assert (sent.pending, sent.refused) == (0, ())
    (version,) = client.search_model_versions("name='twice'")
    held = client.get_model_version_by_alias("twice", "candidate")
    assert held.version == version.version == "1"
