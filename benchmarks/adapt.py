"""What a few labels bring in a new sea: ``pi10 adapt`` on a source its model never saw.

``python -m benchmarks.adapt MODEL TAR... --manifest manifest.csv --source pwssc`` draws 5, 10
and 20 crops a class from that source's training split, adapts the model to them, and judges
it on the source's test split, several draws each. MODEL must have been trained without it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.evaluation.analysis import figures_of
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.model.package import find
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation.adapt import adapt


def drawn(samples: Sequence[Sample], labels: int, seed: Sequence[int]) -> list[Sample]:
    """``labels`` samples of each class, at random."""
    rng = np.random.default_rng(list(seed))
    chosen: list[Sample] = []
    for group in sorted({s.group for s in samples}):
        mine = [s for s in samples if s.group == group]
        chosen += [mine[i] for i in rng.choice(len(mine), labels, replace=False)]
    return chosen


def lay_out(found: Scan, samples: Sequence[Sample], folder: Path) -> None:
    """A gallery: class/number.png, the pixels as decoded."""
    for number, (sample, rgb) in enumerate(read_rgb(found, samples)):
        path = folder / sample.group / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def judged(model: Model, found: Scan, test: Sequence[Sample]) -> dict[str, Any]:
    """Figures on the test images."""
    seen = score(model, found, test)
    classes = model.package.classes
    return figures_of(seen.truth(classes), seen.probabilities, classes)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapt", description=__doc__)
    parser.add_argument("model", help="package trained without the source")
    parser.add_argument("inputs", nargs="+", type=Path, help="the labelled data")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--source", required=True, help="the source left out of training")
    parser.add_argument("--labels", default="5,10,20", help="crops a class; default 5,10,20")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    model = Model.load(find(options.model))
    trained = [row["name"] for row in model.package.description["training"].get("data", [])]
    if options.source in trained:
        parser.error(f"{options.model} was trained on {options.source}: nothing is left out")
    found = load_labelled(options.inputs, None, options.manifest)
    mine = [s for s in found.samples if s.source == options.source]
    train, test = ([s for s in mine if s.split == part] for part in ("train", "test"))
    before = judged(model, found, test)
    rows: list[dict[str, Any]] = []
    for labels in map(int, options.labels.split(",")):
        for draw in range(options.draws):
            with tempfile.TemporaryDirectory() as nowhere:
                gallery, out = Path(nowhere) / "gallery", Path(nowhere) / "package"
                lay_out(found, drawn(train, labels, (labels, draw)), gallery)
                began = time.perf_counter()
                done = adapt(model, gallery, out)
                seconds = time.perf_counter() - began
                macro = judged(Model.load(out), found, test)["macro_f1"]["value"]
            rows.append({"labels": labels, "draw": draw, "macro_f1": macro,
                         "seconds": round(seconds, 1), "head": done.head})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    show(options.source, before, rows)
    if options.json:
        options.json.write_text(json.dumps({"before": before, "adapted": rows}, indent=1))


def show(source: str, before: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """A row for no label, then one for each number of labels: mean, least and most."""
    f1 = before["macro_f1"]
    table = Table(title=f"macro-F1 on {before['n']:,} test images of {source}, never trained on;"
                        f" {os.cpu_count()} cores")  # fmt: skip
    for name in ("labels a class", "macro-F1", "seconds", "heads chosen"):
        table.add_column(name)
    table.add_row("0 (as it is)", f"{f1['value']:.3f} ({f1['low']:.3f}-{f1['high']:.3f})", "", "")
    for labels in dict.fromkeys(row["labels"] for row in rows):
        mine = [row for row in rows if row["labels"] == labels]
        found = [row["macro_f1"] for row in mine]
        seconds = [row["seconds"] for row in mine]
        table.add_row(
            str(labels),
            f"{statistics.mean(found):.3f} ({min(found):.3f}-{max(found):.3f}, {len(mine)} draws)",
            f"{statistics.median(seconds):.0f}",
            ", ".join(sorted({row["head"] for row in mine})),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
