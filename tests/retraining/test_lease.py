"""One job leads at a time; a killed one is forgotten; a storage that is away is an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import s3_server

from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.retraining.lease import FOLDER, Lease
from pi10_classifier.sources.s3_client import S3Client


@pytest.fixture
def out(s3: s3_server.Server, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    name = f"lease{abs(hash(request.node.name)) % 10**8}"
    s3.client.make_bucket(bucket_name=name)
    return Bucket.of(S3Client(s3.environ()), f"s3://{name}/out/")


def test_a_second_job_does_not_lead(out: Bucket) -> None:
    with Lease(out) as first, Lease(out) as second:
        assert (first.leads, second.leads) == (True, False)
    assert not list(out.outputs(FOLDER))
    with Lease(out) as third:
        assert third.leads


def test_a_killed_job_is_forgotten(out: Bucket) -> None:
    out.put(f"{FOLDER}of-a-killed-job", b"")
    with Lease(out) as early:
        assert not early.leads
    with Lease(out, lost_after_s=0) as late:
        assert late.leads
    assert not list(out.outputs(FOLDER))


def test_of_many_at_once_never_two_lead(out: Bucket) -> None:
    leading, most, lock = 0, 0, threading.Lock()
    led = []

    def run() -> None:
        nonlocal leading, most
        with Lease(out) as lease:
            if lease.leads:
                with lock:
                    leading += 1
                    most = max(most, leading)
                threading.Event().wait(0.2)
                with lock:
                    leading -= 1
                    led.append(True)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 1
    assert not list(out.outputs(FOLDER))
