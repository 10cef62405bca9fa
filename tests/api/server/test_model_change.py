"""`pi10 serve` follows a registry: the next model comes in beside requests, and goes back."""

import signal
import threading
from itertools import pairwise

import pytest
import support
from service import serving, until

from pi10_classifier.model.package import read_package
from pi10_classifier.registry.client import Registry
from pi10_classifier.registry.register import register

pytestmark = pytest.mark.slow
IMAGE = ("a.tif", support.particle(1))


@pytest.fixture
def environ(mlflow_server_process, tmp_path):
    pytest.importorskip("mlflow")
    mlflow_server_process.start()
    return {
        "MLFLOW_TRACKING_URI": mlflow_server_process.url,
        "PI10_MODEL_CACHE": str(tmp_path / "cache"),
    }


def test_a_new_model_comes_and_goes_without_a_lost_request(
    mlflow_server_process, environ, package, tmp_path
):
    other = support.write_package(
        tmp_path / "other", support.tiny_model(support.weights(seed=1)), version="2.0"
    )
    hashes = [read_package(folder)[0].sha256 for folder in (package, other)]
    registry = Registry.from_environ(environ)
    for folder in (package, other):
        register(registry, "served", folder)
    registry.set_alias("served", "champion", "1")
    asked = ("--model", "models:/served@champion", "--workers", "2")
    with serving(tmp_path / "serve", *asked, PI10_MODEL_POLL_S="86400", **environ) as service:
        replies, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                replies.append(service.predict(IMAGE))

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        try:
            for count, version in enumerate(("2", "1"), 1):
                registry.set_alias("served", "champion", version)
                service.process.send_signal(signal.SIGHUP)
                until(lambda n=count: len(service.logged("model changed")) == n, "it changes")
                told = service.ask("/health/ready").json["model"]
                assert (told["registered_version"], told["sha256"]) == (
                    version, hashes[int(version) - 1],
                )  # fmt: skip
                here = len(replies)
                until(lambda n=here: len(replies) > n + 6, "requests go on")
        finally:
            stop.set()
            for client in clients:
                client.join()
        assert {reply.status for reply in replies} == {200}
        said = [reply.json["model"]["sha256"] for reply in replies]
        assert set(said) == set(hashes)
        # one of three at a time may still run with the model before
        changes = sum(a != b for a, b in pairwise(said))
        assert changes <= 2 + 2 * 2 * len(clients)
        assert service.figure("pi10_model_changes") == 2

        # sound as a file, and refused by the runtime
        output = {"name": "absent", "activation": "softmax"}
        bad = support.write_package(tmp_path / "bad", version="3.0", output=output)
        registry.set_alias("served", "champion", register(registry, "served", bad).version)
        service.process.send_signal(signal.SIGHUP)
        until(lambda: service.logged("model not asked for"), "it refuses the damaged one")
        assert service.predict(IMAGE).json["model"]["sha256"] == hashes[0]

        # not what was registered
        version = register(registry, "served", support.write_package(tmp_path / "x", version="4.0"))
        with mlflow_server_process.stored(version, "model.onnx").open("ab") as stream:
            stream.write(b"x")
        registry.set_alias("served", "champion", version.version)
        service.process.send_signal(signal.SIGHUP)
        until(
            lambda: "but it was registered with" in str(service.logged("model not asked for")),
            "it refuses other bytes than those that were registered",
        )
        assert service.predict(IMAGE).json["model"]["sha256"] == hashes[0]
        assert service.ask("/health/ready").status == 200
