"""Would a cascade pay? A fast model answers, the doubtful go to an accurate one.

``python -m benchmarks.cascade FAST ACCURATE TAR... --manifest manifest.csv``: what is doubtful
is set on the validation split (a top score below a quantile), accuracy is judged on the test
split, paired; both models' rates are taken in turns, on the same images. Each model is asked on
images prepared for it; in `pi10 export cascade`'s graph the fast one sees the other's, shrunk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.evaluation.bootstrap import RunOutcome, resample
from pi10_classifier.evaluation.scoring import Scored, score
from pi10_classifier.imaging.preprocess import U8, prepare
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.model.runtime import BATCH
from pi10_classifier.model.session import Model
from pi10_classifier.registry.resolve import find

SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)
TIMED = 512


def rates(
    models: Sequence[Model], found: Scan, samples: Sequence[Sample], rounds: int
) -> list[float]:
    """Images/s of each bare model on all cores, medians of rounds taken in turns."""
    rgbs = [rgb for _, rgb in read_rgb(found, samples[:TIMED])]
    prepared = [np.stack([prepare(rgb, m.package.preprocessing) for rgb in rgbs]) for m in models]
    seen: list[list[float]] = [[] for _ in models]
    for _ in range(rounds):
        for model, images, mine in zip(models, prepared, seen, strict=True):
            began = time.perf_counter()
            ask(model, images)
            mine.append(len(images) / (time.perf_counter() - began))
    return [statistics.median(mine) for mine in seen]


def ask(model: Model, images: U8) -> None:
    """Batches over threads, as the engine asks."""
    with ThreadPoolExecutor(default_jobs()) as pool:
        parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
        for _ in pool.map(model.scores, parts):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cascade", description=__doc__)
    parser.add_argument("fast")
    parser.add_argument("accurate")
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    models = [Model.load(find(name)) for name in (options.fast, options.accurate)]
    classes = models[0].package.classes
    if models[1].package.classes != classes:
        parser.error("the two models know other classes")
    found = load_labelled(options.inputs, None, options.manifest)
    validation, test = of_split(found, "validation"), of_split(found, "test")
    doubt: Scored = score(models[0], found, validation)
    top = doubt.probabilities.max(axis=1)
    said = [score(model, found, test) for model in models]
    truth = said[0].truth(classes)
    fast, accurate = (s.probabilities.argmax(axis=1) for s in said)
    sure = said[0].probabilities.max(axis=1)
    outcomes = {"fast": [RunOutcome(truth, fast)], "accurate": [RunOutcome(truth, accurate)]}
    passed = {"fast": 0.0, "accurate": 1.0}
    for share in SHARES:
        on = sure < np.quantile(top, share)
        outcomes[f"cascade {share:.0%}"] = [RunOutcome(truth, np.where(on, accurate, fast))]
        passed[f"cascade {share:.0%}"] = float(on.mean())
    drawn = resample(outcomes, len(classes))
    quick, slow = rates(models, found, test, options.rounds)
    table = Table(title=f"{len(truth):,} test images; {os.cpu_count()} cores, bare models")
    for name in ("row", "passed on", "macro-F1", "over fast (paired)", "images/s"):
        table.add_column(name)
    for row, share in passed.items():
        f1, gain = drawn.f1(row), drawn.difference(row, "fast")
        rate = slow if row == "accurate" else 1 / (1 / quick + share / slow)
        table.add_row(
            row,
            f"{share:.1%}",
            f"{f1.value:.4f} ({f1.low:.4f}-{f1.high:.4f})",
            f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})",
            f"{rate:,.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
