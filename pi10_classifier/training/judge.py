"""Held-out figures of an exported package, loaded and asked as the service does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.decode import decode
from pi10_classifier.model import Model
from pi10_classifier.preprocess import prepare
from pi10_classifier.training.data import Sample, Scan, read_rgb
from pi10_classifier.training.metrics import report

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]


def judge(
    package: Path, scan: Scan, samples: Sequence[Sample], classes: Sequence[str]
) -> dict[str, Any]:
    """Metrics per source on the test split, and where particles of no class end up.

    ``samples`` is the split of ``scan`` in full. Images of a group that is none of
    ``classes`` were never trained on, so all of them are used, not only the test split's.
    """
    model = Model.load(package)
    spec = model.package.preprocessing
    place = {name: i for i, name in enumerate(classes)}
    metrics: dict[str, Any] = {}
    for source in scan.origins:
        mine = [s for s in samples if s.source == source]
        test = [s for s in mine if s.split == "test" and s.group in place]
        images, truth = [], []
        for sample, rgb in read_rgb(scan, test):
            images.append(prepare(rgb, spec))
            truth.append(place[sample.group])
        metrics[source] = report(
            np.asarray(truth, np.int64),
            classify(model, images),
            tuple(classes),
        )
        others = [s for s in mine if s.group not in place]
        if others:
            images = [prepare(rgb, spec) for _, rgb in read_rgb(scan, others)]
            metrics[source]["other"] = scatter(classify(model, images), classes)
    return metrics


def classify(model: Model, images: Sequence[U8], batch: int = 64) -> F64:
    """Prepared images, each (C, S, S) uint8 -> probabilities (N, K)."""
    starts = range(0, len(images), batch)
    parts = [model.scores(np.stack(images[i : i + batch])) for i in starts]
    return np.concatenate(parts).astype(np.float64)


def scatter(probabilities: F64, classes: Sequence[str]) -> dict[str, Any]:
    """How particles of none of the classes are called, and how surely."""
    top = probabilities.max(axis=1)
    guess = probabilities.argmax(axis=1)
    return {
        "n": len(guess),
        "called": {name: int((guess == i).sum()) for i, name in enumerate(classes)},
        "median_top_probability": round(float(np.median(top)), 4),
        "share_above_0.9": round(float((top > 0.9).mean()), 4),
    }


def look_at_examples(package: Path, folder: Path) -> dict[str, int]:
    """Count how the unlabelled TIFFs in ``folder`` are called; {} where there are none."""
    paths = sorted(folder.glob("*.tif"))
    if not paths:
        return {}
    model = Model.load(package)
    spec = model.package.preprocessing
    images = [prepare(decode(path.read_bytes()).rgb, spec) for path in paths]
    return dict(scatter(classify(model, images), model.package.classes)["called"])
