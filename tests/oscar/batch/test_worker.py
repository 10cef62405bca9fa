"""A batch's worker: parts as the engine makes them, whole or not at all, and never twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import support
from batches import Mount, write

from pi10_classifier.classify import classify
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.session import Model
from pi10_classifier.oscar.batch.worker import main
from pi10_classifier.oscar.services.fdl import folder
from pi10_classifier.results.run_folder import part_stem

BINS = 4
SCRIPT_S = 120.0  # a range takes a second; a busy machine, longer


@pytest.fixture
def mount(tmp_path: Path, package: Path) -> Mount:
    return Mount(tmp_path / "mnt", package)


def fill(mount: Mount, tmp_path: Path, images: int = 12) -> None:
    """Bins with damaged members, and loose images beside them."""
    for number in range(BINS):
        begin = support.START + timedelta(minutes=10 * number)
        members = support.bin_members(images + number, begin, number)
        members[support.name_of(900, begin)] = support.particle(1)[:500]
        tar = support.write_tar(tmp_path / "a.tar", members).read_bytes()
        write(mount, {f"rapid/2024-06-24/{begin:%H%M}.tar": tar})
    loose = {f"rapid/é loose/{n:03}.tif": support.particle(n) for n in range(5)}
    write(mount, {**loose, "rapid/é loose/notes.txt": b"none", "rapid/é loose/b.png": b"\x89PNG"})


def script(environ: dict[str, str]) -> subprocess.Popen[str]:
    """The real script, in a process group of its own, as a container is one."""
    return subprocess.Popen(
        ["/bin/sh", folder() / "batch.sh"], env=environ, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(mount: Mount, message: str, **more: str) -> int:
    """The worker in this process: it is the same code, and starts in no time."""
    return main(mount.environ(message, **more))


def test_parts_are_those_of_pi10_classify(mount: Mount, tmp_path: Path) -> None:
    fill(mount, tmp_path)
    units = mount.plan()
    process = script(mount.environ(mount.message(units)))
    said, errors = process.communicate(timeout=SCRIPT_S)
    assert (process.returncode, said) == (0, ""), errors
    assert f"{BINS + 1} units, 0 done before" in errors
    whole = tmp_path / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(mount.bucket)  # (mount/index.txt is the one input more)
        classify(["rapid"], whole, Settings(model=mount.package, jobs=2))
    parts = [name for name in mount.results() if name.endswith(".parquet")]
    assert len(parts) == len(units) == BINS + 1
    theirs = {row["member"]: row for row in support.rows_of(whole)}
    mine = {row["member"]: row for path in parts for row in support.rows_of_part(mount.out / path)}
    for row in (*theirs.values(), *mine.values()):
        del row["source"]  # a folder's path there, the bucket's address here
    assert mine == theirs
    for _, unit in units:
        identity = Path(unit.path("x")).parent
        assert any(f"predictions.parquet/{identity}/{part_stem(unit.name)}-" in p for p in parts)
    [sign] = mount.signs().values()
    assert (sign["ended"], sign["done"], sign["units"]) == (True, BINS + 1, BINS + 1)


def test_what_is_done_is_not_done_again(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mount, tmp_path)
    units = mount.plan()
    assert run(mount, mount.message(units[:2])) == 0
    before = mount.results()
    scored: list[int] = []
    answer = Model.raw_answer
    monkeypatch.setattr(Model, "raw_answer", lambda *a: scored.append(len(a[1])) or answer(*a))
    assert run(mount, mount.message(units[:3])) == 0
    # the third alone: its images, less the damaged one
    assert sum(scored) == 14
    assert len(mount.results()) == 6
    assert {k: v for k, v in mount.results().items() if k in before} == before

    def never(*_: Any) -> None:
        raise AssertionError("work is repeated")

    monkeypatch.setattr(Model, "load", never)
    assert run(mount, mount.message(units[:3])) == 0


def listed(mount: Mount) -> int:
    """How many whole files there are, while others are being written."""
    places = (mount.out / name for name in ("predictions.parquet", "journal"))
    return sum(path.suffix != ".tmp" for place in places for path in place.rglob("*.*"))


@pytest.mark.slow
def test_killed_at_many_points_and_started_again(mount: Mount, tmp_path: Path) -> None:
    fill(mount, tmp_path)
    units = mount.plan()
    message = mount.message(units)
    process = script(mount.environ(message))
    process.communicate(timeout=SCRIPT_S)
    whole = mount.results()
    assert process.returncode == 0
    draw = random.Random(5)
    stopped = 0
    for _ in range(5):
        for name in list(mount.results())[: draw.randrange(len(whole))]:
            (mount.out / name).unlink()  # any state that kills may leave, and the others
        there = listed(mount)
        wanted = draw.randint(there + 1, len(whole) - 1) if there + 1 < len(whole) else there
        process = script(mount.environ(message))
        while process.poll() is None and listed(mount) < wanted:
            time.sleep(0.001)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            stopped += 1
        process.communicate()
        for name, data in mount.results().items():
            if not name.endswith(".tmp"):
                assert data == whole[name], name  # whole or not there
    assert stopped
    assert run(mount, message) == 0
    assert {k: v for k, v in mount.results().items() if not k.endswith(".tmp")} == whole


def test_two_workers_with_one_range(mount: Mount, tmp_path: Path) -> None:
    fill(mount, tmp_path)
    units = mount.plan()
    alone = Mount(tmp_path / "alone", mount.package)
    (tmp_path / "alone").symlink_to(mount.root)
    assert run(alone, mount.message(units)) == 0
    whole = mount.results()
    for name in whole:
        (mount.out / name).unlink()
    together = [script(mount.environ(mount.message(units))) for _ in range(2)]
    for process in together:
        _, errors = process.communicate(timeout=SCRIPT_S)
        assert process.returncode == 0, errors
    assert mount.results() == whole


def test_sigterm_leaves_whole_parts(mount: Mount, tmp_path: Path) -> None:
    fill(mount, tmp_path, images=200)
    units = mount.plan()
    process = script(mount.environ(mount.message(units)))
    until = time.monotonic() + SCRIPT_S
    while not mount.results() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    _, errors = process.communicate(timeout=SCRIPT_S)
    assert process.returncode in (0, 130), errors
    assert not [name for name in mount.results() if name.endswith(".tmp")]


def failures(mount: Mount) -> dict[str, list[Any]]:
    entries = [json.loads(v) for k, v in mount.results().items() if k.startswith("journal/")]
    return {entry["unit"]: entry["failures"] for entry in entries}


def test_inputs_that_cannot_be_read_are_failures(mount: Mount, tmp_path: Path) -> None:
    fill(mount, tmp_path)
    units = mount.plan()
    bins = sorted((mount.bucket / "rapid/2024-06-24").iterdir())
    bins[0].unlink()
    bins[1].write_bytes(bins[1].read_bytes()[:-512])  # the mount lags behind
    bins[2].unlink()
    bins[2].mkdir()
    (mount.bucket / "rapid/é loose/001.tif").unlink()
    assert run(mount, mount.message(units)) == 0
    found = {name: [f[2] for f in lost] for name, lost in failures(mount).items()}
    codes = [found[f"s3://pi10/rapid/2024-06-24/{path.name}"] for path in bins[:3]]
    assert codes[:2] == [["object_gone"], ["storage_unavailable"]]
    assert codes[2] in (["storage_unavailable"], ["object_unreadable"])
    loose = found["s3://pi10/rapid/é loose/#000000"]
    assert sorted(loose) == ["object_gone", "unsupported_format"]
    # what may be mended is done again where it is asked for again, the rest is not
    bins[1].write_bytes(b"")
    assert run(mount, mount.message(units[:1])) == 0


@pytest.mark.parametrize(
    ("key", "code"),
    [("rapid/../../../../etc/passwd.tar", "unsupported_format"),
     ("rapid//a.tar", "unsupported_format"), ("rapid/a\nb.tar", "unsupported_format"),
     (f"rapid/{'x' * 256}.tar", "unsupported_format")],
)  # fmt: skip
def test_no_key_names_a_file_outside_the_mount(
    mount: Mount, monkeypatch: pytest.MonkeyPatch, key: str, code: str
) -> None:
    from minio.datatypes import Object

    listed = [Object("pi10", key, etag="e", size=10)]
    monkeypatch.setattr("batches.Listing.objects", lambda *_: iter(listed))
    assert run(mount, mount.message(mount.plan())) == 0
    [[[source, _, found, _]]] = failures(mount).values()
    assert (source, found) == (f"s3://pi10/{key}", code)


def test_another_index_or_another_model_is_refused(
    mount: Mount, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(mount, tmp_path)
    units = mount.plan()
    index = mount.bucket / "rapid/index.txt"
    lines = index.read_bytes()
    index.write_bytes(b"/mnt/pi10/rapid/other.tar\n" + lines)
    assert run(mount, mount.message(units)) == 2
    assert "do not belong to this batch" in capsys.readouterr().err
    index.write_bytes(lines)
    assert run(mount, mount.message(units), PI10_MEASURE="false") == 2
    assert "measure is True in the plan, False here" in capsys.readouterr().err
    assert mount.results() == {}
    [sign] = mount.signs().values()
    assert sign["error"]["code"] == "bad_setting"


def test_ranges_of_the_published_coordinator(mount: Mount, tmp_path: Path) -> None:
    """It writes names into an index and sends start and end; there is no plan of ours."""
    fill(mount, tmp_path)
    names = ["é loose/000.tif", "é loose/001.tif", "2024-06-24/1450.tar", "2024-06-24/1500.tar"]
    (mount.bucket / "rapid/index.txt").write_text("\n".join(names), "utf-8")
    more = {
        "PI10_BATCH_INDEX": "/mnt/pi10/rapid/index.txt",
        "PI10_BATCH_OUT": "/mnt/pi10/out",
    }
    path = tmp_path / "event-file"
    path.write_text('{"start": 1, "end": 4}')
    assert run(mount, "", INPUT_FILE_PATH=str(path), **more) == 0
    rows = [r for p in mount.out.rglob("*.parquet") if p.is_file() for r in support.rows_of_part(p)]
    assert len(rows) == 2 + 12
    before = mount.results()
    assert run(mount, '{"start": 1, "end": 9}', **more) == 0
    assert set(before) < set(mount.results())


def test_a_full_disk_is_told_and_ends_the_range(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mount, tmp_path)
    units = mount.plan()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    assert run(mount, mount.message(units)) == 1
    assert mount.results() == {}
    [sign] = mount.signs().values()
    assert sign["error"]["code"] == "disk_full"
    monkeypatch.undo()
    assert run(mount, mount.message(units)) == 0


def test_a_worker_imports_no_torch(mount: Mount, tmp_path: Path) -> None:
    fill(mount, tmp_path)
    message = mount.message(mount.plan())
    code = (
        "import sys; from pi10_classifier.oscar.batch.worker import main; main(); "
        "print([m for m in ('torch', 'mlflow', 'deepaas') if m in sys.modules])"
    )
    environ = mount.environ(message)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_signs_go_on_while_it_works(mount: Mount, tmp_path: Path) -> None:
    fill(mount, tmp_path, images=60)
    units = mount.plan()
    seen: list[int] = []
    stop = threading.Event()

    def watch(look: Callable[[], dict[str, Any]] = mount.signs) -> None:
        while not stop.is_set():
            seen.extend(sign["beat"] for sign in look().values())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        assert run(mount, mount.message(units), PI10_BATCH_BEAT_S="0.01") == 0
    finally:
        stop.set()
        thread.join()
    assert len(set(seen)) > 2 and seen == sorted(seen)
