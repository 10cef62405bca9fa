"""The main job on hostile input, killed, short of memory or of disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import broken_files
import numpy as np
import pyarrow.dataset as ds
import pytest
import support
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.errors import Code, ExitCode, OutputError
from pi10_classifier.foundation import files
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import embedded
from pi10_classifier.simulate import simulate_cruise

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")

Start = Callable[..., RunResult]


class TestHostile:
    def test_bin_of_every_kind(self, start: Start, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)
        broken = {f"{n}.tif": data for n, data in broken_files.broken_files(rng).items()}
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
        good = broken_files.good_tiff(rng, 40, 24)
        mutants = {support.name_of(n): broken_files.mutate(good, rng) for n in range(2000)}
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
    """A process of its own that makes a run."""
    head = """
import sys
from pathlib import Path
import numpy, pyarrow.parquet
from pi10_classifier.classify import Settings, classify
inp, out, model = sys.argv[1:4]
chosen = Settings(model=Path(model), jobs=2)
"""
    return [sys.executable, "-c", head + body]


CLASSIFY = script("classify([inp], Path(out), chosen, resume=True)")

# each report of progress, each write to the disk and each rename is a step; it dies at the last
KILLED = script("""
import os, signal
left, steps = int(sys.argv[4]), 0

def step(function):
    def call(*words):
        global steps
        steps += 1
        if steps == left:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*words)
    return call

os.fsync, Path.replace = step(os.fsync), step(Path.replace)
classify([inp], Path(out), chosen, resume=True, progress=step(lambda _: None))
print(steps)
""")


@posix
@pytest.mark.slow
def test_killed_at_twenty_moments(
    cruise: Path,
    package: Path,
    tmp_path: Path,
    uninterrupted: dict[str, str],
) -> None:
    """SIGKILL, then --resume: the tables of an uninterrupted run, and no litter."""

    def run(out: Path, last: int) -> subprocess.CompletedProcess[str]:
        words = [*KILLED, str(cruise), str(out), str(package), str(last)]
        return subprocess.run(words, stdout=subprocess.PIPE, text=True)

    steps = int(run(tmp_path / "whole", 0).stdout)
    assert support.tables(tmp_path / "whole") == uninterrupted
    # as many steps in each run, but for archives that are read in other pieces
    moments = np.linspace(1, 0.9 * steps, 20).astype(int).tolist()
    for last in moments:
        out = tmp_path / str(last)
        assert run(out, last).returncode == -signal.SIGKILL
        classify([str(cruise)], out, Settings(model=package, jobs=2), resume=True)
        assert support.tables(out) == uninterrupted, f"killed at step {last} of {steps}"
        assert support.litter(out) == []
        shutil.rmtree(out)
    assert len(set(moments)) >= 10


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
            patch.setattr(files.os, "fsync", full)
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
