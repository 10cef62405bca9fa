"""Passes over a real bucket: answers, reasons to wait, one round with its candidate, and kills."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import s3_server
from labelled_shapes import picture, sorted_shapes, tar_of

from pi10_classifier.model.package import Package, read_package
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.retraining.lease import FOLDER
from pi10_classifier.retraining.rounds import TEST
from pi10_classifier.retraining.service import Retraining
from pi10_classifier.retraining.settings import RetrainSettings
from pi10_classifier.sources.s3_client import S3Client


class World:
    """A bucket of labels, and passes over it."""

    def __init__(self, store: S3Client, bucket: str, champion: Package, home: Path) -> None:
        self.source, self.out = (
            Bucket.of(store, f"s3://{bucket}/{name}/") for name in ("in", "out")
        )
        self._champion, self._home = champion, home

    def run(self, **variables: str) -> dict[str, Any]:
        environ = {
            **os.environ, "PI10_RETRAIN_SETTLE_S": "0", "PI10_RETRAIN_EACH_CLASS": "4",
            "MLFLOW_TRACKING_URI": "", **variables,
        }  # fmt: skip
        settings = RetrainSettings.from_environ(environ)
        work = self._home / str(len(list(self._home.iterdir())))
        self.said: list[str] = []
        return Retraining(
            self.source, self.out, self._champion, settings, work, environ, emit=self.said.append
        ).run()

    def answers(self) -> dict[str, dict[str, Any]]:
        entries = [json.loads(self.out.get(x.name)) for x in self.out.outputs("answers/")]
        return {answer["key"]: answer for answer in entries}

    def names(self, begins: str = "") -> list[str]:
        return [x.name for x in self.out.outputs(begins) if not x.name.startswith(".pi10/")]


@pytest.fixture
def world(
    s3: s3_server.Server, package: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> World:
    bucket = f"labels{abs(hash(request.node.nodeid)) % 10**9}"
    s3.client.make_bucket(bucket_name=bucket)
    return World(S3Client(s3.environ()), bucket, read_package(package)[0], tmp_path)


def test_each_delivery_has_one_answer_and_too_few_labels_wait(world: World) -> None:
    world.source.put("ANNA/a.tar", tar_of(sorted_shapes(2)))
    world.source.put("a b/é+.csv", b"particle_id,label\ncopepod-0,copepod\n")
    world.source.put("broken.zip", b"PK\x03\x04rubbish")
    world.source.put(".hidden.tar", b"x")
    status = world.run()
    assert status["state"] == "waiting"
    assert "copepod has 2" in status["reason"]
    answers = world.answers()
    assert {key: answer["status"] for key, answer in answers.items()} == {
        "in/ANNA/a.tar": "accepted", "in/a b/é+.csv": "accepted", "in/broken.zip": "refused",
    }  # fmt: skip
    before = {name: world.out.get(name) for name in world.names("answers/")}
    world.run()
    assert {name: world.out.get(name) for name in world.names("answers/")} == before
    assert json.loads(world.out.get("status.json"))["state"] == "waiting"


def test_a_delivery_that_is_too_large_is_not_even_fetched(world: World) -> None:
    world.source.put("a.tar", tar_of(sorted_shapes(1)))
    world.run(PI10_RETRAIN_GIB="0.000001")
    assert world.answers()["in/a.tar"]["refused"]["code"] == "too_large"


def test_a_frozen_test_that_would_be_too_small_waits_before_the_fit(world: World) -> None:
    world.source.put("a.tar", tar_of(sorted_shapes(10)))
    status = world.run(PI10_RETRAIN_NEW_LABELS="1")
    assert status["state"] == "waiting"
    assert "the frozen test would have 6 pictures; it needs 30" in status["reason"]
    assert not world.names("test/")


def test_a_round_makes_a_candidate_a_comparison_and_a_frozen_test(world: World) -> None:
    # the tiny package knows nothing of shapes, so a new head is better
    world.source.put("a.tar", tar_of(sorted_shapes(60)))
    status = world.run(PI10_RETRAIN_REGISTER="shapes")
    assert status["state"] == "candidate", status["reason"]
    assert status["candidate"]["how"] == "adapt"
    assert status["comparison"]["difference"]["low"] > 0
    assert status["registered"]["text"].endswith("MLFLOW_TRACKING_URI is not set")
    where = f"rounds/{status['round']}/"
    made = {name.removeprefix(where) for name in world.names(where)}
    assert {"report.json", "report.html", "labels.csv", "manifest.csv", "comparison.json",
            "package/model.onnx", "package/model.json", "package/README.md"} <= made  # fmt: skip
    assert "begun.json" not in made
    assert f"test/{TEST}" in world.names("test/")
    page = world.out.get(f"{where}report.html").decode()
    assert "Candidate against champion" in page and "<script" not in page
    # the same labels are no reason for a second round
    assert world.run()["state"] == "waiting"
    # a head that cannot be better, as the time is over, leaves the frozen test as it is
    before = world.out.get(f"test/{TEST}", 2**24)
    world.source.put("b.tar", tar_of(sorted_shapes(20, first=100)))
    late = world.run(PI10_RETRAIN_MINUTES="0.001")
    assert late["state"] == "no_candidate"
    assert "PI10_RETRAIN_MINUTES" in late["reason"]
    assert world.out.get(f"test/{TEST}", 2**24) == before


def test_labels_that_kill_their_rounds_are_set_aside(world: World) -> None:
    world.source.put("a.tar", tar_of(sorted_shapes(60)))
    status = world.run(PI10_RETRAIN_MINUTES="0.001")
    assert status["state"] == "no_candidate"
    # what a killed job leaves: begun, but no report
    begun: list[bytes] = []
    put = Bucket.put

    def keep(self: Bucket, name: str, data: bytes) -> None:
        if name.endswith("begun.json"):
            begun.append(data)
        put(self, name, data)

    world.source.put("b.tar", tar_of(sorted_shapes(20, first=50)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bucket, "put", keep)
        world.run(PI10_RETRAIN_MINUTES="0.001", PI10_RETRAIN_NEW_LABELS="1")
    for number in range(3):
        world.out.put(f"rounds/2026010{number}T000000Z/begun.json", begun[0])
    status = world.run(PI10_RETRAIN_NEW_LABELS="0")
    assert status["state"] == "set_aside"
    assert "began and never ended" in status["reason"]


def test_a_delivery_that_came_during_a_round_is_taken_in(world: World) -> None:
    """Its job meets the leader's marker and goes; the leader lists again when that is gone."""
    delete = Bucket.delete
    late = tar_of({"copepod/late.png": picture("copepod", 7)})

    def delete_and_deliver(self: Bucket, name: str) -> None:
        delete(self, name)
        if name.startswith(FOLDER) and "in/late.tar" not in world.answers():
            world.source.put("late.tar", late)

    world.source.put("a.tar", tar_of(sorted_shapes(1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bucket, "delete", delete_and_deliver)
        world.run()
    assert world.answers()["in/late.tar"]["status"] == "accepted"


def test_a_job_that_meets_a_leader_answers_and_goes(world: World) -> None:
    world.source.put("a.tar", tar_of(sorted_shapes(1)))
    world.out.put(f"{FOLDER}of-another-job", b"")
    assert world.run()["state"] == "elsewhere"
    assert "in/a.tar" in world.answers()
