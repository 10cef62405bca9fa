"""Trainings over the API: predictions meanwhile, cancelled, refused, never left behind."""

from __future__ import annotations

import asyncio
import io
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import support
from deepaas_server import Server, gone, labelled, running

from pi10_classifier.api.deepaas.pool import train_apart
from pi10_classifier.api.trainings.jobs import TRAININGS

pytest.importorskip("torch", reason="the extra [train] is not installed")

IMAGE = support.particle(1)
# a network of a few layers on images of 32 px: an epoch takes a second
QUICK = {"init": "random", "size": 32, "warm_size": 0, "batch": 16, "augmentation": "none"}


def begin(server: Server, **options: Any) -> requests.Response:
    given = {"dataset": "labelled.zip", **QUICK, **options}
    given = {name: value for name, value in given.items() if value is not None}
    return requests.post(f"{server.url}/train/", params=given, timeout=240)


def told(server: Server, uuid: str) -> dict:
    answer = requests.get(f"{server.url}/train/{uuid}", timeout=60)
    assert answer.status_code == 200
    return answer.json()


def until(check: Callable[[], Any], within: float = 400) -> Any:
    end = time.monotonic() + within
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError("not within its time")


def predicts(server: Server) -> bool:
    return server.predict(("a.tif", IMAGE)).json()["totals"]["results"] == 1


