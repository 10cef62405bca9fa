"""The MLflow server of the tests of tracking."""

import pytest


@pytest.fixture(scope="session")
def server(mlflow_server_process):
    return mlflow_server_process
