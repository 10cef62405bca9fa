"""How long an EcoTaxa bundle takes, beside reading its archives and writing its PNGs alone.

    python -m benchmarks.ecotaxa [--images 100000] [--rounds 3]

Bins of 5,000 particles are made of 1,000 simulated ones, and classified by `fast`. The two are
timed in turns: `write_bundles`, and a loop of the same threads that reads every archive, decodes
every image and writes it as PNG into a zip. The command as a process is timed once at the end, for
its memory.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import count, islice
from pathlib import Path
from typing import TypeVar

from pi10_classifier.classify import classify
from pi10_classifier.export.dataset_facts import read_facts
from pi10_classifier.export.ecotaxa.export import write_bundles
from pi10_classifier.export.taxa import read_taxa
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.imaging.decode import decode
from pi10_classifier.inference.settings import Settings
from pi10_classifier.instrument.names import Kind, kind_of
from pi10_classifier.labelling.crops import encode_png
from pi10_classifier.model.package import embedded
from pi10_classifier.simulate import simulate_cruise
from pi10_classifier.simulate.cruise import START
from pi10_classifier.sources.discovery import discover

T = TypeVar("T")
PARTICLES = 5000  # of a bin
DRAWN = 1000
FACTS = """
title = "Benchmark"
abstract = "Simulated particles."
licence = "CC0-1.0"
[institution]
name = "Nobody"
code = "NONE"
[cruise]
id = "BENCH"
ship = "None"
intake_depth_m = 4
[[people]]
given = "A"
family = "B"
email = "a@example.org"
roles = ["creator", "contact"]
"""


def archives(home: Path, images: int) -> list[Path]:
    """Tars of particles with names and times of their own; the pixels repeat."""
    (path,) = simulate_cruise(home / "drawn", bins=1, images=DRAWN, no_fix=0)
    drawn = []
    with tarfile.open(path) as tar:
        for member in tar:
            if "+N" in member.name:
                stream = tar.extractfile(member)
                drawn.append(stream.read() if stream else b"")
    stamp = f"{START:%Y:%m:%d %H:}".encode()
    numbers = count()
    tars = []
    for place, chunk in enumerate(_batched(range(images), PARTICLES)):
        start = START + timedelta(minutes=10 * place)
        tar_path = home / "cruise" / f"{start:%Y-%m-%d}" / f"{start:%H%M}.tar"
        tar_path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(tar_path, "w") as tar:
            per_minute = -(-len(chunk) // 10)
            for row in range(len(chunk)):
                when = start + timedelta(minutes=row // per_minute)
                data = drawn[next(numbers) % DRAWN]
                at = data.index(stamp)
                data = data[:at] + f"{when:%Y:%m:%d %H:%M:%S}".encode() + data[at + 19 :]
                _add(tar, f"RawImages/pia7.{start:%Y-%m-%d.%H%M}+N{row:08d}.tif", data)
            _add(tar, "HitsMisses.txt", f"{per_minute},{per_minute}\n".encode() * 10)
        tars.append(tar_path)
    return tars


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    iterator = iter(items)
    while chunk := tuple(islice(iterator, size)):
        yield chunk


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def alone(tars: list[Path], out: Path, threads: int) -> int:
    """Read every archive and write every PNG; returns their number."""

    def images() -> Iterator[tuple[str, bytes]]:
        for unit in discover([str(path) for path in tars]):
            for item in unit.items():
                if item.data is not None and kind_of(item.member) is Kind.IMAGE:
                    yield item.member, item.data

    def encode(chunk: tuple[tuple[str, bytes], ...]) -> list[tuple[str, bytes]]:
        return [(name, encode_png(decode(data).rgb)) for name, data in chunk]

    written = 0
    with zipfile.ZipFile(out, "w") as archive:
        for pairs in ordered_map(encode, _batched(images(), 32), threads):
            for name, png in pairs:
                archive.writestr(f"{name}.png", png)
                written += 1
    with out.open("rb+") as stream:
        os.fsync(stream.fileno())
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        tars = archives(home, options.images)
        run = home / "run"
        classify([str(path) for path in tars], run, Settings(model=embedded("fast")))
        (run / "dataset.toml").write_text(FACTS, "utf-8")
        facts, taxa = read_facts(run / "dataset.toml"), read_taxa()
        seconds: dict[str, list[float]] = {"bundle": [], "alone": []}
        cpu: dict[str, list[float]] = {"bundle": [], "alone": []}
        for number in range(options.rounds + 1):
            began, began_cpu = time.perf_counter(), time.process_time()
            done = write_bundles(run, home / "b.zip", facts, taxa, threads=options.threads)
            middle, middle_cpu = time.perf_counter(), time.process_time()
            pictures = alone(tars, home / "alone.zip", options.threads)
            end, end_cpu = time.perf_counter(), time.process_time()
            if done.objects != pictures or pictures != options.images:
                raise RuntimeError(f"{done.objects} objects, {pictures} pictures")
            if number:  # the first round fills the caches
                seconds["bundle"].append(middle - began)
                seconds["alone"].append(end - middle)
                cpu["bundle"].append(middle_cpu - began_cpu)
                cpu["alone"].append(end_cpu - middle_cpu)
            for path in home.glob("*.zip"):
                path.unlink()
        print(f"{options.images:,} particles, {options.threads} threads")
        for what, both in (("wall clock", seconds), ("processor time", cpu)):
            bundle, only = (statistics.median(both[name]) for name in ("bundle", "alone"))
            ratios = sorted(a / b for a, b in zip(both["bundle"], both["alone"], strict=True))
            print(
                f"{what}: bundle {bundle:.1f} s, reading and PNGs alone {only:.1f} s, ratio "
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )
        words = ["export", "ecotaxa", str(run), "--out", str(home / "b.zip"), "--overwrite"]
        subprocess.run([sys.executable, "-m", "pi10_classifier", *words], check=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"the command: {peak:,.0f} MiB at most")


if __name__ == "__main__":
    main()
