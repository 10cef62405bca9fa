"""A batch on one machine: `python -m benchmarks.batch WHAT`.

`killed` simulates a cruise, classifies it by `pi10 classify`, then by `pi10 oscar batch` with
two workers, while the coordinator and workers are killed at random and the batch resumed;
both must come to the same tables and rows. `scaling` takes the time of one worker and of two.
`listing` is the memory that so many keys cost. `killed` and `scaling` run what
`pi10 oscar local up` runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pi10_classifier.classify import classify
from pi10_classifier.inference.settings import Settings
from pi10_classifier.oscar.batch.published import Marks
from pi10_classifier.oscar.batch.units import read_units, write_units
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.bucket_folder import BucketFolder
from pi10_classifier.oscar.local.faults import Faults
from pi10_classifier.oscar.local.stack import Local, local
from pi10_classifier.oscar.services.fdl import named
from pi10_classifier.oscar.services.variants import with_variables
from pi10_classifier.registry.resolve import find
from pi10_classifier.simulate import simulate_cruise
from pi10_classifier.sources.s3 import stored_units
from pi10_classifier.sources.s3_client import S3Client

KILLS = 12
# a worker has one core, as a container of one cpu has
ONE_CORE = """#!/bin/sh
for core in 0 1; do
    exec 9>"{home}/core$core"
    if flock -n 9; then exec taskset -c $core {python} "$@"; fi
