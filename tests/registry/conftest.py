"""What the tests of the registry share."""

import pytest
import support
from relay import Relay

from pi10_classifier.registry.client import Registry


@pytest.fixture
def server(mlflow_server_process):
    """The server that the tests of tracking use too, started unless it runs."""
    pytest.importorskip("mlflow")
    mlflow_server_process.start()
    return mlflow_server_process


@pytest.fixture
def environ(server, tmp_path):
    """The variables of a user of the server, with a cache of their own."""
    return {"MLFLOW_TRACKING_URI": server.url, "PI10_MODEL_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def registry(environ):
    return Registry.from_environ(environ)


@pytest.fixture
def name(request):
    """A registered model of the test's own."""
    return request.node.name[:100].replace("[", "-").replace("]", "")


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """A second package, of other bytes than ``package``."""
    folder = tmp_path_factory.mktemp("models") / "other"
    return support.write_package(folder, support.tiny_model(support.weights(seed=1)), version="2.0")


@pytest.fixture
def relay(server):
    """The server behind an address at which it can go away and come back."""
    relay = Relay(server.port)
    yield relay
    relay.close()