@pytest.fixture(autouse=True)
def no_training_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that fails leaves none to those after it."""
    yield
    if "server" in request.fixturenames:
        server: Server = request.getfixturevalue("server")
        for known in requests.get(f"{server.url}/train/", timeout=60).json():
            requests.delete(f"{server.url}/train/{known['uuid']}", timeout=60)


def children(server: Server) -> list[psutil.Process]:
    """The processes of trainings: `pi10 train`, and the one that tells MLflow."""
    found = []
    for process in server.family():
        words = " ".join(process.cmdline())
        if "pi10_classifier.api.trainings.child_process" in words or "training.sender" in words:
            found.append(process)
    return found


@pytest.mark.slow
def test_trains_predicts_meanwhile_and_serves_what_it_trained(server: Server) -> None:
    begun = begin(server, epochs=3)
    assert begun.status_code == 200, begun.text
    uuid, name = begun.json()["uuid"], begun.json()["training"]["training"]
    assert children(server)
    answered = 0
    while (state := told(server, uuid))["status"] == "running":
        assert predicts(server)
        answered += 1
        time.sleep(0.2)  # the training wants its share of the machine
    assert answered > 0
    done = state["result"]["output"]
    assert (done["status"], done.get("error", "")) == ("finished", "")
    assert [s["epochs_done"] for s in done["seeds"]] == [3]
    assert len(done["mlflow"]["run_id"]) == 32
    assert done["mlflow"]["run_name"] == name
    assert done["mlflow"]["status"] == "FINISHED"
    assert 0 <= done["test"]["test split"]["macro_f1"]["value"] <= 1
    # it can be asked for at once, by its name
    answer = server.predict(("a.tif", IMAGE), model=name).json()
    assert answer["model"]["sha256"] == done["sha256"]
    assert not children(server)


@pytest.mark.slow
def test_progress_and_cancelling(server: Server) -> None:
    begun = begin(server, epochs=2000)
    uuid = begun.json()["uuid"]
    mine = until(lambda: children(server))

    def epochs() -> int:
        seeds = told(server, uuid)["training"]["seeds"]
        return seeds[0]["epochs_done"] if seeds else 0

    first = until(epochs)
    assert until(lambda: epochs() > first)
    everyone = requests.get(f"{server.url}/train/", timeout=60).json()
    assert [t["training"]["status"] for t in everyone if t["uuid"] == uuid] == ["running"]
    metadata = requests.get(f"{server.url}/", timeout=60).json()
    assert "running" in [t["status"] for t in metadata["trainings"]]
    # one at a time
    second = begin(server)
    assert second.status_code == 503
    assert int(second.headers["Retry-After"]) > 0

    ended = requests.delete(f"{server.url}/train/{uuid}", timeout=60)
    assert ended.status_code == 200
    assert ended.json()["status"] == "cancelled"
    assert ended.json()["result"]["output"]["status"] == "cancelled"
    assert gone(mine, 30)
    assert predicts(server)
    assert requests.get(f"{server.url}/train/{uuid}", timeout=60).status_code == 404


def test_cancelled_while_it_begins_it_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    support.write_zip(tmp_path / "data/labelled.zip", labelled(6))
    (tmp_path / "trainings").mkdir()
    monkeypatch.setenv("PI10_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PI10_TRAIN_DIR", str(tmp_path / "trainings"))

    async def run() -> dict[str, Any]:
        task = asyncio.ensure_future(train_apart({"dataset": "labelled.zip"}))
        await asyncio.sleep(0)  # its thread is at work now
        task.cancel()
        return await task

    try:
        assert asyncio.run(run())["status"] == "cancelled"
        assert TRAININGS.running == 0
    finally:
        TRAININGS.close()


@pytest.mark.slow
def test_an_uploaded_data_set(server: Server) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in labelled(12).items():
            archive.writestr(name, data or b"")
    begun = requests.post(
        f"{server.url}/train/", params={**QUICK, "epochs": 2000},
        files={"data": ("mine.zip", out.getvalue())}, timeout=240,
    )  # fmt: skip
    assert begun.status_code == 200, begun.text
    assert begun.json()["args"]["data"] == ["mine.zip"]
    uuid = begun.json()["uuid"]
    until(lambda: told(server, uuid)["training"]["seeds"])
    requests.delete(f"{server.url}/train/{uuid}", timeout=60)
    assert server.leftovers() == []
    folder = server.trainings / begun.json()["training"]["training"]
    assert until(lambda: not (folder / "input").exists())


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"dataset": "../../etc"}, "dataset"), ({"dataset": "none"}, "dataset"),
            ({"epochs": 0}, "epochs"), ({"size": 5000}, "size"), ({"init": "/etc"}, "init"),
            ({"recipe": "/etc/passwd"}, "recipe"), ({"recipe": "x/y.toml"}, "recipe"),
            ({"teacher": "/tmp"}, "teacher"), ({"optimiser": "rmsprop"}, "optimiser"),
            ({"device": "http://x/"}, "device"), ({"ema": 1.5}, "ema"), ({"rate": 0}, "rate"),
            ({"look_without": "/etc"}, "look_without"), ({"measured": "a;b"}, "measured"),
        ],
    )  # fmt: skip
    def test_a_wrong_option_is_named(self, server: Server, options: dict, field: str) -> None:
        answer = begin(server, **options)
        assert answer.status_code == 422
        assert list(answer.json()) == [field]

    def test_no_data_and_data_that_are_no_archive(self, server: Server) -> None:
        assert begin(server, dataset=None).json()["error"]["code"] == "bad_setting"
        table = {"data": ("table.csv", b"path,label\n/etc/passwd,copepod\n")}
        answer = requests.post(f"{server.url}/train/", files=table, timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unsupported_format")
        assert server.leftovers() == []

    @pytest.mark.slow
    def test_what_only_the_training_finds_out(self, server: Server) -> None:
        uuid = begin(server, network="whale_net").json()["uuid"]
        state = until(
            lambda: (s := told(server, uuid))["status"] != "running" and "result" in s and s
        )
        output = state["result"]["output"]
        assert (state["status"], output["status"]) == ("error", "failed")
        assert output["error"]["code"] == "bad_setting"
        assert "whale_net" in output["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=str)
def test_a_server_that_ends_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    support.write_zip(tmp_path / "data/labelled.zip", labelled())
    servers = running(tmp_path / "run", PI10_DATA_DIR=str(tmp_path / "data"))
    server = next(servers)
    try:
        begin(server, epochs=2000)
        until(lambda: list(server.trainings.glob("*/seed-*/metrics.csv")))
        family = server.family()
        assert len(family) >= 4  # the server, a worker, the training, its sender
        server.process.send_signal(number)
        assert gone(family, 60)
    finally:
        servers.close()
