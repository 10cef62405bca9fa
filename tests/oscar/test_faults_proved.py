"""The faults that must lose nothing, and which test proves it of each.

| fault | proved by |
|---|---|
| 1 duplicate event | handler::test_a_hundred_events_of_one_object_leave_the_same_bytes |
| 2 events out of order | handler::test_the_object_as_it_is_now_wins_over_the_events_order |
| 3 lost event | stack::test_nothing_is_lost_where_events_are_and_workers_die |
| 4 partial upload, short read | faults_proved::test_a_job_behind_a_bad_network_leaves_the_record_of_the_whole_object, faults_proved::test_a_cut_download_is_no_result_of_the_object, s3_client::test_content_is_the_same_byte_for_byte |
| 13 space, +, %2B, Unicode, NFC, NFD | event::test_a_key_is_decoded_once, naming::test_a_name_fits_any_file_system_and_is_read_back, reconcile::test_each_input_has_one_record_whatever_its_name |
| 14 long keys | naming::test_a_key_no_file_system_holds_gets_a_short_form, handler::test_long_and_hostile_keys_stay_in_the_folder |
| 15 folder marker | naming::test_what_is_no_input_is_known_by_its_key, stack::test_files_dropped_into_the_bucket_have_records_in_the_bucket |
| 16 deleted before it is read | faults_proved::test_a_job_for_an_object_that_is_gone_leaves_nothing, reconcile::test_an_object_deleted_in_the_meantime_is_no_input_any_more |
| 17 503, SlowDown, time-outs | reconcile::test_the_storage_may_stutter, reconcile::test_the_endpoint_may_stutter, s3_client::test_an_answer_that_never_comes_ends_at_the_deadline |
| 18 full disk | script::test_a_full_disk_is_a_passing_failure_or_no_record_at_all |
| 19 SIGKILL at any moment | script::test_killed_at_any_moment_it_leaves_whole_files_and_a_rerun_completes_them, faults_proved::test_a_reconciler_killed_again_and_again_completes_the_same_records |
| 20 SIGTERM under load | faults_proved::test_a_reconciler_killed_again_and_again_completes_the_same_records |
| 21 clock skew | faults_proved::test_a_wrong_clock_changes_nothing |
| 22 recursion | fdl::test_a_service_that_would_start_itself_is_refused, reconcile::test_an_output_under_its_input_is_refused |
| 23 poison input | reconcile::test_an_input_that_kills_its_workers_is_set_aside_and_tried_again_on_demand |
| 24 several writers of one result | faults_proved::test_fifty_writers_of_one_result_leave_one |
"""  # noqa: E501

from __future__ import annotations

import hashlib
import io
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import s3_server
import support
from objects import version_of
from s3_server import Proxy, Server

from pi10_classifier.oscar.bucket import Bucket, Listed, Output
from pi10_classifier.oscar.local import supervisor
from pi10_classifier.oscar.local.supervisor import JobEnd, Storage, SupervisorJob
from pi10_classifier.oscar.reconcile import reconcile
from pi10_classifier.oscar.reconcile.pairing import PairState, pairs
from pi10_classifier.oscar.reconcile.reconcile import ReconcileOptions, Reconciler
from pi10_classifier.oscar.reconcile.resubmit import InPlace
from pi10_classifier.oscar.records.event import Event
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.services.fdl import named
from pi10_classifier.oscar.services.variants import in_bucket, with_variables
from pi10_classifier.sources.s3_client import S3Client

_numbers = itertools.count()
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def test_each_test_of_the_table_is_there() -> None:
    tests = Path(__file__).parents[1]
    rows = [line for line in (__doc__ or "").splitlines() if re.match(r"\| \d", line)]
    faults = [int(row.split()[1]) for row in rows]
    assert faults == [1, 2, 3, 4, *range(13, 25)]
    for row in rows:
        named_tests = re.findall(r"(\w+)::(\w+)", row)
        assert named_tests, row
        for module, test in named_tests:
            (path,) = [p for folder in ("oscar", "sources")
                       for p in tests.joinpath(folder).rglob(f"test_{module}.py")]  # fmt: skip
            assert f"def {test}(" in path.read_text("utf-8"), (module, test)


@pytest.fixture
def bucket(s3: Server) -> str:
    name = f"faults-{next(_numbers)}"
    s3.client.make_bucket(bucket_name=name)
    return name


def put(s3: Server, bucket: str, key: str, data: bytes) -> None:
    s3.client.put_object(
        bucket_name=bucket, object_name=key, data=io.BytesIO(data), length=len(data)
    )


def outputs(s3: Server, bucket: str) -> dict[str, bytes]:
    out = Bucket.of(S3Client(s3.environ()), f"s3://{bucket}/out/")
    return {e.name: out.get(e.name) for e in out.outputs("") if not e.name.startswith(".pi10/")}


@pytest.fixture
def proxy(s3: Server) -> Iterator[Proxy]:
    proxy = Proxy(s3.url)
    yield proxy
    proxy.close()


def job(url: str, bucket: str, key: str, data: bytes, package: Path, scratch: Path) -> JobEnd:
    """What OSCAR's job does for one event, by the real faas-supervisor."""
    python = supervisor.installed()
    if python is None:
        pytest.skip("faas-supervisor is missing: `pi10 oscar local prepare`")
    service = in_bucket(
        with_variables(named("pi10-events"), {"PI10_MODEL": str(package), "PI10_JOBS": "1"}), bucket
    )
    storage = Storage(url, s3_server.ACCESS_KEY, s3_server.SECRET_KEY)
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
    event = Event(bucket, key, etag, len(data)).to_json().encode()
    return SupervisorJob(service, storage, python, scratch).job(event, lambda _: None)


