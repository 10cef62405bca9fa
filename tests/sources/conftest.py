"""Fixtures of S3: a bucket of its own, and a network that fails."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from s3_server import Proxy, Server

_numbers = itertools.count()


@pytest.fixture
def bucket(s3: Server) -> str:
    name = f"bucket-{next(_numbers)}"
    s3.client.make_bucket(bucket_name=name)
    return name


@pytest.fixture
def proxy(s3: Server) -> Iterator[Proxy]:
    proxy = Proxy(s3.url)
    yield proxy
    proxy.close()
