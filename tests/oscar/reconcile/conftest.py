"""Fixtures of reconcile: a room of its own in the S3 server, and a network that fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from reconcile_room import Room
from s3_server import Proxy, Server

from pi10_classifier.oscar.records.handler import Handler


@pytest.fixture
def room(s3: Server, handler: Handler) -> Room:
    return Room(s3, handler)


@pytest.fixture
def proxy(s3: Server) -> Iterator[Proxy]:
    proxy = Proxy(s3.url)
    yield proxy
    proxy.close()
