"""``script.sh`` as a process: its exit codes, kills at many points, a full disk, its imports."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import support
from objects import BUCKET, files_of, version_of

from pi10_classifier.oscar.records.event import Event
from pi10_classifier.oscar.records.naming import skip_reason
from pi10_classifier.oscar.services.fdl import folder


def environ(key: str, path: Path, out: Path, package: Path, **more: str) -> dict[str, str]:
    """What faas-supervisor sets for a job."""
    version = version_of(key, path.read_bytes())
    event = Event(BUCKET, key, version.etag, version.size)
    return {
        "PATH": os.environ["PATH"],
        "PI10_PYTHON": sys.executable,
        "PI10_MODEL": str(package),
        "PI10_JOBS": "1",
        "EVENT": event.to_json(),
        "STORAGE_OBJECT_KEY": key,
        "INPUT_FILE_PATH": str(path),
        "TMP_OUTPUT_DIR": str(out),
        **more,
    }


def run(said: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", folder() / "script.sh"], env=said, capture_output=True, text=True, check=False
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a b.tif"
    path.write_bytes(support.particle(1))
    return path


def test_a_job_leaves_one_record_and_says_so(image: Path, out: Path, package: Path) -> None:
    done = run(environ("in/c 1/a b.tif", image, out, package))
    assert done.returncode == 0
    [name] = files_of(out)
    assert name.startswith("in/c 1/a b.tif.pi10.")
    assert f"result in {name!r}" in done.stderr
    assert done.stdout == ""  # a synchronous call's answer is what lies in the folder


def test_an_object_that_is_no_input_is_skipped_quickly(
    image: Path, out: Path, package: Path
) -> None:
    for key in ("in/HitsMisses.txt", "in/a.tif.pi10.abababab.0123456789abcdef.json"):
        done = run(environ(key, image, out, package))
        assert (done.returncode, files_of(out)) == (0, {})
        assert "skipped" in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PI10_MODEL": "/nowhere"}, "no model package at '/nowhere'"),
        ({"PI10_DEVICE": "abacus"}, "device 'abacus' cannot be used: it is unknown"),
        ({"TMP_OUTPUT_DIR": ""}, "TMP_OUTPUT_DIR is not set"),
        ({"STORAGE_OBJECT_KEY": "", "EVENT": "", "INPUT_FILE_PATH": ""}, "there is no input"),
    ],
)
def test_unusable_settings_are_exit_2_and_no_record(
    image: Path, out: Path, package: Path, change: dict[str, str], message: str
) -> None:
    done = run({**environ("in/a.tif", image, out, package), **change})
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert files_of(out) == {}


def test_an_image_needs_no_heavy_library(image: Path, out: Path, package: Path) -> None:
    code = (
        "import sys, pi10_classifier.oscar.__main__ as m; status = m.main();"
        "heavy = {'torch', 'mlflow', 'deepaas', 'pandas', 'pyarrow', 'scipy', 'minio', 'click',"
        " 'yaml', 'jsonschema', 'matplotlib', 'PIL.Image'} & set(sys.modules);"
        "print(sorted(heavy)); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ("in/a.tif", image, out, package),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_whole_files_and_a_rerun_completes_them(
    tmp_path: Path, package: Path
) -> None:
    tar = support.write_tar(tmp_path / "1450.tar", support.bin_members(60))
    whole = tmp_path / "whole"
    whole.mkdir()
    started = time.monotonic()
    assert run(environ("in/1450.tar", tar, whole, package)).returncode == 0
    seconds = time.monotonic() - started
    expected = files_of(whole)
    drawn = random.Random(5)
    for number in range(int(os.environ.get("PI10_KILLS", "4"))):
        home = tmp_path / f"job{number}"
        out = home / "output"
        out.mkdir(parents=True)
        said = environ("in/1450.tar", tar, out, package)
        process = subprocess.Popen(
            ["/bin/sh", folder() / "script.sh"], env=said, stderr=subprocess.DEVNULL
        )
        time.sleep(drawn.uniform(0.3, 1.1) * seconds)
        process.send_signal(signal.SIGKILL if number % 3 else signal.SIGTERM)
        process.wait(60)
        left = files_of(out)
        assert left.items() <= expected.items()
        assert not any(name.endswith("json") for name in left) or left == expected
        assert run(said).returncode == 0
        assert files_of(out) == expected


@pytest.mark.slow
def test_a_full_disk_is_a_passing_failure_or_no_record_at_all(
    tmp_path: Path, package: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    mounted = (
        mount
        and not subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk],
            capture_output=True,
            check=False,
        ).returncode
    )
    if not mounted:
        pytest.skip("no right to mount a small disk")
    try:
        out = disk / "output"
        out.mkdir()
        tar = support.write_tar(tmp_path / "1450.tar", support.bin_members(600))
        done = run(environ("in/1450.tar", tar, out, package))
        [name] = files_of(out)
        assert done.returncode == 0
        assert name.endswith(".retry.json")
        assert skip_reason(name)
        assert b"disk_full" in files_of(out)[name]
        (disk / "rest").write_bytes(b"x" * (shutil.disk_usage(disk).free // 4096 * 4096))
        image = tmp_path / "a.tif"
        image.write_bytes(support.particle(1))
        done = run(environ("in/a.tif", image, out, package))
        assert done.returncode == 1
        assert "no space left" in done.stderr
        assert list(files_of(out)) == [name]
        assert [path.name for path in disk.iterdir() if path.name.startswith(".pi10")] == []
    finally:
        subprocess.run(["umount", disk], check=True)
