"""Fixtures that several modules share."""

from __future__ import annotations

from pathlib import Path

import pytest
import support

from pi10_classifier.model import Model


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model package of 16 patches and three classes."""
    return support.write_package(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def model(package: Path) -> Model:
    return Model.load(package)
