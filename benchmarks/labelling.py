"""How soon a label is answered on the page, and how long the densities of a large run take.

    python -m benchmarks.labelling [--labels 1000] [--bins 2000]

The page runs as a process of its own, on a simulated run that `fast` has classified; labels are
sent one after another, while another client asks for the density without a pause. The large run is
made up: bins of 500 particles; what is measured is `pi10 validate estimate` as a process.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pi10_classifier.classify import classify
from pi10_classifier.inference.settings import Settings
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.model.package import embedded
from pi10_classifier.results.columns import schema
from pi10_classifier.simulate import simulate_cruise

CLASSES = ("copepod", "detritus", "noncopepod")
PARTICLES = 500  # of a bin
PI10 = (sys.executable, "-m", "pi10_classifier", "validate")


def ask(port: int, method: str, path: str, body: Any = None) -> float:
    """Seconds until the page has answered. Raises RuntimeError where it refuses."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {text[:200]!r}")
    return time.perf_counter() - began


def page(home: Path, labels: int) -> None:
    cruise = simulate_cruise(home / "cruise", bins=4, images=max(50, labels // 3))
    run = home / "run"
    classify([str(path) for path in cruise], run, Settings(model=embedded("fast")))
    _, sample = draw(run, labels)
    words = [*PI10, "label", str(run), "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline() if process.stdout else ""
        match = re.search(r":(\d+)(/[\w-]+/)", line)
        if not match:
            raise RuntimeError(f"the page did not start: {line}")
        port, base = int(match[1]), match[2]
        done = threading.Event()
        density = f"{base}density?labeller=A&stratum=all"

        def watch() -> None:
            while not done.is_set():
                ask(port, "GET", density)

        thread = threading.Thread(target=watch)
        thread.start()
        seconds = []
        for particle in sample:
            choice = {"order": particle.order, "label": CLASSES[particle.order % 3]}
            body = {"labeller": "A", "choices": [choice]}
            seconds.append(ask(port, "POST", f"{base}labels", body))
        done.set()
        thread.join()
        densities = [ask(port, "GET", density) for _ in range(20)]
        process.send_signal(signal.SIGINT)
    last = sorted(seconds[-100:])
    print(
        f"page: {len(sample):,} labels, the last 100 answered in {statistics.median(last):.4f} s "
        f"(median), {last[-1]:.4f} s (longest); density in {statistics.median(densities):.3f} s"
    )


def large_run(run: Path, bins: int) -> None:
    """A made-up run: one part, its counts by minute, and what tells the model's classes."""
    rng = np.random.default_rng(1)
    names = [f"pia7.{day:%Y-%m-%d.%H%M}" for day in _starts(bins)]
    factor = np.exp(rng.normal(0.5, 0.5, bins))
    of_bin = np.repeat(np.arange(bins), PARTICLES)
    label = rng.choice(3, len(of_bin), p=(0.2, 0.6, 0.2))
    named: dict[str, Any] = {
        "particle_id": [f"{names[b]}+N{n:08d}" for n, b in enumerate(of_bin)],
        "bin": np.array(names)[of_bin],
        "label": np.array(CLASSES)[label],
        "raising_factor": factor[of_bin],
    }
    columns = [
        pa.array(named[field.name], field.type) if field.name in named
        else pa.nulls(len(of_bin), field.type)
        for field in schema(CLASSES)
    ]  # fmt: skip
    (run / "predictions.parquet").mkdir(parents=True)
    table = pa.Table.from_arrays(columns, schema=schema(CLASSES))
    pq.write_table(table, run / "predictions.parquet/0.parquet", row_group_size=16_384)
    with (run / "counts.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("bin", "minute", "label", "count", "litres", "raising_factor"))
        for place, name in enumerate(names):
            here = np.bincount(label[of_bin == place], minlength=3)
            for number, count in enumerate(here.tolist()):
                writer.writerow((name, "", CLASSES[number], count, 34, repr(float(factor[place]))))
    run.joinpath("run.json").write_text(
        json.dumps({"model": {"sha256": None, "classes": CLASSES}}), "utf-8"
    )


def _starts(bins: int) -> list[Any]:
    from datetime import datetime, timedelta

    return [datetime(2024, 6, 1) + timedelta(minutes=10 * n) for n in range(bins)]


def estimate(home: Path, bins: int, labels: int) -> None:
    for by in ("cruise", "day"):
        run = home / f"large-{by}"
        large_run(run, bins)
        design, sample = draw(run, labels if by == "cruise" else 100, by=by)
        facts = json.loads((run / "run.json").read_text("utf-8"))
        facts["model"]["sha256"] = design.model_sha256
        (run / "run.json").write_text(json.dumps(facts), "utf-8")
        rng = np.random.default_rng(2)
        truth = [str(rng.choice(CLASSES)) if rng.random() < 0.2 else p.predicted for p in sample]
        pairs = [(p.particle_id, label) for p, label in zip(sample, truth, strict=True)]
        LabelStore(run, CLASSES).add(pairs, "A")
        began = time.perf_counter()
        subprocess.run([*PI10, "estimate", str(run), "--json"], check=True, capture_output=True)
        print(
            f"estimate by {by}: {bins:,} bins, {len(sample):,} labels, "
            f"{time.perf_counter() - began:.1f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labelling", description=__doc__)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--bins", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        page(Path(home), given.labels)
        estimate(Path(home), given.bins, given.labels)


if __name__ == "__main__":
    main()
