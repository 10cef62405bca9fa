"""Fixtures of the API's tests: a server, uploads, labelled data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import support

pytest.importorskip("deepaas", reason="the extra [serve] is not installed")

import deepaas_server

from pi10_classifier.api.predictions.uploads import Spooled, Upload


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[deepaas_server.Server]:
    """One server with one worker, as the marketplace starts it, with a data set and a model."""
    home = tmp_path_factory.mktemp("deepaas")
    support.write_zip(home / "data/labelled.zip", deepaas_server.labelled())
    support.write_package(home / "models/tiny")
    yield from deepaas_server.running(
        home / "run", PI10_DATA_DIR=str(home / "data"), PI10_MODELS_DIR=str(home / "models"),
        PI10_MAX_UPLOAD_MB="64", PI10_MAX_IMAGES="2000", PI10_MAX_SECONDS="240",
    )  # fmt: skip


@pytest.fixture
def spooled(tmp_path: Path) -> Callable[..., Spooled]:
    """Files as a request leaves them on disk."""

    def write(**files: bytes) -> Spooled:
        folder = tmp_path / f"request-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        kept = []
        for number, (name, data) in enumerate(files.items()):
            path = folder / str(number)
            path.write_bytes(data)
            kept.append(Upload(name.replace("__", "."), path))
        return Spooled(folder, tuple(kept))

    return write
