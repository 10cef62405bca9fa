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
from pi10_classifier.training import data as labelled
from pi10_classifier.training.metrics import report

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]


def judge(
    package: Path,
    data: Path,
    samples: Sequence[labelled.Sample],
    sources: Sequence[labelled.Source] = labelled.SOURCES,
) -> dict[str, Any]:
    """Metrics per source on the test split, and where "other" particles end up.

    ``samples`` is the split in full. The images of group "other" were never
    trained on, so all of them are used, not only those of the test split.
    """
    model = Model.load(package)
    spec = model.package.preprocessing
    place = {name: i for i, name in enumerate(labelled.CLASSES)}
    metrics: dict[str, Any] = {}
    for source in sources:
        mine = [s for s in samples if s.source == source.name]
        test = [s for s in mine if s.split == "test" and s.group in place]
        images, truth = [], []
        for sample, rgb in labelled.read_rgb(data, test, sources):
            images.append(prepare(rgb, spec))
            truth.append(place[sample.group])
        metrics[source.name] = report(
            np.asarray(truth, np.int64),
            classify(model, images),
            labelled.CLASSES,
        )
        others = [s for s in mine if s.group == labelled.OTHER]
        if others:
            images = [prepare(rgb, spec) for _, rgb in labelled.read_rgb(data, others, sources)]
            metrics[source.name]["other"] = scatter(classify(model, images))
    return metrics


def classify(model: Model, images: Sequence[U8], batch: int = 64) -> F64:
    """Prepared images, each (C, S, S) uint8 -> probabilities (N, K)."""
    starts = range(0, len(images), batch)
    parts = [model.scores(np.stack(images[i : i + batch])) for i in starts]
    return np.concatenate(parts).astype(np.float64)


def scatter(probabilities: F64) -> dict[str, Any]:
    """How particles of none of the classes are called, and how surely."""
    top = probabilities.max(axis=1)
    guess = probabilities.argmax(axis=1)
    return {
        "n": len(guess),
        "called": {name: int((guess == i).sum()) for i, name in enumerate(labelled.CLASSES)},
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
    return dict(scatter(classify(model, images))["called"])
