"""A service with a registered model: each invocation takes the version that is champion then."""

import json

import pytest
import support
from relay import Relay

from pi10_classifier.model.package import read_package
from pi10_classifier.oscar.__main__ import main
from pi10_classifier.registry.client import Registry
from pi10_classifier.registry.register import register

pytestmark = pytest.mark.slow


@pytest.fixture
def relay(mlflow_server_process):
    pytest.importorskip("mlflow")
    mlflow_server_process.start()
    relay = Relay(mlflow_server_process.port)
    yield relay
    relay.close()


@pytest.fixture
def environ(relay, tmp_path):
    return {
        "MLFLOW_TRACKING_URI": relay.url,
        "PI10_MODEL_CACHE": str(tmp_path / "cache"),
        "PI10_MODEL": "models:/invoked@champion",
        "PI10_JOBS": "1",
    }


def test_each_invocation_asks_and_goes_on_while_the_registry_is_away(
    environ, relay, package, tmp_path, caplog
):
    other = support.write_package(
        tmp_path / "other", support.tiny_model(support.weights(seed=1)), version="2.0"
    )
    registry = Registry.from_environ(environ)
    for folder in (package, other):
        register(registry, "invoked", folder)
    image = tmp_path / "a.tif"
    image.write_bytes(support.particle(1))

    def invoke(out):
        (tmp_path / out).mkdir()
        given = {"INPUT_FILE_PATH": str(image), "TMP_OUTPUT_DIR": str(tmp_path / out)}
        assert main({**environ, **given}) == 0
        [record] = (tmp_path / out).glob("*.json")
        return json.loads(record.read_text())["model"]["sha256"]

    hashes = [read_package(folder)[0].sha256 for folder in (package, other)]
    for out, version in (("first", "1"), ("second", "2"), ("back", "1")):
        registry.set_alias("invoked", "champion", version)
        assert invoke(out) == hashes[int(version) - 1]
    assert not caplog.records
    relay.away = True
    assert invoke("away") == hashes[0]
    assert "does not answer" in caplog.text
    assert "using version 1" in caplog.text