@pytest.mark.slow
def test_a_job_behind_a_bad_network_leaves_the_record_of_the_whole_object(
    s3: Server, proxy: Proxy, bucket: str, package: Path, tmp_path: Path
) -> None:
    data = support.particle(1)
    put(s3, bucket, "in/a.tif", data)
    job(s3.url, bucket, "in/a.tif", data, package, tmp_path)
    expected = outputs(s3, bucket)
    [name] = expected
    s3.client.remove_object(bucket_name=bucket, object_name=f"out/{name}")
    proxy.script = [s3_server.slow_down, s3_server.cut_body, s3_server.hang_up, s3_server.cut_body]
    end = job(proxy.url, bucket, "in/a.tif", data, package, tmp_path)
    assert not proxy.script
    assert outputs(s3, bucket) == expected, end.output


def test_a_cut_download_is_no_result_of_the_object(
    handler: Handler, tmp_path: Path, out: Path
) -> None:
    data = support.particle(1)
    said = version_of("in/a.tif", data)
    path = tmp_path / "downloaded"
    path.write_bytes(data[: len(data) // 2])
    done = handler.handle(path, said, out)
    found = [Output(name, WHEN) for name in done.names]
    [pair] = pairs([Listed(said, WHEN)], found, handler.identity, lambda _: [])
    assert pair.state is PairState.MISSING  # so `reconcile` does it again


@pytest.mark.slow
def test_a_job_for_an_object_that_is_gone_leaves_nothing(
    s3: Server, bucket: str, package: Path, tmp_path: Path
) -> None:
    job(s3.url, bucket, "in/a.tif", b"gone", package, tmp_path)
    assert outputs(s3, bucket) == {}


@pytest.mark.slow
def test_a_reconciler_killed_again_and_again_completes_the_same_records(
    s3: Server, handler: Handler, package: Path, tmp_path: Path
) -> None:
    """PI10_KILLS is how often; SIGKILL and SIGTERM in turns."""
    name = f"kills-{next(_numbers)}"
    tar = support.write_tar(tmp_path / "1450.tar", support.bin_members(60)).read_bytes()
    objects = {f"in/c 1/{n:02}.tif": support.particle(n) for n in range(12)} | {"in/1450.tar": tar}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "pi10_classifier", "oscar", "reconcile", f"s3://{name}/in/",
             "--out", f"s3://{name}/out/", "--in-place", "--grace", "0", "--attempts", "9",
             "--jobs", "1"],
            env={**os.environ, **s3.environ(), "PI10_MODEL": str(package), "PI10_JOBS": "2"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def fresh() -> None:
        for entry in s3.client.list_objects(bucket_name=name, prefix="out/", recursive=True):
            s3.client.remove_object(bucket_name=name, object_name=entry.object_name)

    s3.client.make_bucket(bucket_name=name)
    for key, data in objects.items():
        put(s3, name, key, data)
    began = time.monotonic()
    assert start().wait(300) == 0
    seconds = time.monotonic() - began
    expected = outputs(s3, name)
    assert len(expected) == len(objects) + 4
    fresh()
    drawn = random.Random(7)
    for number in range(int(os.environ.get("PI10_KILLS", "4"))):
        process = start()
        time.sleep(drawn.uniform(0.3, 1.0) * seconds)
        process.send_signal(signal.SIGTERM if number % 2 else signal.SIGKILL)
        # a process that is interrupted while it starts or ends dies of SIGINT: 130 in a shell
        asked = (0, 130, -signal.SIGINT, -signal.SIGTERM)
        assert process.wait(60) in (asked if number % 2 else (0, -signal.SIGKILL))
        left = {n: d for n, d in outputs(s3, name).items() if "attempt-" not in n}
        assert left.items() <= expected.items()
    for _ in range(2):  # the second clears what attempts the first left behind
        assert start().wait(300) == 0
    assert outputs(s3, name) == expected


def test_a_wrong_clock_changes_nothing(
    s3: Server, bucket: str, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(datetime):
        """A machine's clock after its battery died."""

        @classmethod
        def now(cls, tz: Any = None) -> Wrong:
            return cls(1970, 1, 1, tzinfo=tz) + timedelta(days=365 * 100)

    monkeypatch.setattr(reconcile, "datetime", Wrong)
    put(s3, bucket, "in/a.tif", support.particle(1))
    store = S3Client(s3.environ())
    source, out = (Bucket.of(store, f"s3://{bucket}/{folder}/") for folder in ("in", "out"))
    report = Reconciler(
        source, out, handler.package, handler.identity, InPlace(handler, out, lambda: None),
        ReconcileOptions(grace_s=600),
    ).run()  # fmt: skip
    assert report.counts["waiting"] == 1  # young by the server's clock, whatever ours says


def test_fifty_writers_of_one_result_leave_one(s3: Server, bucket: str, handler: Handler) -> None:
    data = support.particle(1)
    put(s3, bucket, "in/a.tif", data)
    out = Bucket.of(S3Client(s3.environ()), f"s3://{bucket}/out/")
    version = version_of("in/a.tif", data, bucket)
    seen = set()

    def write(_: int) -> None:
        assert InPlace(handler, out, lambda: None).submit(version) == "result"
        seen.add(tuple(outputs(s3, bucket).items()))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(50)))
    assert len(seen) == 1
