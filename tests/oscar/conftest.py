"""Fixtures of the OSCAR face: a handler with the tiny model, and objects to give it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from objects import record_of, version_of

from pi10_classifier.classify import Settings
from pi10_classifier.oscar.handler import Handler
from pi10_classifier.oscar.settings import ServiceSettings


@pytest.fixture(scope="session")
def handler(package: Path) -> Handler:
    return Handler(ServiceSettings(Settings(model=package, jobs=2)))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


@pytest.fixture
def handle(handler: Handler, tmp_path: Path, out: Path) -> Callable[..., dict[str, Any]]:
    """Handle one object's bytes; returns its record."""

    def run(key: str, data: bytes, into: Path = out) -> dict[str, Any]:
        path = tmp_path / "downloaded"
        path.write_bytes(data)
        return record_of(into, handler.handle(path, version_of(key, data), into))

    return run