done
exec {python} "$@"
"""
SOURCE = "s3://pi10/rapid/"
TABLES = ("counts.csv", "bins.csv", "failures.csv")


@contextmanager
def cruise(
    home: Path, bins: int, images: int, model: str, parallel: int, faults: Faults
) -> Iterator[tuple[Local, Mapping[str, str]]]:
    """`pi10 oscar local` with a simulated cruise in its bucket."""
    variables = {"PI10_MODEL": model, "PI10_JOBS": "1", "PI10_BATCH_BEAT_S": "1"}
    python = home / "python"
    python.write_text(ONE_CORE.format(home=home, python=sys.executable))
    python.chmod(0o755)
    service = with_variables(named("pi10-batch"), {**variables, "PI10_PYTHON": str(python)})
    written = simulate_cruise(home / "rapid", bins=bins, images=images)
    with local(home / "local", [service], parallel=parallel, faults=faults) as up:
        for path in written:
            key = path.relative_to(home).as_posix()
            up.client.fput_object(bucket_name="pi10", object_name=key, file_path=str(path))
        environ = {**os.environ, **up.environ(), **variables}
        print(f"{len(written)} bins of {images} images in {SOURCE}", flush=True)
        yield up, environ


def command(out: str, workers: int, *more: str) -> list[str]:
    """`pi10 oscar batch`, impatient."""
    return [
        sys.executable, "-m", "pi10_classifier", "oscar", "batch", SOURCE, "--out", out,
        "--workers", str(workers), "--poll", "0.5", "--lost-after", "8", "--start-within", "30",
        *more,
    ]  # fmt: skip


def killed(home: Path, bins: int, images: int, model: str, seed: int) -> None:
    """Kill coordinator and workers at random; compare with `pi10 classify`."""
    out = "s3://pi10/results/rapid/"
    draw = random.Random(seed)
    with cruise(home, bins, images, model, 2, Faults(kill=0.4, seed=seed, kill_within_s=12)) as (
        up,
        environ,
    ):
        whole = home / "whole"
        settings = Settings(model=find(model))
        run = classify([SOURCE], whole, settings, environ=environ)
        print(f"pi10 classify: {dict(run.tally.totals)}, {run.seconds:.0f} s", flush=True)
        began, kills, code = time.monotonic(), 0, -1
        while code < 0:
            more = ["--resume"] if kills else []
            process = subprocess.Popen(command(out, 2, "--chunk", "8", "--attempts", "9", *more),
                                       env=dict(environ), stdout=subprocess.DEVNULL)  # fmt: skip
            try:
                # the merge is one step: who is killed for ever never ends it
                code = process.wait(draw.uniform(1, 25) if kills < KILLS else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                code = process.wait()
                kills += 1
        seconds = time.monotonic() - began
        up.jobs.wait(120)
        bucket = Bucket.of(S3Client(environ), out)
        said = json.loads(bucket.get(".pi10-batch/report.json"))
        jobs = up.jobs.counts
        print(f"batch: exit {code}, coordinator killed {kills} times, {jobs['killed']} of "
              f"{jobs['done']} jobs killed, {seconds:.0f} s, {said}")  # fmt: skip
        [cruise_] = said["cruises"]
        for name in TABLES:
            same = (
                bucket.get(f"tables/cruise={cruise_}/{name}", 2**30) == (whole / name).read_bytes()
            )
            print(f"{name}: {'the same bytes' if same else 'DIFFERENT'}")
        compare(bucket, whole, home / "parts")


def compare(bucket: Bucket, whole: Path, copies: Path) -> None:
    """The parts of both, byte by byte, and all rows."""
    for output in bucket.outputs("predictions.parquet/"):
        path = copies / output.name
        path.parent.mkdir(parents=True, exist_ok=True)
        bucket.download(output.name, path)
    theirs = {digest(path) for path in (whole / "predictions.parquet").glob("*.parquet")}
    ours = {digest(path) for path in copies.rglob("*.parquet") if path.is_file()}
    print(
        f"parts: {len(ours & theirs)} of {len(theirs)} the same bytes, {len(ours - theirs)} others"
    )
    mine = ds.dataset(copies / "predictions.parquet", partitioning="hive").to_table()
    table = pq.read_table(whole / "predictions.parquet")
    order = [("source", "ascending"), ("member", "ascending")]
    same = mine.select(table.column_names).sort_by(order).equals(table.sort_by(order))
    print(f"rows: {mine.num_rows:,} and {table.num_rows:,}, {'equal' if same else 'DIFFERENT'}")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def scaling(home: Path, bins: int, images: int, model: str) -> None:
    """The same batch by one worker and by two, in turns, from the first range to the tables."""
    cores = len(os.sched_getaffinity(0))
    times: dict[int, list[float]] = {1: [], 2: []}
    with cruise(home, bins, images, model, 2, Faults()) as (up, environ):
        # no range, but its job copies the bucket, which no mount would have to
        up.jobs.add("pi10-batch", b"{}")
        up.jobs.wait(300)
        for number, workers in enumerate((2, 1)):
            out = f"s3://pi10/results/{number}/"
            began = time.monotonic()
            subprocess.run(
                command(out, workers, "--chunk", str(max(1, bins // 4)), "--no-report"),
                env=dict(environ), check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            times[workers].append(time.monotonic() - began)
            rate = bins * images / times[workers][-1]
            print(f"{workers} workers: {times[workers][-1]:.1f} s, {rate:.0f} images/s", flush=True)
    print(f"{cores} cores: two workers are {min(times[1]) / min(times[2]):.2f} times one")
    one, two = (plain(home, count, model) for count in (1, 2))
    print(f"pi10 classify, no batch: {bins * images / one:.0f} images/s by one process on a core, "
          f"{bins * images / two:.0f} by two on two: {one / two:.2f} times")  # fmt: skip


def plain(home: Path, count: int, model: str) -> float:
    """Seconds of `pi10 classify` over the same bins by so many processes, a core each."""
    tars = sorted(str(path) for path in (home / "rapid").rglob("*.tar"))
    began = time.monotonic()
    running = [
        subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-m", "pi10_classifier", "classify",
             *tars[core::count], "--out", home / f"plain-{count}-{core}", "--model", model,
             "--jobs", "1", "--no-report", "--json"],
            stdout=subprocess.DEVNULL,
        )
        for core in range(count)
    ]  # fmt: skip
    for process in running:
        if process.wait():
            raise SystemExit("pi10 classify failed")
    return time.monotonic() - began


class _Endless:
    """A listing of tars, as the S3 client yields it; there is no server behind it."""

    def __init__(self, keys: int) -> None:
        self._keys = keys

    def objects(self, bucket: str, prefix: str) -> Iterator[object]:
        from minio.datatypes import Object

        for n in range(self._keys):
            day, minute = divmod(n, 144)
            date = f"{2000 + day // 336}-{1 + day // 28 % 12:02}-{1 + day % 28:02}"
            yield Object(bucket, f"{prefix}{date}/{minute:04}.tar", etag=f"{n:032x}", size=26_000)


class _Loose(_Endless):
    def objects(self, bucket: str, prefix: str) -> Iterator[object]:
        from minio.datatypes import Object

        for n in range(self._keys):
            folder = f"{prefix}2024-05-{16 + n // 200_000 % 8:02}/RawImages"
            key = f"{folder}/pia7.2024-05-16.0000+N{n:08}.tif"
            yield Object(bucket, key, etag=f"{n:032x}", size=26_000)


def listing(home: Path, keys: int, loose: bool) -> None:
    """Memory and time of the index of so many keys, and of telling which of them are done."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = (_Loose if loose else _Endless)(keys)
    began = time.monotonic()
    units = stored_units(store, "pi10", "rapid/", Settings().limits)  # type: ignore[arg-type]
    index, table = home / "index.txt", home / "units.jsonl"
    with index.open("wb") as lines, table.open("wb") as rows:
        found = write_units(units, BucketFolder("pi10", "rapid"), lines, rows)
    listed = time.monotonic() - began
    done = Marks(unit.path("0" * 64) for _, unit in read_units(table))
    waiting = sum(unit.path("0" * 64) not in done for _, unit in read_units(table))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    paired = time.monotonic() - began - listed
    print(f"{found.lines:,} keys, {found.units:,} units in {listed:.0f} s; on disk: index "
          f"{index.stat().st_size / 1e6:.0f} MB, plan {table.stat().st_size / 1e6:.0f} MB; paired "
          f"with all of them done in {paired:.0f} s ({waiting} waiting); memory "
          f"{before / 1024:.0f} MB before, {after / 1024:.0f} MB at the most")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("killed", "scaling", "listing"))
    parser.add_argument("--bins", type=int, default=200)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--loose", action="store_true", help="Keys of images, not of archives.")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pi10-batch-") as folder:
        home = Path(folder)
        if options.what == "killed":
            killed(home, options.bins, options.images, options.model, options.seed)
        elif options.what == "scaling":
            scaling(home, options.bins, options.images, options.model)
        else:
            listing(home, options.keys, options.loose)


if __name__ == "__main__":
    main()
