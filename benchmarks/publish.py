"""How long the Darwin Core Archive and the netCDF of a large cruise take, and how much memory.

    python -m benchmarks.publish [--bins 2000] [--labels 1000] [--keep DIR]
        [--checker /tmp/checker/bin/compliance-checker]

The tables of the run are made by script from counts drawn at random, summed by the product's own
code; a ship's readings are joined; a sample of it is drawn, labelled and estimated. Then each
export runs as a process, and its time and peak memory are printed. IOOS compliance-checker is too
heavy for the extra [dev]: give it an environment of its own (python -m venv /tmp/checker;
/tmp/checker/bin/pip install compliance-checker) and name it, and its report of the netCDF is
printed too.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pi10_classifier.abundance.bins import bin_rows
from pi10_classifier.abundance.minutes import minute_rows
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.estimation.estimate import estimate_run
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.results.columns import schema
from pi10_classifier.results.tables import as_cells
from pi10_classifier.underway.readings import Readings
from pi10_classifier.underway.table import join

CLASSES = ("copepod", "detritus", "noncopepod")
MEANS = (3.0, 8.0, 1.5)  # images of a minute
MINUTES = 10  # of a bin
START = datetime(2024, 6, 1, tzinfo=UTC)
SUITES = ("cf:1.8", "cf:1.11", "acdd:1.3")
DATASET = """
title = "A cruise made up to measure exports"
abstract = "Counts drawn at random."
licence = "CC0-1.0"
[institution]
name = "Nowhere Institute"
code = "NWI"
url = "https://www.example.org"
[cruise]
id = "BENCH"
ship = "Endeavour"
intake_depth_m = 4.5
[[people]]
given = "Josiah"
family = "Carberry"
email = "josiah@example.org"
roles = ["creator", "contact", "verifier"]
"""


def make_run(run: Path, bins: int) -> None:
    """A run of so many bins one after another: a ship that goes to and fro at ten knots."""
    rng = np.random.default_rng(1)
    counts = rng.poisson(MEANS, (bins * MINUTES, len(CLASSES)))
    hits = counts.sum(axis=1)
    misses = np.where(rng.random(len(hits)) < 0.1, rng.poisson(3 * hits), rng.poisson(0.2 * hits))
    when = [START + timedelta(minutes=n) for n in range(len(hits))]
    names = [f"pia7.{when[n * MINUTES]:%Y-%m-%d.%H%M}" for n in range(bins)]
    east = np.abs((np.arange(len(hits)) * 0.004) % 20 - 10) - 25
    of_minute = {
        (names[n // MINUTES], when[n], label): int(counts[n, place])
        for n in range(len(hits))
        for place, label in enumerate(CLASSES)
        if counts[n, place]
    }
    tables = {
        name: [(int(hits[m]), int(misses[m])) for m in range(n * MINUTES, (n + 1) * MINUTES)]
        for n, name in enumerate(names)
    }
    fixes = {
        (names[n // MINUTES], when[n]): (
            (when[n].isoformat(), 48.0, float(east[n])),
            ((when[n] + timedelta(seconds=50)).isoformat(), 48.0, float(east[n]) + 0.003),
        )
        for n in range(len(hits))
    }
    starts: dict[str, datetime | None] = {name: when[n * MINUTES] for n, name in enumerate(names)}
    rows = minute_rows(of_minute, tables, starts, CLASSES, fixes=fixes)
    run.mkdir(parents=True)
    for name, records in (("counts.csv", rows), ("bins.csv", bin_rows(rows))):
        with (run / name).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(as_cells(records[0])), lineterminator="\n")
            writer.writeheader()
            writer.writerows(as_cells(record) for record in records)
    factor = {(row.bin, row.minute): row.raising_factor for row in rows}
    particles = np.repeat(np.arange(len(hits)), hits)
    bin_of = np.array(names)[particles // MINUTES]
    named: dict[str, Any] = {
        "particle_id": [f"{name}+N{n:08d}" for n, name in enumerate(bin_of)],
        "bin": bin_of,
        "label": np.concatenate([np.repeat(CLASSES, row) for row in counts]),
        "raising_factor": [factor[names[n // MINUTES], when[n]] for n in particles.tolist()],
        "datetime": [when[n] for n in particles.tolist()],
        "esd_um": rng.lognormal(6.0, 0.4, len(particles)),
    }
    columns = [
        pa.array(named[field.name], field.type) if field.name in named
        else pa.nulls(len(particles), field.type)
        for field in schema(CLASSES)
    ]  # fmt: skip
    (run / "predictions.parquet").mkdir()
    table = pa.Table.from_arrays(columns, schema=schema(CLASSES))
    pq.write_table(table, run / "predictions.parquet/0.parquet", row_group_size=16_384)
    facts: dict[str, Any] = {
        "model": {"name": "made-up", "version": "1", "sha256": None, "classes": CLASSES},
        "versions": {"pi10-classifier": "0"},
        "finished": "2024-07-01T12:00:00Z",
    }
    (run / "run.json").write_text(json.dumps(facts), "utf-8")
    (run / "dataset.toml").write_text(DATASET, "utf-8")
    with (run / "tsg.csv").open("w", encoding="utf-8") as stream:
        stream.write("time,temperature,salinity,chlorophyll,turbidity\n")
        for place, time_of in enumerate(when):
            stream.write(f"{time_of:%Y-%m-%dT%H:%M:30Z},{12 + place % 50 / 10},35.1,0.8,2\n")
    join(run, Readings((run / "tsg.csv",)))


def validate(run: Path, labels: int) -> None:
    """Draw, label four of five as the model did, and estimate."""
    design, sample = draw(run, labels)
    facts = json.loads((run / "run.json").read_text("utf-8"))
    facts["model"]["sha256"] = design.model_sha256
    (run / "run.json").write_text(json.dumps(facts), "utf-8")
    rng = np.random.default_rng(2)
    truth = [str(rng.choice(CLASSES)) if rng.random() < 0.2 else p.predicted for p in sample]
    pairs = [(p.particle_id, label) for p, label in zip(sample, truth, strict=True)]
    LabelStore(run, CLASSES).add(pairs, "A")
    estimate_run(run)


def measure(command: str, run: Path, out: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "pi10_classifier",
        "export",
        command,
        str(run),
        "--out",
        str(out),
    ]
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    told = process.stdout.read().splitlines() if process.stdout else []
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    # kilobytes, but bytes on macOS
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    print(f"{command}: {seconds:.1f} s, {peak:.0f} MB at most, {out.stat().st_size / 1e6:.1f} MB")
    print(f"  {told[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish", description=__doc__)
    parser.add_argument("--bins", type=int, default=2000)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder for the run and the files")
    parser.add_argument("--checker", help="the program compliance-checker")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = given.keep or Path(temporary)
        run = home / "run"
        make_run(run, given.bins)
        if given.labels:
            validate(run, given.labels)
        measure("dwca", run, home / "archive.zip")
        measure("netcdf", run, home / "track.nc")
        for suite in SUITES if given.checker else ():
            print(f"{given.checker} -t {suite}", flush=True)
            words = [given.checker, "-t", suite, "-c", "strict", str(home / "track.nc")]
            answer = subprocess.run(words, capture_output=True, text=True, check=False)
            lines = [line for line in answer.stdout.splitlines() if line.strip(" -")]
            print("\n".join(f"  {line}" for line in lines), flush=True)
            print(f"  exit code {answer.returncode}", flush=True)


if __name__ == "__main__":
    main()
