"""One MLflow server for all tests of tracking."""

import pytest


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One MLflow server for all, not started yet; a start takes longer than most tests."""
    from mlflow_server import Server

    server = Server(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.kill()
