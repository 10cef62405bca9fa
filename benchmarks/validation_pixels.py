"""Do corrected densities hold on real pixels, from TIFFs to the interval, through the page itself?

    python -m benchmarks.validation_pixels --data ../shared/data --manifest data/manifest.csv

manifest.csv: of `pi10 dataset planktonset1.tar pwssc.tar`. Each survey is a bin whose particles are
drawn at random from the crops of the test part, which no embedded model was trained on, and a tenth
of the sets' "other", which no class of the model is. The water holds PARTICLES of them; each minute
saves as many as a raising factor of a real cruise lets it, and counts the others as misses. So the
true density is known. The bin is classified; a sample is drawn, and labelled by the truth over HTTP
on the labelling page, which runs as a process of its own; then the densities are corrected.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.labels import CLASSES, START, crops, minutes
from pi10_classifier.abundance.density import LITRES_PER_MINUTE
from pi10_classifier.classify import classify
from pi10_classifier.inference.settings import Settings
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.estimation.estimate import estimate_run
from pi10_classifier.labelling.sample import read_sample
from pi10_classifier.registry.resolve import find
from pi10_classifier.simulate import encode_tiff

PARTICLES = 6_000  # in the water of a bin, on average
UNKNOWN = "unknown"
MINUTES = 10
PAGE = (sys.executable, "-m", "pi10_classifier", "validate", "label")

Crop = tuple[str, "np.ndarray[Any, Any]"]
Densities = dict[str, tuple[float, float, float]]
"""Class -> individuals per litre, low, high."""


def write_bin(
    path: Path, population: Sequence[Crop], factors: Sequence[float], rng: np.random.Generator
) -> dict[str, str]:
    """One bin as a tar; particle_id -> true label."""
    truth: dict[str, str] = {}
    lines = []
    with tarfile.open(path, "w") as tar:

        def add(name: str, data: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, BytesIO(data))

        for minute, factor in enumerate(factors):
            in_water = PARTICLES / MINUTES
            hits = int(rng.poisson(in_water / factor))
            misses = int(rng.poisson(in_water * (1 - 1 / factor)))
            lines.append(f"{hits},{misses}\n")
            for place, crop in enumerate(rng.integers(len(population), size=hits).tolist()):
                label, rgb = population[crop]
                when = START + timedelta(minutes=minute, seconds=59 * place / max(hits, 1))
                name = f"pia7.{START:%Y-%m-%d.%H%M}+N{len(truth):08d}"
                add(f"RawImages/{name}.tif", encode_tiff(rgb, when, 50.0, -4.0))
                truth[name] = label if label in CLASSES else UNKNOWN
        add("HitsMisses.txt", "".join(lines).encode())
    return truth


def label_on_page(run: Path, truth: dict[str, str]) -> None:
    """Label the whole sample over HTTP, one request a particle."""
    words = [*PAGE, str(run), "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline() if process.stdout else ""
        address = re.search(r":(\d+)(/[\w-]+/)", line)
        if not address:
            raise RuntimeError(f"the page did not start: {line}")
        connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=60)
        for particle in read_sample(run):
            choice = {"order": particle.order, "label": truth[particle.particle_id]}
            body = json.dumps({"labeller": "truth", "choices": [choice]})
            connection.request(
                "POST", f"{address[2]}labels", body, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{particle.particle_id}: {answer.status} {text[:200]!r}")
        connection.close()
        process.send_signal(signal.SIGINT)


def survey(
    home: Path, population: Sequence[Crop], real: Sequence[tuple[int, int]], seed: int, size: int,
    settings: Settings,
) -> tuple[Densities, Densities]:  # fmt: skip
    """Corrected and plain."""
    rng = np.random.default_rng(seed)
    factors = [(h + m) / h for h, m in (real[n] for n in rng.integers(len(real), size=MINUTES))]
    path, run = home / f"{START:%H%M}.tar", home / "run"
    truth = write_bin(path, population, factors, rng)
    classify([str(path)], run, settings)
    draw(run, size, seed=seed)
    label_on_page(run, truth)
    corrected = {
        row.label: (row.per_litre, row.per_litre_low, row.per_litre_high)
        for row in estimate_run(run).rows
        if row.per_litre is not None
        and row.per_litre_low is not None
        and row.per_litre_high is not None
    }
    densities = json.loads((run / "run.json").read_text("utf-8"))["densities"]["all"]
    plain = {
        label: (mean["per_litre"], mean["low"], mean["high"])
        for label, mean in densities.items()
        if mean
    }
    return corrected, plain


def show(name: str, true: dict[str, float], found: Sequence[Densities]) -> None:
    for label, density in true.items():
        rows = np.array([survey[label] for survey in found if label in survey]).reshape(-1, 3)
        if not len(rows):
            print(f"{name:9} {label:10}  true {density:.3f}: not told apart")
            continue
        value, low, high = rows.T
        covered = int(((low <= density) & (density <= high)).sum())
        bias = value.mean() / density - 1
        error = value.std(ddof=1) / np.sqrt(len(value)) / density if len(value) > 1 else np.nan
        width = float(np.mean((high - low) / density))
        print(
            f"{name:9} {label:10}  true {density:.3f}  mean {value.mean():.3f} (bias {bias:+.1%}, "
            f"its standard error {error:.1%})  covered {covered} of {len(rows)}  width {width:.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation_pixels")
    parser.add_argument("--data", type=Path, required=True, help="Folder of the labelled crops.")
    parser.add_argument("--manifest", type=Path, required=True, help="Of `pi10 dataset`.")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--model", default="fast")
    given = parser.parse_args()
    population = list(crops(given.data, given.manifest))
    real = minutes(given.data)
    litres = LITRES_PER_MINUTE * MINUTES
    names = [label if label in CLASSES else UNKNOWN for label, _ in population]
    true = {
        label: names.count(label) / len(names) * PARTICLES / litres for label in (*CLASSES, UNKNOWN)
    }
    settings = Settings(model=find(given.model))
    corrected, plain = [], []
    began = time.perf_counter()
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as home:
            both = survey(Path(home), population, real, seed, given.labels, settings)
        corrected.append(both[0])
        plain.append(both[1])
        spent = time.perf_counter() - began
        print(f"\rsurvey {seed + 1} of {given.seeds}, {spent:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    print(f"{len(population):,} crops, {given.seeds} surveys, {given.labels} labels each")
    show("corrected", true, corrected)
    show("plain", true, plain)


if __name__ == "__main__":
    main()
