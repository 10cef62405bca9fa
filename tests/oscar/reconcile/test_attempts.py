"""What begins and never ends is set aside; a long queue is not."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import oscar_endpoint as endpoints
import pytest
import support
from reconcile_room import Room, adds_up, begin, job_of

from pi10_classifier.errors import Code
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.reconcile.attempt_marker import Marker
from pi10_classifier.oscar.reconcile.resubmit import InPlace, JobEndpoint
from pi10_classifier.oscar.records.event import Event
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.records.naming import Ending, ObjectVersion, ResultName
from pi10_classifier.oscar.records.record import ObjectOutcome, record_bytes


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
