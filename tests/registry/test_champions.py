"""Promotion and rollback by the commands, on a real MLflow server, with the record of each."""

import json
from dataclasses import replace

import marks
import pytest
from click.testing import CliRunner

from pi10_classifier import cli
from pi10_classifier.datasets.manifest import manifest
from pi10_classifier.datasets.scan import scan
from pi10_classifier.registry.champions import Change, champions
from pi10_classifier.registry.client import RegisteredModel
from pi10_classifier.registry.register import register
from pi10_classifier.registry.resolve import resolve

COUNTS = {"copepod": 40, "detritus": 30, "noncopepod": 20}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A good package, one as good, and one that calls everything by another class's name."""
    home = tmp_path_factory.mktemp("m")
    return {
        "good": marks.package(home / "good", version="1"),
        "same": marks.package(home / "same", strength=0.03, version="2"),
        "bad": marks.package(home / "bad", strength=-0.02, version="3"),
        "krill": marks.package(
            home / "krill", version="4", classes=["copepod", "detritus", "krill"]
        ),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return marks.tree(tmp_path_factory.mktemp("d") / "marks", COUNTS, doubt=0.8)


@pytest.fixture
def pi10(environ):
    def call(*words):
        return CliRunner().invoke(cli.pi10, [str(word) for word in words], env=environ)

    return call


def test_the_way_into_service_and_back(pi10, registry, environ, name, models, data, tmp_path):
    def promote(version, *more, images=data):
        register(registry, name, models[version])
        out = tmp_path / version
        return pi10("models", "promote", name, "--data", images, "--out", out, *more)

    def champion():
        return resolve(f"models:/{name}@champion", environ).version

    first = promote("good", "--why", "the first", "--by", "ann")
    assert first.exit_code == 0, first.output
    assert "no champion" in first.output
    assert champion() == "1"
    again = promote("good")
    assert "already" in again.exception.message

    worse = promote("bad")
    assert "its macro-F1 is lower" in worse.exception.message
    assert "comparison.md" in worse.exception.message
    assert champion() == "1"
    report = json.loads((tmp_path / "bad/comparison.json").read_text())
    assert report["difference"]["high"] < 0
    assert report["refusals"]
    assert "| macro-F1 | 90 |" in (tmp_path / "bad/comparison.md").read_text()

    other = promote("krill")
    assert "it adds krill and lacks noncopepod" in other.exception.message

    assert promote("same").exit_code == 0
    assert champion() == "4"
    moved = promote("bad", images=marks.tree(tmp_path / "others", COUNTS, seed=9))
    assert "not the test images of the promotions before" in moved.exception.message
    assert promote("bad", "--anyway", "--why", "a try").exit_code == 0
    assert champion() == "2"

    for expected in ("4", "1"):
        back = pi10("models", "rollback", name, "--why", "calls all bubbles", "--by", "bob")
        assert back.exit_code == 0, back.output
        assert champion() == expected
    assert "no earlier champion" in pi10("models", "rollback", name).exception.message

    shown = json.loads(pi10("models", "show", name, "--json").output)
    said = [(c["act"], c["before"], c["after"], c["why"]) for c in shown["changes"]]
    assert said == [
        ("promote", "", "1", "the first"), ("promote", "1", "4", ""),
        ("promote", "4", "2", "a try"), ("rollback", "2", "4", "calls all bubbles"),
        ("rollback", "4", "1", "calls all bubbles"),
    ]  # fmt: skip
    assert [c["by"] for c in shown["changes"]][::4] == ["ann", "bob"]
    assert shown["changes"][2]["figures"]["refusals"]
    assert f"{name}: candidate is version 2, champion is version 1" in pi10("models", "list").output
    assert "calls all bubbles" in pi10("models", "show", name).output


def test_a_candidate_whose_stored_files_changed_is_refused(
    pi10, server, registry, environ, name, models, data, tmp_path
):
    """Also where it was sound when it came into this machine's cache."""

    def promote(*more):
        return pi10("models", "promote", name, "--data", data, "--out", tmp_path / "out", *more)

    register(registry, name, models["good"])
    assert promote().exit_code == 0
    version = register(registry, name, models["same"])
    assert resolve(f"models:/{name}@candidate", environ).version == version.version == "2"
    for file in ("model.onnx", "model.json"):
        path = server.stored(version, file)
        whole = path.read_bytes()
        path.write_bytes(whole + b" ")
        for more in ((), ("--anyway",)):
            refused = promote(*more)
            assert "but it was registered with" in refused.exception.message
        path.write_bytes(whole)
    assert resolve(f"models:/{name}@champion", environ).version == "1"
    shown = json.loads(pi10("models", "show", name, "--json").output)
    assert [change["after"] for change in shown["changes"]] == ["1"]
    assert promote().exit_code == 0, "as it was registered"
    assert resolve(f"models:/{name}@champion", environ).version == "2"


def test_the_test_split_of_a_manifest_judges(pi10, registry, name, models, data, tmp_path):
    samples = scan([data]).samples
    parts = (replace(s, split="test" if i % 2 else "train") for i, s in enumerate(samples))
    (tmp_path / "manifest.csv").write_text(manifest(parts), "utf-8")
    register(registry, name, models["good"])
    given = ("--data", data, "--manifest", tmp_path / "manifest.csv", "--out", tmp_path / "out")
    done = pi10("models", "promote", name, *given, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "out/comparison.json").read_text())
    assert (report["images"], report["split"]) == (45, "test")


def test_register_by_the_command(pi10, registry, name, models):
    done = pi10("models", "register", models["good"], "--name", name, "--json", "--why", "new")
    assert json.loads(done.output)["tags"]["pi10.registered_why"] == "new"
    refused = pi10("models", "register", models["good"], "--name", name, "--alias", "champion")
    assert "promote" in refused.exception.message


def model_with(champion, *changes):
    tags = {
        f"pi10.change.{i:03}": json.dumps(Change("t", *change, "b", "w").to_dict())
        for i, change in enumerate(changes)
    }
    return RegisteredModel("m", {"champion": champion} if champion else {}, tags)


@pytest.mark.parametrize(
    ("held", "changes", "line"),
    [
        ("", [], []),
        ("3", [], ["3"]),
        ("2", [("promote", "", "1"), ("promote", "1", "2")], ["1", "2"]),
        ("1", [("promote", "", "1"), ("promote", "1", "2")], ["1"]),  # cut before the alias
        ("9", [("promote", "", "1"), ("promote", "1", "2")], ["1", "2", "9"]),  # set by hand
        ("2", [("promote", "5", "2")], ["5", "2"]),
        ("1", [("promote", "", "1"), ("promote", "1", "2"), ("rollback", "2", "1")], ["1"]),
        (
            "3",
            [("promote", "", "1"), ("promote", "1", "2"), ("rollback", "2", "1"),
             ("promote", "1", "3")],
            ["1", "3"],
        ),
    ],
)  # fmt: skip
def test_the_line_of_champions(held, changes, line):
    assert champions(model_with(held, *changes)) == line


@pytest.mark.parametrize(
    "words", [("show", "absent"), ("rollback", "absent", "--why", "a trial")], ids=" ".join
)
def test_a_model_that_the_registry_lacks_is_told_with_where_to_look(pi10, words):
    told = pi10("models", *words)
    assert told.exit_code != 0
    assert "has no model 'absent'; `pi10 models list` names them" in str(told.exception)
