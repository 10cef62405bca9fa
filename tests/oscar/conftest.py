"""Fixtures of the OSCAR face: a handler with the tiny model, and objects to give it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import s3_server
import support
from batch_world import BINS, World, put
from objects import record_of, version_of

from pi10_classifier.inference.settings import Settings
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.records.settings import ServiceSettings
from pi10_classifier.sources.s3_client import S3Client


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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    home = tmp_path_factory.mktemp("cruise")
    found = {}
    for number in range(BINS):
        begin = support.START + timedelta(hours=6 * number)
        members = support.bin_members(10 + number, begin, number)
        members[support.name_of(900, begin)] = support.particle(1)[:500]
        tar = support.write_tar(home / "a.tar", members).read_bytes()
        found[f"rapid/{begin:%Y-%m-%d}/{begin:%H%M}.tar"] = tar
    found |= {f"rapid/é l+oose/{n}.tif": support.particle(n) for n in range(4)}
    found |= {"rapid/é l+oose/5.tif": b"", "rapid/marker/": b"", "elsewhere/6.tif": b"x"}
    return found


@pytest.fixture
def worlds(
    s3: s3_server.Server, tmp_path: Path, package: Path, files: dict[str, bytes]
) -> Callable[[], World]:
    """Makes worlds with the same cruise, each in a bucket of its own."""
    count = 0

    def make() -> World:
        nonlocal count
        count += 1
        unique = hashlib.sha256(f"{tmp_path}{count}".encode()).hexdigest()[:12]
        s3.client.make_bucket(bucket_name=f"b{unique}")
        world = World(S3Client(s3.environ()), f"b{unique}", tmp_path / str(count), package)
        for key, data in files.items():
            put(world, key, data)
        return world

    return make


@pytest.fixture
def world(worlds: Callable[[], World]) -> World:
    return worlds()
