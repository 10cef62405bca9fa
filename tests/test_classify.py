"""The main job: every input accounted for, the same bytes whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import hostile
import numpy as np
import pyarrow.dataset as ds
import pytest
import support
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pi10_classifier import classify as classify_module
from pi10_classifier import results
from pi10_classifier.archives import Limits
from pi10_classifier.classify import Progress, Run, Settings, classify
from pi10_classifier.engine import Engine
from pi10_classifier.errors import Code, ExitCode, OutputError, SettingError
from pi10_classifier.model import Model, embedded
from pi10_classifier.results import columns
from pi10_classifier.simulate import simulate_cruise

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")

Start = Callable[..., Run]


@pytest.fixture
def start(package: Path, tmp_path: Path) -> Start:
    """Run inputs into ``tmp_path/out`` with the tiny model."""

    def run(*inputs: Path, out: str = "out", resume: bool = False, overwrite: bool = False,
            **options: Any) -> Run:  # fmt: skip
        chosen = Settings(**{"model": package, "jobs": 2, **options})
        names = [str(path) for path in inputs]
        done = classify(names, tmp_path / out, chosen, resume=resume, overwrite=overwrite)
        assert done.tally.adds_up
        return done

    return run


@pytest.fixture(scope="module")
def cruise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bins with damaged members, and loose images beside them."""
    home = tmp_path_factory.mktemp("cruise")
    for number in range(3):
        begin = support.START + timedelta(minutes=10 * number)
        members = support.bin_members(50 + 30 * number, begin, number)
        members[support.name_of(900, begin)] = support.particle(1)[:500]
        members[support.name_of(901, begin)] = b""
        support.write_tar(home / f"2024-06-24/{begin:%H%M}.tar", members)
    loose = {f"{n:03}.tif": support.particle(n) for n in range(40)}
    support.write_folder(home / "loose", {**loose, "broken.png": b"\x89PNG\r\n\x1a\n"})
    return home


