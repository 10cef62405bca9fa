"""What measured numbers bring to a training: the same training with and without them.

``python -m benchmarks.measured TAR... --label-map FILE`` draws some images of every class and
source, trains on the training split's, and prints the validation macro-F1 of the best epoch. The
test split is not read. Only ``measured`` differs between the rows: same images, seeds and epochs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from pi10_classifier.datasets.records import Sample
from pi10_classifier.training.data.loading import Examples, read_examples
from pi10_classifier.training.plan import TrainingPlan
from pi10_classifier.training.recipe import recipe_for
from pi10_classifier.training.run import train_seeds

SETS = ("", "aspect,solidity,roughness", "all")


def some(examples: Examples, each: int) -> Examples:
    """At most ``each`` images of every class, source and split, at random."""
    rng = np.random.default_rng(0)
    parts: dict[tuple[str, str, str], list[Sample]] = {}
    for sample in examples.samples:
        if sample.split != "test":
            parts.setdefault((sample.source, sample.group, sample.split), []).append(sample)
    chosen: list[Sample] = []
    for mine in parts.values():
        chosen += [mine[i] for i in sorted(rng.permutation(len(mine))[:each].tolist())]
    return replace(examples, samples=tuple(chosen))


def row(examples: Examples, measured: str, options: argparse.Namespace) -> dict[str, object]:
    """Train each seed with one set of numbers."""
    recipe = recipe_for(
        "mobilenet_v2", size=options.size, epochs=options.epochs, batch=32, warm_size=0,
        warmup_steps=30, ema=0.98, measured=measured,
    )  # fmt: skip
    began, wall = time.process_time(), time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        plan = TrainingPlan(
            network="mobilenet_v2", recipe=recipe, out=Path(home) / "out", seeds=options.seeds
        )
        folders = train_seeds(examples, plan, emit=lambda line: None, test=False)
        best = []
        for folder in folders:
            lines = (folder / "metrics.csv").read_text("utf-8").splitlines()
            place = lines[0].split(",").index("validation_macro_f1")
            best.append(max(float(line.split(",")[place]) for line in lines[1:]))
    return {
        "measured": measured, "macro_f1": best,
        "processor_seconds": round(time.process_time() - began),
        "seconds": round(time.monotonic() - wall),
    }  # fmt: skip


def show(rows: Sequence[dict[str, object]], seeds: Sequence[int]) -> None:
    table = Table(title="validation macro-F1, best epoch")
    for name in ("measured", *(f"seed {seed}" for seed in seeds), "mean"):
        table.add_column(name)
    for told in rows:
        values = told["macro_f1"]
        assert isinstance(values, list)
        cells = [f"{value:.3f}" for value in [*values, float(np.mean(values))]]
        table.add_row(str(told["measured"]) or "nothing", *cells)
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measured", description=__doc__)
    parser.add_argument("inputs", nargs="+", type=Path, help="the labelled data")
    parser.add_argument("--label-map", type=Path)
    parser.add_argument("--manifest", type=Path, help="of a training of the same inputs")
    parser.add_argument("--sets", nargs="+", default=SETS, help="what measured is set to")
    parser.add_argument("--each", type=int, default=400, help="images a class, source and split")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.seeds = tuple(options.seeds)
    torch.set_num_threads(options.threads)
    read = read_examples(options.inputs, options.label_map, options.manifest)
    examples = some(read, options.each)
    counts = [len(examples.of(part)) for part in ("train", "validation")]
    print(f"{counts[0]:,} training and {counts[1]:,} validation images,"
          f" {options.size} px, {options.epochs} epochs", flush=True)  # fmt: skip
    rows = []
    for measured in options.sets:
        rows.append(row(examples, measured, options))
        print(json.dumps(rows[-1]), flush=True)
    show(rows, options.seeds)


if __name__ == "__main__":
    main()
