"""Gaps closed, against a real S3 server: lost events, crashes, outages, poison, recursion."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oscar_endpoint as endpoints
import pytest
import s3_server
import support
from click.testing import CliRunner
from reconcile_room import KEYS, Room, adds_up, begin
from s3_server import Proxy

from pi10_classifier.cli import pi10
from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.reconcile.reconcile import ReconcileOptions
from pi10_classifier.oscar.reconcile.resubmit import InPlace, JobEndpoint
from pi10_classifier.oscar.records.event import Event
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.records.naming import Ending, ObjectVersion, ResultName, skip_reason
from pi10_classifier.oscar.records.record import ObjectOutcome, record_bytes


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
        [
            (401, "is not the token"),
            (404, "no service 'pi10-events'"),
            (302, "is an OSCAR endpoint"),
        ],
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
