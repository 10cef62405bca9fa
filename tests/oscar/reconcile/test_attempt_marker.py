"""Markers of work that began: real jobs against a real S3 server, killed and not."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import s3_server
import support
from objects import version_of
from s3_server import Server

from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.reconcile.attempt_marker import LATE_S, Marker, is_late
from pi10_classifier.oscar.records.event import Event
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.records.naming import Ending, ObjectVersion, ResultName
from pi10_classifier.oscar.records.supervisor_storage import output_of
from pi10_classifier.oscar.services.fdl import folder
from pi10_classifier.sources.s3_client import S3Client

_numbers = itertools.count()
PROVIDER = {"endpoint": "http://127.0.0.1:9", "access_key": "me", "secret_key": "secret"}

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def config(provider: Any = PROVIDER, kind: str = "minio", output: Any = None) -> dict[str, str]:
    """What faas-supervisor is told, as OSCAR tells it."""
    said = {
        "output": [{"storage_provider": f"{kind}.default", "path": "pi10/out"}]
        if output is None
        else output,
        "storage_providers": {kind: {"default": provider}},
    }
    return {"FUNCTION_CONFIG": base64.b64encode(json.dumps(said).encode()).decode()}


class TestWhatTheSupervisorWasTold:
    @pytest.mark.parametrize(
        "more", [{}, {"verify": False}, {"verify": True, "region": "eu-west-1"}]
    )
    def test_the_output_folder(self, more: dict[str, Any], tmp_path: Path) -> None:
        out = output_of(config({**PROVIDER, **more}), tmp_path / "none")
        assert str(out) == "s3://pi10/out/"
        mounted = tmp_path / "function_config.yaml"
        mounted.write_bytes(base64.b64decode(config()["FUNCTION_CONFIG"]))
        assert str(output_of({}, mounted)) == "s3://pi10/out/"

    def test_amazons_own(self, tmp_path: Path) -> None:
        keys = {"access_key": "me", "secret_key": "secret"}
        assert str(output_of(config(keys, "s3"), tmp_path)) == "s3://pi10/out/"

    @pytest.mark.parametrize(
        "environ",
        [
            {},
            {"FUNCTION_CONFIG": "%"},
            {"FUNCTION_CONFIG": base64.b64encode(b"a: [").decode()},
            {"FUNCTION_CONFIG": base64.b64encode(b"3").decode()},
            config(kind="onedata"),
            config(output=[]),
            config({"endpoint": "http://127.0.0.1:9"}),
            config({**PROVIDER, "endpoint": "http://me:secret@127.0.0.1:9"}),
            config(output=[{"storage_provider": "minio.other", "path": "pi10/out"}]),
            config(output=[{"storage_provider": "minio.default", "path": "/"}]),
        ],
    )
    def test_what_cannot_be_used_is_no_folder(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        assert output_of(environ, tmp_path / "none") is None


@pytest.mark.parametrize(
    ("event", "late"),
    [
        (Event("b", "k", when=NOW), False),
        (Event("b", "k", when=NOW - timedelta(seconds=LATE_S + 60)), True),
        (Event("b", "k", when=NOW, attempt=1), True),
        (Event("b", "k"), False),
    ],
)
def test_who_shows_itself_at_once(event: Event, late: bool) -> None:
    assert is_late(event, NOW) is late


VERSION = ObjectVersion("pi10", "in/a.tif", "e1", 1)


def test_a_job_in_time_asks_for_no_storage() -> None:
    def never() -> None:
        raise AssertionError("the storage was asked for")

    with Marker(never, VERSION, "ab" * 32, 0, at_once=False) as marker:
        pass
    assert not marker.made


def test_a_storage_that_is_away_stops_no_work(capfd: pytest.CaptureFixture[str]) -> None:
    store = S3Client({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "PI10_S3_DEADLINE": "0.1"})
    out = Bucket.of(store, "s3://pi10/out/")
    with Marker(lambda: out, VERSION, "ab" * 32, 1, at_once=True) as marker:
        pass
    assert not marker.made
    assert "no answer within" in capfd.readouterr().err


class Place:
    """A bucket, one image in it, and jobs on that image by the script, each a process."""

    def __init__(self, s3: Server, handler: Handler, package: Path, home: Path) -> None:
        self.bucket = f"marker-{next(_numbers)}"
        s3.client.make_bucket(bucket_name=self.bucket)
        self.handler, self.package, self.home = handler, package, home
        self.data = support.particle(1)
        self.version = version_of("in/a.tif", self.data, self.bucket)
        s3.client.put_object(
            bucket_name=self.bucket, object_name="in/a.tif", data=io.BytesIO(self.data),
            length=len(self.data),
        )  # fmt: skip
        self.out = Bucket.of(S3Client(s3.environ()), f"s3://{self.bucket}/out/")
        self.provider = {"endpoint": s3.url, "access_key": s3_server.ACCESS_KEY,
                         "secret_key": s3_server.SECRET_KEY, "verify": False}  # fmt: skip

    def start(self, path: Path, made: Path, attempt: int) -> subprocess.Popen[str]:
        version = self.version
        event = Event(version.bucket, version.key, version.etag, version.size, attempt)
        output = [{"storage_provider": "minio.default", "path": f"{self.bucket}/out"}]
        environ = {
            "PATH": os.environ["PATH"], "PI10_PYTHON": sys.executable, "PI10_JOBS": "1",
            "PI10_MODEL": str(self.package), "EVENT": event.to_json(),
            "STORAGE_OBJECT_KEY": version.key, "INPUT_FILE_PATH": str(path),
            "TMP_OUTPUT_DIR": str(made), **config(self.provider, output=output),
        }  # fmt: skip
        return subprocess.Popen(
            ["/bin/sh", folder() / "script.sh"], env=environ, stderr=subprocess.PIPE, text=True
        )

    def names(self) -> set[str]:
        found = {ResultName.parse(entry.name) for entry in self.out.outputs("")}
        return {name.ending for name in found if name}

    def put(self, ending: str, data: bytes = b"{}") -> None:
        self.out.put(str(ResultName.of(self.version, self.handler.identity, ending)), data)


@pytest.fixture
def place(s3: Server, handler: Handler, package: Path, tmp_path: Path) -> Place:
    return Place(s3, handler, package, tmp_path)


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_marker_outlives_its_job_only_where_that_is_killed(place: Place, out: Path) -> None:
    waits = place.home / "pipe"
    os.mkfifo(waits)  # who reads it waits for ever
    process = place.start(waits, out, attempt=2)
    until(lambda: place.names() == {"attempt-2.begun"}, process)
    process.kill()
    process.communicate()
    assert place.names() == {"attempt-2.begun"}
    path = place.home / "a.tif"
    path.write_bytes(place.data)
    place.put(Ending.FAILURE)  # it was set aside meanwhile
    process = place.start(path, out, attempt=3)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert place.names() == {"attempt-2.begun"}  # its own is gone, and the failure with it
    assert [path.name for path in out.rglob("*.json")]


@pytest.mark.slow
def test_a_failure_of_what_has_a_result_is_not_recorded(place: Place, out: Path) -> None:
    place.put(Ending.RESULT)
    broken = place.home / "folder"
    broken.mkdir()  # what cannot be read: a passing failure
    process = place.start(broken, out, attempt=0)
    said = process.communicate(timeout=120)[1]
    assert "not recorded: there is a result by now" in said
    assert not [path for path in out.rglob("*") if path.is_file()]
    assert place.names() == {Ending.RESULT}
