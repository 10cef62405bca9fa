"""Gaps closed, against a real S3 server: lost events, crashes, outages, poison, recursion."""

from __future__ import annotations

import io
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import oscar_endpoint as endpoints
import pytest
import s3_server
import support
from click.testing import CliRunner
from s3_server import Proxy, Server

from pi10_classifier.cli import pi10
from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.reconcile.attempt_marker import Marker
from pi10_classifier.oscar.reconcile.reconcile import ReconcileOptions, Reconciler, Report
from pi10_classifier.oscar.reconcile.resubmit import InPlace, JobEndpoint
from pi10_classifier.oscar.records.event import Event
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.records.naming import Ending, ObjectVersion, ResultName, skip_reason
from pi10_classifier.oscar.records.record import ObjectOutcome, record_bytes
from pi10_classifier.sources.s3_client import S3Client

_numbers = itertools.count()
KEYS = ["a b.tif", "é/c+d.tif", "RawImages\\p%2B.tif", "x" * 230 + ".tif", "a", "a.tif/b.tif",
        "NFC \u00e9.tif", "NFD e\u0301.tif", "same \u00e9", "same e\u0301"]  # fmt: skip


class Room:
    """A bucket of inputs, one of outputs, and runs of the reconciler over them."""

    def __init__(self, s3: Server, handler: Handler) -> None:
        self.s3, self.handler = s3, handler
        self.bucket = f"room-{next(_numbers)}"
        s3.client.make_bucket(bucket_name=self.bucket)
        self.source = f"s3://{self.bucket}/in/"
        self.target = f"s3://{self.bucket}/out/"

    def put(self, name: str, data: bytes) -> None:
        self.s3.client.put_object(
            bucket_name=self.bucket, object_name=f"in/{name}",
            data=io.BytesIO(data), length=len(data),
        )  # fmt: skip

    def store(self, **environ: str) -> S3Client:
        return S3Client(self.s3.environ(**environ))

    def run(self, submitter: Any = None, environ: dict[str, str] | None = None,
            **plan: Any) -> Report:  # fmt: skip
        store = self.store(**(environ or {}))
        out = Bucket.of(store, self.target)
        plan = {"grace_s": 0.0, "parallel": 2, **plan}
        return Reconciler(
            Bucket.of(store, self.source), out, self.handler.package, self.handler.identity,
            submitter or InPlace(self.handler, out, lambda: None), ReconcileOptions(**plan),
        ).run()  # fmt: skip

    def outputs(self) -> dict[str, bytes]:
        """All files of ours, by their names."""
        out = Bucket.of(self.store(), self.target)
        names = [entry.name for entry in out.outputs("") if not entry.name.startswith(".pi10/")]
        return {name: out.get(name) for name in names}

    def records(self) -> dict[str, dict[str, Any]]:
        """Key -> record; an input has exactly one."""
        said = [json.loads(data) for name, data in self.outputs().items() if name.endswith("json")]
        by_key = {record["key"]: record for record in said}
        assert len(by_key) == len(said)
        return by_key


def job_of(out: Bucket, handler: Handler, event: Event) -> Marker:
    """A job as it shows itself while it works."""
    version = ObjectVersion(event.bucket, event.key, event.etag, event.size)
    return Marker(lambda: out, version, handler.identity, event.attempt, at_once=True,
                  every_s=3600)  # fmt: skip


def begin(out: Bucket, handler: Handler, event: Event) -> Marker:
    """A job that has begun; it ends by ``__exit__``, or never."""
    return job_of(out, handler, event).__enter__()


@pytest.fixture
def room(s3: Server, handler: Handler) -> Room:
    return Room(s3, handler)


@pytest.fixture
def proxy(s3: Server) -> Iterator[Proxy]:
    proxy = Proxy(s3.url)
    yield proxy
    proxy.close()


def adds_up(report: Report) -> dict[str, int]:
    totals: dict[str, int] = report.to_json()["totals"]
    parts = ("results", "failures", "skipped", "gone", "open")
    assert totals["inputs"] == sum(totals[name] for name in parts)
    return totals