@pytest.fixture(scope="module")
def uninterrupted(
    cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    classify([str(cruise)], out, Settings(model=package, jobs=2))
    return support.tables(out)


def failures(out: Path) -> list[tuple[str, str]]:
    lines = support.csv_of(out / "failures.csv")
    return [(line["member"].rpartition("\\")[2], line["code"]) for line in lines]


def forbid_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def process(*_: object) -> NoReturn:
        raise AssertionError("work is done twice")

    monkeypatch.setattr(Engine, "process", process)


class TestRun:
    def test_writes_what_is_documented(self, start: Start, cruise: Path, tmp_path: Path) -> None:
        run = start(cruise)
        assert run.exit_code is ExitCode.SOME_FAILED
        assert dict(run.tally.totals) == {
            "inputs": 50 + 80 + 110 + 3 * 4 + 41, "results": 280, "failures": 7, "skipped": 6,
        }  # fmt: skip
        assert run.units == 4
        table = ds.dataset(run.out / "predictions.parquet").to_table()
        assert table.num_rows == 280
        assert table.column_names == columns(support.CLASSES)
        names = table.column("particle_id").to_pylist()
        assert len(set(names)) == 280
        said = json.loads((run.out / "run.json").read_text("utf-8"))
        assert said["totals"] == dict(run.tally.totals)
        assert said["failures_by_code"] == {"corrupt_image": 4, "empty_object": 3}
        assert sum(said["results_by_class"].values()) == 280
        assert (said["exit_code"], said["complete"]) == (3, True)
        assert said["parameters"]["inputs"] == [str(cruise)]
        assert said["model"]["sha256"] == said["parameters"]["model_sha256"]
        assert all(said["versions"].values())
        assert support.litter(run.out) == []
        lines = support.csv_of(run.out / "counts.csv")
        assert sum(int(line["count"]) for line in lines) == 280

    @pytest.mark.parametrize("jobs", [1, 2, 5])
    def test_any_number_of_jobs_gives_the_same_bytes(
        self, start: Start, cruise: Path, uninterrupted: dict[str, str], jobs: int
    ) -> None:
        assert support.tables(start(cruise, jobs=jobs).out) == uninterrupted

    def test_order_of_inputs_is_irrelevant(self, start: Start, cruise: Path) -> None:
        bins = sorted(cruise.glob("2024-06-24/*.tar"))
        one = support.tables(start(*bins, out="one").out)
        other = support.tables(start(*reversed(bins), bins[0], out="other").out)
        assert one == other

    def test_order_of_finishing_is_irrelevant(
        self,
        start: Start,
        cruise: Path,
        uninterrupted: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        process, rng, lock = Engine.process, random.Random(5), threading.Lock()

        def dawdle(self: Engine, *args: Any) -> Any:
            with lock:
                pause = rng.choice((0, 0, 0.02))
            time.sleep(pause)
            return process(self, *args)

        monkeypatch.setattr(Engine, "process", dawdle)
        assert support.tables(start(cruise, jobs=5).out) == uninterrupted

    def test_batch_size_changes_no_label(self, start: Start, cruise: Path) -> None:
        bins = next(cruise.glob("2024-06-24/1450.tar"))
        alone, many = start(bins, out="alone", batch=1), start(bins, out="many", batch=32)
        for one, other in zip(support.rows_of(alone.out), support.rows_of(many.out), strict=True):
            assert one["label"] == other["label"]
            assert one["score"] == pytest.approx(other["score"], abs=1e-6)

    def test_tar_zip_and_folder_agree(self, start: Start, tmp_path: Path) -> None:
        members = support.bin_members(30)
        members[support.name_of(99)] = b"no image"
        kept = ("particle_id", "datetime", "label", "score", "esd_um", "flags")
        found = []
        for number, path in enumerate(
            (
                support.write_tar(tmp_path / "tar/1450.tar", members),
                support.write_zip(tmp_path / "zip/1450.zip", members),
                support.write_folder(tmp_path / "folder/1450", members),
            )
        ):
            run = start(path, out=str(number))
            assert run.exit_code is ExitCode.SOME_FAILED
            assert len(failures(run.out)) == 1
            bins = (run.out / "bins.csv").read_bytes()
            found.append(([[r[k] for k in kept] for r in support.rows_of(run.out)], bins))
        assert found[0] == found[1] == found[2]

    def test_progress_counts_up_to_the_totals(
        self, package: Path, cruise: Path, tmp_path: Path
    ) -> None:
        seen: list[Progress] = []
        chosen = Settings(model=package, jobs=2)
        run = classify([str(cruise)], tmp_path / "out", chosen, progress=seen.append)
        assert [p.inputs for p in seen] == sorted(p.inputs for p in seen)
        assert seen[-1].inputs == run.tally.totals["inputs"]
        assert seen[-1].failures == run.tally.totals["failures"]
        size = sum(p.stat().st_size for p in cruise.rglob("*") if p.is_file())
        assert seen[-1].bytes_done == size

    @linux
    def test_undecodable_path(self, start: Start, tmp_path: Path) -> None:
        home = tmp_path / os.fsdecode(b"caf\xe9")
        support.write_tar(home / os.fsdecode(b"\xff.tar"), support.bin_members(2))
        support.write_folder(home / "loose", {os.fsdecode(b"\xfe.tif"): support.particle(1)})
        run = start(home)
        assert run.exit_code is ExitCode.OK
        assert {
            Path(row["source"]).parts[len(tmp_path.parts)] for row in support.rows_of(run.out)
        } == {"caf\\xe9"}
        assert start(home, resume=True).units_resumed == 2


class TestNothingToRead:
    @pytest.mark.parametrize(
        ("members", "code"),
        [
            ({}, ExitCode.NOTHING_READ),
            ({"Background.tif": b"x", "notes.txt": b"y"}, ExitCode.NOTHING_READ),
            ({"a.tif": b""}, ExitCode.NOTHING_READ),
            ({"2024-06-24/1450/HitsMisses.txt": b"0,0\n" * 10}, ExitCode.OK),
        ],
        ids=["empty", "sidecars only", "broken only", "a bin that saved nothing"],
    )
    def test_folder(
        self, start: Start, tmp_path: Path, members: dict[str, bytes], code: ExitCode
    ) -> None:
        run = start(support.write_folder(tmp_path / "in", members))
        assert run.exit_code is code
        assert (run.out / "run.json").is_file()
        assert (run.out / "failures.csv").is_file()

    def test_model_that_gives_nan(self, start: Start, tmp_path: Path) -> None:
        w = support.weights() * np.float32(1e38)  # overflows on white, not on black
        folder = support.write_package(tmp_path / "nan", support.tiny_model(w))
        run = start(support.write_tar(tmp_path / "a.tar", support.bin_members(5)), model=folder)
        assert run.exit_code is ExitCode.NOTHING_READ
        assert run.tally.failures_by_code == {"internal": 5}
        assert support.rows_of(run.out) == []


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("jobs", 0), ("jobs", -1), ("jobs", 257), ("batch", 0), ("batch", 1025),
            ("um_per_px", 0), ("um_per_px", -3), ("um_per_px", float("nan")),
            ("um_per_px", float("inf")),
        ],
    )  # fmt: skip
    def test_unusable_value_is_named(self, package: Path, name: str, value: float) -> None:
        with pytest.raises(SettingError, match=name.replace("_", "-")):
            Settings(**{"model": package, name: value})

    @pytest.mark.parametrize("text", ["/no/such/path", "http://x/y.tar", "file:///etc/passwd"])
    def test_unusable_input_leaves_no_folder(
        self, package: Path, tmp_path: Path, text: str
    ) -> None:
        with pytest.raises(SettingError, match="input"):
            classify([text], tmp_path / "out", Settings(model=package))
        assert not (tmp_path / "out").exists()

    def test_no_input(self, package: Path, tmp_path: Path) -> None:
        with pytest.raises(SettingError, match="no input"):
            classify([], tmp_path / "out", Settings(model=package))


