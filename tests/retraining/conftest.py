"""Reads deliveries, into a folder for the pictures that are taken of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapes

from pi10_classifier.retraining.delivery import Delivery, read_delivery


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def deliver(tmp_path: Path, store: Path) -> Callable[..., Delivery]:
    """Read one object's bytes as a delivery."""

    def run(data: bytes, key: str = "in/x", **more: Any) -> Delivery:
        path = tmp_path / "object"
        path.write_bytes(data)
        return read_delivery(path, key, shapes.CLASSES, store, **more)

    return run