def test_each_input_has_one_record_whatever_its_name(room: Room) -> None:
    for number, key in enumerate(KEYS):
        room.put(key, support.particle(number))
    room.put("broken.tif", support.particle(1)[:500])
    room.put("cruise/", b"")
    room.put("HitsMisses.txt", b"1,2\n")
    room.put("1450.tar", b"no tar")
    report = room.run()
    count = len(KEYS)
    assert adds_up(report) == {
        "inputs": count + 4, "results": count, "failures": 2, "skipped": 2, "gone": 0,
        "open": 0, "submitted": count + 2, "set_aside": 0,
    }  # fmt: skip
    failures = ["archive_corrupt: in/1450.tar", "corrupt_image: in/broken.tif"]
    assert sorted(report.to_json()["examples"]["failures"]) == failures
    records = room.records()
    assert set(records) == {f"in/{key}" for key in [*KEYS, "broken.tif", "1450.tar"]}
    assert all(skip_reason(name) for name in room.outputs())
    before = room.outputs()
    again = room.run()
    assert adds_up(again)["submitted"] == 0
    assert again.to_json()["examples"] == {"failures": failures}
    assert room.outputs() == before
    assert (again.exit_code(), again.exit_code(scheduled=True)) == (3, 0)


def test_the_command_tells_failures_and_what_is_no_address(
    room: Room, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in room.s3.environ(PI10_MODEL=str(package)).items():
        monkeypatch.setenv(name, value)

    def reconcile(*words: str) -> Any:
        command = ["oscar", "reconcile", room.source, "--out", room.target, "--in-place", *words]
        return CliRunner().invoke(pi10, command)

    done = reconcile()
    assert done.exit_code == 4
    assert f"{room.source} holds no objects; check the address" in done.stderr
    room.put("a.tif", support.particle(1))
    assert reconcile("--dry-run").exit_code == 3  # young, so open
    assert reconcile("--grace", "0").exit_code == 0
    room.put("broken.tif", support.particle(1)[:500])
    done = reconcile("--grace", "0")
    assert done.exit_code == 3
    assert "failures:\n  corrupt_image: in/broken.tif\n" in done.stdout
    assert reconcile("--scheduled").exit_code == 0


def test_archives_are_done_in_place_tables_first(room: Room, tmp_path: Path) -> None:
    tar = support.write_tar(tmp_path / "1450.tar", support.bin_members(20))
    room.put("2024-06-24/1450.tar", tar.read_bytes())
    assert adds_up(room.run())["results"] == 1
    endings = {ResultName.parse(name).ending for name in room.outputs()}  # type: ignore[union-attr]
    assert endings == {
        "tables.json",
        "predictions.parquet",
        "counts.csv",
        "bins.csv",
        "failures.csv",
    }
    [lost] = (name for name in room.outputs() if name.endswith(".bins.csv"))
    room.s3.client.remove_object(bucket_name=room.bucket, object_name=f"out/{lost}")
    assert adds_up(room.run())["submitted"] == 1  # a result without all its tables is none
    assert lost in room.outputs()


def test_a_changed_object_is_done_anew(room: Room) -> None:
    room.put("a.tif", support.particle(1))
    room.run()
    room.put("a.tif", support.particle(2))
    report = room.run()
    assert adds_up(report)["submitted"] == 1
    assert report.counts["stale"] == 1
    assert len(room.outputs()) == 2  # the older content's record stays, under its own name


def test_young_inputs_are_left_to_their_events(room: Room) -> None:
    room.put("a.tif", support.particle(1))
    report = room.run(grace_s=600.0)
    assert report.counts["waiting"] == 1
    assert adds_up(report)["open"] == 1
    assert room.outputs() == {}


def test_a_dry_run_and_a_limit(room: Room) -> None:
    for number in range(4):
        room.put(f"{number}.tif", support.particle(number))
    assert room.run(dry_run=True).counts["due"] == 4
    assert room.outputs() == {}
    report = room.run(limit=3)
    assert (adds_up(report)["submitted"], report.counts["beyond_limit"]) == (3, 1)


def test_an_input_that_kills_its_workers_is_set_aside_and_tried_again_on_demand(
    room: Room, handler: Handler
) -> None:
    room.put("good.tif", support.particle(1))
    room.put("poison.tif", support.particle(2))
    out = Bucket.of(room.store(), room.target)
    poisonous = True

    def job(event: Event) -> None:
        if event.key == "in/poison.tif" and poisonous:
            begin(out, handler, event)  # and died: no record, and OSCAR never tells
            return
        version = ObjectVersion(event.bucket, event.key, event.etag, event.size)
        InPlace(handler, out, lambda: None).submit(version)

    with endpoints.serve(job) as endpoint:
        submitter = JobEndpoint(endpoint.environ(), "pi10-events")
        for _ in range(3):
            assert adds_up(room.run(submitter))["submitted"] > 0
        report = room.run(submitter)
        assert adds_up(report)["set_aside"] == 1
        assert [event.key for event in endpoint.taken].count("in/poison.tif") == 3
        said = room.records()["in/poison.tif"]
        assert said["failure"]["code"] == "set_aside"
        assert said["failure"]["message"].startswith("3 jobs began on it and none finished")
        assert adds_up(room.run(submitter)) == {
            "inputs": 2, "results": 1, "failures": 1, "skipped": 0, "gone": 0,
            "open": 0, "submitted": 0, "set_aside": 0,
        }  # fmt: skip
        assert not [name for name in room.outputs() if "attempt" in name]
        assert adds_up(room.run(submitter, failed=True, codes=("corrupt_image",)))["submitted"] == 0
        poisonous = False
        assert adds_up(room.run(submitter, failed=True, codes=("set_aside",)))["submitted"] == 1
        assert adds_up(room.run(submitter))["results"] == 2


class TestLongQueues:
    def test_what_only_waits_is_never_set_aside(self, room: Room) -> None:
        for number in range(30):
            room.put(f"{number}.tif", support.particle(1))
        with endpoints.serve(lambda _: None) as endpoint:  # accepts, and no job ever starts
            submitter = JobEndpoint(endpoint.environ(), "pi10-events")
            for _ in range(12):
                assert adds_up(room.run(submitter))["set_aside"] == 0
            report = room.run(submitter)
        assert (report.open, report.counts["never_begun"]) == (30, 30)
        assert len(report.to_json()["examples"]["never_begun"]) == 20
        assert not [name for name in room.outputs() if name.endswith("json")]
        # jobs start at last: each input has its result, and no trace of the waiting is left
        assert adds_up(room.run())["submitted"] == 30
        assert adds_up(room.run())["results"] == 30
        assert [record["status"] for record in room.records().values()] == ["result"] * 30
        assert len(room.outputs()) == 30

    def test_each_submission_more_waits_for_twice_the_time(
        self, room: Room, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So an hourly run does not fill a queue with the same inputs."""
        room.put("a.tif", support.particle(1))
        real, ahead = Bucket.now, [timedelta(0)]
        monkeypatch.setattr(Bucket, "now", lambda self: real(self) + ahead[0])
        with endpoints.serve(lambda _: None) as endpoint:
            submitter = JobEndpoint(endpoint.environ(), "pi10-events")

            def submitted(after_s: float) -> int:
                ahead[0] = timedelta(seconds=after_s)  # all markers are put at the real time
                return adds_up(room.run(submitter, grace_s=600.0))["submitted"]

            assert [submitted(s) for s in (500, 700)] == [0, 1]
            assert [submitted(s) for s in (500, 700)] == [0, 1]
            assert [submitted(s) for s in (700, 1100, 1300)] == [0, 0, 1]
            assert [submitted(s) for s in (1300, 2300, 2500)] == [0, 0, 1]

    def test_what_is_worked_on_is_neither_submitted_nor_set_aside(
        self, room: Room, handler: Handler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        room.put("slow.tif", support.particle(1))
        out = Bucket.of(room.store(), room.target)
        real, ahead = Bucket.now, [timedelta(0)]
        monkeypatch.setattr(Bucket, "now", lambda self: real(self) + ahead[0])
        jobs: list[Marker] = []
        with endpoints.serve(lambda e: jobs.append(begin(out, handler, e))) as endpoint:
            submitter = JobEndpoint(endpoint.environ(), "pi10-events")
            for _ in range(3):
                room.run(submitter)
            ahead[0] = timedelta(seconds=500)
            report = room.run(submitter, grace_s=600.0)
            assert report.counts["running"] == 1 and not adds_up(report)["submitted"]
            ahead[0] = timedelta(seconds=700)  # no sign of life since: killed
            assert adds_up(room.run(submitter, grace_s=600.0))["set_aside"] == 1
        for job in jobs:
            job.__exit__()

    def test_who_ends_without_a_record_is_no_killer(self, room: Room, handler: Handler) -> None:
        """Stopped by a signal, or out of disk: the marker goes with the job."""
        room.put("a.tif", support.particle(1))
        out = Bucket.of(room.store(), room.target)
        with endpoints.serve(lambda e: begin(out, handler, e).__exit__()) as endpoint:
            submitter = JobEndpoint(endpoint.environ(), "pi10-events")
            for _ in range(5):
                assert adds_up(room.run(submitter))["set_aside"] == 0

    def test_passing_failures_are_no_killers(self, room: Room, handler: Handler) -> None:
        room.put("a.tif", support.particle(1))
        out = Bucket.of(room.store(), room.target)

        def job(event: Event) -> None:
            with job_of(out, handler, event):
                version = ObjectVersion(event.bucket, event.key, event.etag, event.size)
                failed = ObjectOutcome.failure(Code.DISK_FULL, "no space left")
                data = record_bytes(failed, version, handler.package, handler.identity)
                out.put(str(ResultName.of(version, handler.identity, Ending.RETRY)), data)

        with endpoints.serve(job) as endpoint:
            submitter = JobEndpoint(endpoint.environ(), "pi10-events")
            for _ in range(5):
                assert adds_up(room.run(submitter))["set_aside"] == 0
        assert room.records()["in/a.tif"]["failure"]["code"] == "disk_full"


class TestNoFailureBesideAResult:
    """The three moments at which a late job can meet the setting aside of its object."""

    @pytest.fixture
    def killer(self, room: Room, handler: Handler) -> ObjectVersion:
        """An object that three jobs began on and did not end."""
        room.put("a.tif", support.particle(1))
        [entry] = Bucket.of(room.store(), room.source).inputs()
        out = Bucket.of(room.store(), room.target)
        for number in (1, 2, 3):
            version = entry.version
            event = Event(version.bucket, version.key, version.etag, version.size, number)
            begin(out, handler, event)
        return entry.version

    def test_a_result_that_came_before_it(
        self, room: Room, handler: Handler, killer: ObjectVersion
    ) -> None:
        out = Bucket.of(room.store(), room.target)
        real = Bucket.now

        def late(self: Bucket) -> Any:
            now = real(self)
            InPlace(handler, out, lambda: None).submit(killer)
            return now

        listed = list(out.outputs(""))  # as the run sees the folder: without the result
        with pytest.MonkeyPatch.context() as patch:
            looks = iter([listed])
            outputs = Bucket.outputs
            patch.setattr(
                Bucket, "outputs", lambda self, begins: next(looks, None) or outputs(self, begins)
            )
            patch.setattr(Bucket, "now", late)
            room.run()
        assert room.records()["in/a.tif"]["status"] == "result"

    def test_a_job_that_ends_while_it_is_written(
        self, room: Room, handler: Handler, killer: ObjectVersion
    ) -> None:
        out = Bucket.of(room.store(), room.target)
        event = Event(killer.bucket, killer.key, killer.etag, killer.size, 2)
        put = Bucket.put

        def late(self: Bucket, name: str, data: bytes) -> None:
            if name.endswith("failure.json"):
                # its last job lives: it looks for a failure, finds none, and uploads later
                begin(out, handler, event).__exit__()
            put(self, name, data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Bucket, "put", late)
            assert adds_up(room.run())["set_aside"] == 0
        assert not [name for name in room.outputs() if name.endswith("failure.json")]
        InPlace(handler, out, lambda: None).submit(killer)
        room.run()
        assert room.records()["in/a.tif"]["status"] == "result"

    def test_a_job_that_ends_after_it(
        self, room: Room, handler: Handler, killer: ObjectVersion, tmp_path: Path
    ) -> None:
        out = Bucket.of(room.store(), room.target)
        assert adds_up(room.run())["set_aside"] == 1
        path, made = tmp_path / "a.tif", tmp_path / "made"
        path.write_bytes(support.particle(1))
        made.mkdir()
        event = Event(killer.bucket, killer.key, killer.etag, killer.size, 3)
        with job_of(out, handler, event) as marker:
            done = handler.handle(path, killer, made)
        assert marker.settle(done, made)
        # gone before its result is uploaded
        assert not [name for name in room.outputs() if name.endswith("failure.json")]

    def test_a_failure_that_comes_late_does_not_join_a_result(
        self, room: Room, handler: Handler, killer: ObjectVersion, tmp_path: Path
    ) -> None:
        out = Bucket.of(room.store(), room.target)
        InPlace(handler, out, lambda: None).submit(killer)
        made = tmp_path / "made"
        made.mkdir()
        event = Event(killer.bucket, killer.key, killer.etag, killer.size, 3)
        with job_of(out, handler, event) as marker:
            done = handler.handle(None, killer, made)
        assert done.failure and not marker.settle(done, made)
        assert not [path for path in made.rglob("*") if path.is_file()]

    def test_pairs_that_exist_are_repaired(
        self, room: Room, handler: Handler, killer: ObjectVersion
    ) -> None:
        out = Bucket.of(room.store(), room.target)
        InPlace(handler, out, lambda: None).submit(killer)
        failed = ObjectOutcome.failure(Code.SET_ASIDE, "as an earlier version left it")
        data = record_bytes(failed, killer, handler.package, handler.identity)
        out.put(str(ResultName.of(killer, handler.identity, Ending.FAILURE)), data)
        assert adds_up(room.run()) == {
            "inputs": 1, "results": 1, "failures": 0, "skipped": 0, "gone": 0, "open": 0,
            "submitted": 0, "set_aside": 0,
        }  # fmt: skip
        assert len(room.outputs()) == 1


def test_in_place_what_may_kill_is_done_alone(room: Room, handler: Handler) -> None:
    for number in range(6):
        room.put(f"{number}.tif", support.particle(number))
    out = Bucket.of(room.store(), room.target)
    [suspect] = (
        e.version for e in Bucket.of(room.store(), room.source).inputs() if "/3" in e.version.key
    )
    begin(out, handler, Event(suspect.bucket, suspect.key, suspect.etag, suspect.size, 1))
    lock, at_work, beside = threading.Lock(), set(), set()

    class Watched(InPlace):
        def submit(self, version: ObjectVersion, attempt: int = 0) -> str:
            with lock:
                at_work.add(version.key)
                if suspect.key in at_work:
                    beside.update(at_work - {suspect.key})
            try:
                return super().submit(version, attempt)
            finally:
                with lock:
                    at_work.discard(version.key)

    assert adds_up(room.run(Watched(handler, out, lambda: None), parallel=4))["results"] == 6
    assert not beside
    assert len(room.outputs()) == 6


def test_passing_failures_are_tried_again_and_overruled(room: Room, handler: Handler) -> None:
    data = support.particle(1)
    room.put("a.tif", data)
    [entry] = Bucket.of(room.store(), room.source).inputs()
    version = entry.version
    failed = ObjectOutcome.failure(Code.DISK_FULL, "no space left")
    name = str(ResultName.of(version, handler.identity, Ending.RETRY))
    out = Bucket.of(room.store(), room.target)
    out.put(name, record_bytes(failed, version, handler.package, handler.identity))
    assert adds_up(room.run())["results"] == 1
    room.run()
    assert room.records()["in/a.tif"]["status"] == "result"  # and no other record


class TestOutages:
    def test_the_storage_may_stutter(self, room: Room, proxy: Proxy) -> None:
        for number in range(3):
            room.put(f"{number}.tif", support.particle(number))
        proxy.script = [
            s3_server.slow_down, s3_server.hang_up, s3_server.bad_gateway, s3_server.cut_body,
            s3_server.slow_down, s3_server.cut_without_length, s3_server.slow_down,
        ]  # fmt: skip
        store = room.store(AWS_ENDPOINT_URL=proxy.url)
        submitter = InPlace(room.handler, Bucket.of(store, room.target), lambda: None)
        report = room.run(submitter, {"AWS_ENDPOINT_URL": proxy.url}, parallel=1)
        assert adds_up(report)["results"] == 3
        assert not proxy.script
        assert {record["status"] for record in room.records().values()} == {"result"}

    def test_the_endpoint_may_stutter(self, room: Room) -> None:
        room.put("a b.tif", support.particle(1))
        with endpoints.serve(lambda _: None) as endpoint:
            endpoint.script = [503, endpoints.HANG_UP, 429, 500]
            report = room.run(JobEndpoint(endpoint.environ(), "pi10-events"))
            assert adds_up(report)["submitted"] == 1
            assert not endpoint.script
            [event] = endpoint.taken
            assert (event.bucket, event.key) == (room.bucket, "in/a b.tif")
            assert set(endpoint.paths) == {"/job/pi10-events"}

    def test_an_endpoint_that_is_down_is_no_attempt(self, room: Room) -> None:
        room.put("a.tif", support.particle(1))
        with endpoints.serve(lambda _: None) as endpoint:
            endpoint.script = [503] * 1000
            environ = {**endpoint.environ(), "PI10_OSCAR_DEADLINE": "0.5"}
            report = room.run(JobEndpoint(environ, "pi10-events"))
        assert report.counts["unavailable"] == 1
        assert report.exit_code(scheduled=True) == 3
        assert room.outputs() == {}  # it does not count towards setting it aside

    @pytest.mark.parametrize(
        ("status", "message"),
        [(401, "is not the token"), (404, "no service 'pi10-events'"), (302, "is it an OSCAR")],
    )
    def test_a_refusal_stops_the_run(self, room: Room, status: int, message: str) -> None:
        room.put("a.tif", support.particle(1))
        with endpoints.serve(lambda _: None) as endpoint:
            endpoint.script = [status] * 9
            with pytest.raises(SettingError, match=message) as caught:
                room.run(JobEndpoint(endpoint.environ(), "pi10-events"))
        assert endpoints.TOKEN not in caught.value.message
        assert room.outputs() == {}


def test_an_object_deleted_in_the_meantime_is_no_input_any_more(room: Room) -> None:
    room.put("a.tif", support.particle(1))
    real = InPlace(room.handler, Bucket.of(room.store(), room.target), lambda: None)

    class Late:
        here = True

        def submit(self, version: Any, attempt: int = 0) -> str:
            room.s3.client.remove_object(bucket_name=room.bucket, object_name=version.key)
            return real.submit(version, attempt)

    report = room.run(Late())
    assert (adds_up(report)["gone"], report.open, report.exit_code()) == (1, 0, 0)
    assert room.outputs() == {}
    assert adds_up(room.run())["inputs"] == 0


def test_an_output_under_its_input_is_refused(room: Room) -> None:
    room.target = f"{room.source}results/"
    with pytest.raises(SettingError, match="lies under input"):
        room.run()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReconcileOptions(attempts=0), "--attempts is 0"),
        (lambda: ReconcileOptions(grace_s=-1), "--grace is -1"),
        (lambda: ReconcileOptions(codes=("oops",)), "--code 'oops' is unknown"),
        (lambda: JobEndpoint({}, "s"), "OSCAR_ENDPOINT is not set"),
        (lambda: JobEndpoint({"OSCAR_ENDPOINT": "http://u:p@h"}, "s"), "OSCAR_ENDPOINT must look"),
        (lambda: JobEndpoint({"OSCAR_ENDPOINT": "http://h"}, "s"), "OSCAR_SERVICE_TOKEN"),
        (lambda: Bucket.of(None, "/tmp/x"), "not an address in a bucket"),  # type: ignore[arg-type]
        (lambda: Bucket.of(None, "s3://a..b/"), "s3://a..b/"),  # type: ignore[arg-type]
    ],
)
def test_unusable_settings_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names no storage and no cluster."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "OSCAR_"))]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    "words",
    [
        ["reconcile", "--dry-run"],
        ["retry-failed"],
        ["batch", "s3://a1b/c/", "--out", "s3://a1b/d/"],
    ],
)
def test_a_storage_that_nobody_named_is_refused_at_once(
    bare: pytest.MonkeyPatch, words: list[str]
) -> None:
    done = CliRunner().invoke(pi10, ["oscar", *words])
    assert isinstance(done.exception, SettingError)
    assert "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY not set" in str(
        done.exception
    )
    bare.setenv("AWS_ACCESS_KEY_ID", "me")
    bare.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    done = CliRunner().invoke(pi10, ["oscar", *words])
    assert str(done.exception).startswith("AWS_SECRET_ACCESS_KEY not set")


def test_a_storage_that_does_not_answer_is_told_early(bare: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "secret", "PI10_S3_DEADLINE": "4",
    }.items():  # fmt: skip
        bare.setenv(name, value)
    done = CliRunner().invoke(pi10, ["oscar", "reconcile", "--dry-run", "--in-place"])
    assert done.stderr.count("the storage does not answer yet; retrying for 4 s") == 1
    assert isinstance(done.exception, InputError)
    assert done.exception.message.endswith("check AWS_ENDPOINT_URL, and run again")