class TestResume:
    def test_does_no_work_twice(
        self, start: Start, cruise: Path, uninterrupted: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        first = start(cruise)
        forbid_work(monkeypatch)
        again = start(cruise, resume=True)
        assert again.units_resumed == again.units == 4
        assert again.tally.totals == first.tally.totals
        assert again.exit_code is first.exit_code
        assert support.tables(again.out) == uninterrupted

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"batch": 4}, "batch"),
            ({"measure": False}, "measure"),
            ({"um_per_px": 5.0}, "um_per_px"),
            ({"limits": Limits(members=10)}, "limits"),
        ],
    )
    def test_changed_setting_refuses_and_is_named(
        self, start: Start, tmp_path: Path, options: dict[str, Any], named: str
    ) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        before = support.tables(start(path).out)
        with pytest.raises(SettingError, match=f"{named} was"):
            start(path, resume=True, **options)
        assert support.tables(tmp_path / "out") == before
        start(path, overwrite=True, **options)

    def test_other_model_refuses(self, start: Start, tmp_path: Path) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        start(path)
        other = support.write_package(tmp_path / "m", support.tiny_model(support.weights(seed=9)))
        with pytest.raises(SettingError, match="model_sha256 was"):
            start(path, resume=True, model=other)

    def test_other_thresholds_refuse(self, start: Start, tmp_path: Path) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        start(path)
        other = support.write_package(tmp_path / "m", thresholds={"copepod": 0.9})
        with pytest.raises(SettingError, match="thresholds was"):
            start(path, resume=True, model=other)

    def test_jobs_may_change(self, start: Start, tmp_path: Path) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        start(path, jobs=1)
        assert start(path, resume=True, jobs=3).units_resumed == 1

    def test_changed_source_is_done_again(self, start: Start, tmp_path: Path) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(4))
        start(path)
        support.write_tar(path, support.bin_members(9))
        run = start(path, resume=True)
        assert run.units_resumed == 0
        assert run.tally.totals["results"] == 9
        assert len(support.rows_of(run.out)) == 9

    def test_added_source_adds(self, start: Start, tmp_path: Path) -> None:
        home = tmp_path / "in"
        support.write_tar(home / "a.tar", support.bin_members(4))
        start(home)
        later = support.START + timedelta(minutes=10)
        support.write_tar(home / "b.tar", support.bin_members(3, later))
        run = start(home, resume=True)
        assert (run.units, run.units_resumed) == (2, 1)
        assert run.tally.totals["results"] == 7

    def test_retryable_failures_are_done_again(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(4))
        with monkeypatch.context() as patch:
            patch.setattr(Model, "scores", lambda *_: 1 / 0)
            first = start(path)
        assert first.tally.failures_by_code == {"internal": 4}
        second = start(path, resume=True)
        assert second.exit_code is ExitCode.OK
        assert second.tally.totals["results"] == 4

    def test_terminal_failures_are_not(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = support.write_tar(tmp_path / "a.tar", {"a.tif": b"", "b.tif": support.particle(1)})
        start(path)
        forbid_work(monkeypatch)
        assert start(path, resume=True).exit_code is ExitCode.SOME_FAILED

    def test_shrunk_folder_drops_its_blocks(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pi10_classifier.sources.BLOCK_FILES", 4)
        home = support.write_folder(
            tmp_path / "in", {f"{n:02}.tif": support.particle(n) for n in range(10)}
        )
        assert start(home).units == 3
        for n in range(3, 10):
            (home / f"{n:02}.tif").unlink()
        run = start(home, resume=True)
        assert run.tally.totals["inputs"] == len(support.rows_of(run.out)) == 3
        fresh = start(home, out="fresh")
        assert support.tables(run.out) == support.tables(fresh.out)

    def test_run_is_refused_without_a_word(self, start: Start, tmp_path: Path) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(1))
        start(path)
        with pytest.raises(SettingError, match="--resume"):
            start(path)


class TestDefects:
    def test_a_defect_in_reading_costs_its_unit(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pi10_classifier import sources

        def archive_items(source: str, *_: object) -> Iterator[sources.Item]:
            yield sources.Item(source, "a.tif", support.particle(1))
            if source.endswith("bad.tar"):
                raise RuntimeError("a defect")

        monkeypatch.setattr(sources, "archive_items", archive_items)
        for name in ("bad.tar", "good.tar"):
            support.write_tar(tmp_path / "in" / name, {"x": b""})
        run = start(tmp_path / "in")
        assert dict(run.tally.totals) == {"inputs": 3, "results": 2, "failures": 1, "skipped": 0}
        assert "a defect" in (run.out / "failures.csv").read_text()

    def test_memory_held_by_chunks_is_bounded(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(classify_module, "HELD_BYTES", 1_000_000)
        monkeypatch.setattr("pi10_classifier.engine.CHUNK_BYTES", 1)
        held, most, lock = 0, 0, threading.Lock()
        read, process = classify_module._items, Engine.process

        def counted(unit: Any) -> Any:
            nonlocal held, most
            for item in read(unit):
                with lock:
                    held += len(item.data or b"")
                    most = max(most, held)
                yield item

        def finished(self: Engine, chunk: Any, gallery: Any) -> Any:
            nonlocal held
            time.sleep(0.005)
            try:
                return process(self, chunk, gallery)
            finally:
                with lock:
                    held -= sum(len(item.data or b"") for item in chunk)

        monkeypatch.setattr(classify_module, "_items", counted)
        monkeypatch.setattr(Engine, "process", finished)
        noise = {f"{n}.tif": bytes(400_000) for n in range(20)}
        run = start(support.write_tar(tmp_path / "a.tar", noise), jobs=4)
        assert run.tally.totals["failures"] == 20
        assert most <= 1_000_000 + 2 * 400_000


class TestHostile:
    def test_bin_of_every_kind(self, start: Start, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)
        broken = {f"{n}.tif": data for n, data in hostile.broken_files(rng).items()}
        good = support.bin_members(20)
        path = support.write_tar(
            tmp_path / "a.tar", {**broken, **good, "link.tif": None, "d/": b""}
        )
        run = start(path)
        assert run.exit_code is ExitCode.SOME_FAILED
        assert run.tally.totals["inputs"] == len(broken) + len(good) + 2
        assert run.tally.totals["results"] >= 20
        assert "internal" not in run.tally.failures_by_code
        assert run.tally.failures_by_code["archive_unsafe"] == 1

    def test_mutated_images(self, start: Start, tmp_path: Path) -> None:
        rng = np.random.default_rng(11)
        good = hostile.good_tiff(rng, 40, 24)
        mutants = {support.name_of(n): hostile.mutate(good, rng) for n in range(2000)}
        run = start(support.write_tar(tmp_path / "a.tar", mutants))
        assert run.tally.totals["inputs"] == 2000
        assert run.tally.totals["results"] > 100
        assert run.tally.totals["failures"] > 100
        assert "internal" not in run.tally.failures_by_code

    members = st.dictionaries(
        st.sampled_from(
            [
                "a.tif", "RawImages\\pia7.2024-06-24.1450+N00000001.tif", "deep/er/x.png",
                "HitsMisses.txt", "Background.tif", "notes.txt", "folder/", "inner.zip", "b.TIFF",
                "._a.tif", "\u00e9 +%2B.tif", "no extension", "c.jpg",
            ]
        ),
        st.sampled_from(
            [b"", None, support.particle(1), support.particle(2)[:99], b"3,4\n", b"\xff\xd8\xff"]
        ),
        max_size=9,
    )  # fmt: skip

    @pytest.mark.parametrize("write", [support.write_tar, support.write_zip, support.write_folder])
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(members=members, cut=st.integers(0, 3))
    def test_totals_always_add_up(
        self,
        package: Path,
        tmp_path_factory: pytest.TempPathFactory,
        write: Callable[..., Path],
        members: dict[str, bytes | None],
        cut: int,
    ) -> None:
        home = tmp_path_factory.mktemp("mix")
        sound = {k: v for k, v in members.items() if not k.endswith("/") or v is not None}
        names = dict.fromkeys((support.write_tar,), ".tar")
        suffix = names.get(write, ".zip" if write is support.write_zip else "")
        path = write(home / f"in{suffix}", sound)
        if cut and path.is_file():
            path.write_bytes(path.read_bytes()[: -cut * 700])
        run = classify([str(path)], home / "out", Settings(model=package, jobs=2))
        assert run.tally.adds_up
        if not cut and path.is_file():
            assert run.tally.totals["inputs"] == len(sound)
        assert run.tally.totals["results"] == len(support.rows_of(run.out))
        assert run.tally.totals["failures"] == len(support.csv_of(run.out / "failures.csv"))
        assert "internal" not in run.tally.failures_by_code
        shutil.rmtree(home)


def script(body: str) -> list[str]:
    """A process of its own that says when the work begins."""
    head = """
import sys
from pathlib import Path
import numpy, pyarrow.parquet
from pi10_classifier.classify import Settings, classify
inp, out, model = sys.argv[1:4]
chosen = Settings(model=Path(model), jobs=2)
print("begin", flush=True)
"""
    return [sys.executable, "-c", head + body]


CLASSIFY = script("classify([inp], Path(out), chosen, resume=True)\nprint('end', flush=True)")


@posix
@pytest.mark.slow
def test_killed_at_twenty_moments(
    cruise: Path,
    package: Path,
    tmp_path: Path,
    uninterrupted: dict[str, str],
) -> None:
    """SIGKILL, then --resume: the tables of an uninterrupted run, and no litter."""

    def began(out: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*CLASSIFY, str(cruise), str(out), str(package)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        assert process.stdout.readline() == "begin\n"
        return process

    clock = time.perf_counter()
    with began(tmp_path / "timed") as process:
        assert process.stdout
        assert process.stdout.readline() == "end\n"
        whole = time.perf_counter() - clock
    assert support.tables(tmp_path / "timed") == uninterrupted
    rng, cut_short = random.Random(19), 0
    for number in range(20):
        out = tmp_path / str(number)
        with began(out) as process:
            time.sleep(rng.uniform(0, whole))
            process.kill()
        cut_short += process.returncode == -signal.SIGKILL
        classify([str(cruise)], out, Settings(model=package, jobs=2), resume=True)
        assert support.tables(out) == uninterrupted, f"kill {number}"
        assert support.litter(out) == []
        shutil.rmtree(out)
    assert cut_short >= 10, "most runs must have been killed at work"


@linux
@pytest.mark.slow
def test_memory_is_bounded(package: Path, tmp_path: Path) -> None:
    """20,000 images in one tar, several kB each: far more than what may be held."""
    images = [support.particle(n, side=80) for n in range(50)]
    names = {support.name_of(n): images[n % 50] for n in range(20_000)}
    path = support.write_tar(tmp_path / "big.tar", names)
    assert path.stat().st_size > 150e6
    body = """
run = classify([inp], Path(out), chosen)
# not ru_maxrss, which begins with what the process that started this one had in memory
peak = next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
print(run.tally.totals["results"], int(peak.split()[1]) // 1024)
"""
    done = subprocess.run(
        [*script(body), str(path), str(tmp_path / "out"), str(package)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    results_, megabytes = map(int, done.stdout.splitlines()[-1].split())
    assert results_ == 20_000
    assert megabytes < 400


class TestFullDisk:
    def test_stops_and_can_be_resumed(
        self,
        start: Start,
        cruise: Path,
        tmp_path: Path,
        uninterrupted: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The third write of a part meets a full disk."""
        import errno

        writes = 0
        fsync = os.fsync

        def full(descriptor: int) -> None:
            nonlocal writes
            writes += 1
            if writes > 5:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(results.os, "fsync", full)
            with pytest.raises(OutputError) as caught:
                start(cruise)
        assert caught.value.code is Code.DISK_FULL
        assert "--resume" in caught.value.message
        out = tmp_path / "out"
        assert support.litter(out) == []
        assert not (out / "run.json").exists()
        parts = list((out / "predictions.parquet").iterdir())
        assert 0 < len(parts) < 4
        assert all(ds.dataset(part).to_table().num_rows for part in parts)
        assert support.tables(start(cruise, resume=True).out) == uninterrupted

    @linux
    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a small disk"
    )
    def test_small_disk(self, cruise: Path, package: Path, tmp_path: Path) -> None:
        """A real disk of 256 kB fills while parts are written; freed, the run goes on."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("this machine does not let root mount a tmpfs")
        try:
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(120_000))
            words = [*CLASSIFY, str(cruise), str(disk / "out"), str(package)]
            full = subprocess.run(words, capture_output=True, text=True)
            assert full.returncode != 0
            assert "no space left while writing" in full.stderr
            assert "Exception ignored" not in full.stderr
            assert support.litter(disk) == []
            for part in (disk / "out/predictions.parquet").iterdir():
                assert ds.dataset(part).to_table().num_rows
            ballast.unlink()
            remount = ["mount", "-o", "remount,size=8m", str(disk)]
            subprocess.run(remount, check=True, capture_output=True)
            run = classify([str(cruise)], disk / "out", Settings(model=package), resume=True)
            assert run.tally.totals["results"] == 280
        finally:
            subprocess.run(["umount", str(disk)], check=True)


class TestStarter:
    def test_labels_every_drawn_particle(self, tmp_path: Path) -> None:
        """Drawn particles are no plankton: that each has a result is all that is asked."""
        simulate_cruise(tmp_path / "sim", bins=1, images=60, seed=3)
        run = classify([str(tmp_path / "sim")], tmp_path / "out", Settings(model=embedded()))
        assert run.exit_code is ExitCode.OK
        assert run.tally.totals["results"] == 60
        assert sum(run.tally.labels.values()) == 60
