"""Analyses scored images: metrics with intervals, calibration, thresholds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.evaluation import calibration
from pi10_classifier.evaluation.metrics import (
    F64,
    I64,
    confusion,
    fit_temperature,
    interval,
    per_class,
    redraw,
    redrawn,
    scores,
)
from pi10_classifier.evaluation.scoring import Scored
from pi10_classifier.model.session import Model

RESAMPLES = 1000
LEAST_BINS = 10


def figures_of(
    truth: I64,
    probabilities: F64,
    classes: Sequence[str],
    bins: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Macro and per-class precision, recall and F1 with 95 % percentile intervals.

    Macro figures are means over the classes that have images. Intervals resample images with
    replacement (Efron 1979). If ``bins`` names at least ten bins of the instrument, whole bins are
    resampled, because images of one bin resemble each other. The intervals cover the choice of
    images, not the choice of training seed, sea or camera.
    """
    k = len(classes)
    matrix = confusion(truth, probabilities.argmax(axis=1), k)
    present = np.flatnonzero(matrix.sum(axis=1))
    by_bin = all(bins) and len(set(bins)) >= LEAST_BINS
    if by_bin:
        _, place = np.unique(np.asarray(bins), return_inverse=True)
        cells = np.zeros((int(place.max()) + 1, k * k))
        np.add.at(cells, (place, truth * k + probabilities.argmax(axis=1)), 1)
        times = redraw(np.ones(len(cells)), resamples, np.random.default_rng(seed))
        drawn: NDArray[Any] = (times @ cells).reshape(resamples, k, k)
    else:
        drawn = redrawn(matrix, resamples, seed)
    point, spread = scores(matrix), scores(drawn)
    macro = {
        f"macro_{key}": interval(point[key][present].mean(), spread[key][:, present].mean(axis=1))
        for key in ("f1", "precision", "recall")
    }
    return {
        "n": len(truth),
        "accuracy": round(float(np.trace(matrix) / len(truth)), 4),
        **macro,
        "resampled": "bins" if by_bin else "images",
        "per_class": per_class(matrix, drawn, classes),
        "confusion": matrix.tolist(),
    }


def judge_calibration(
    model: Model, judged: Scored, fitted_on: Scored | None, name: str = ""
) -> dict[str, Any]:
    """ECE, Brier score and NLL: without a temperature, as served, and with a refitted one.

    The temperature is refitted on ``fitted_on``, the images of split ``name``. With None, each
    half of ``judged`` is evaluated at the temperature of the other half.
    """
    package = model.package
    truth, served = judged.truth(package.classes), judged.probabilities
    # a package that outputs probabilities is served without a temperature
    inside = package.temperature if package.activation == "softmax" else 1.0
    if fitted_on is None:
        refitted, temperatures = calibration.refit_halves(served, truth)
        source = "each half of these images, judged on the other"
    else:
        logits = calibration.as_logits(fitted_on.probabilities)
        temperatures = [fit_temperature(logits, fitted_on.truth(package.classes))]
        refitted = calibration.at_temperature(served, temperatures[0])
        source = f"{len(fitted_on.samples):,} images of the {name} split"
    return {
        "uncalibrated": calibration.figures(calibration.at_temperature(served, 1 / inside), truth),
        "as_served": {"temperature": inside, **calibration.figures(served, truth)},
        "refitted": {
            "temperature": [round(inside * t, 4) for t in temperatures],
            "fitted_on": source,
            **calibration.figures(refitted, truth),
        },
        "reliability": {
            "as_served": calibration.reliability(served, truth),
            "refitted": calibration.reliability(refitted, truth),
        },
    }


def judge_outside(model: Model, outside: Scored) -> dict[str, Any]:
    """How the model classifies images that belong to none of its classes, and with which scores."""
    classes, least = model.package.classes, np.array(model.package.thresholds)
    groups: dict[str, Any] = {}
    for group in sorted({sample.group for sample in outside.samples}):
        p = outside.of(lambda s, g=group: s.group == g).probabilities  # type: ignore[misc]
        top, guess = p.max(axis=1), p.argmax(axis=1)
        groups[group] = {
            "n": len(p),
            "called": {label: int((guess == i).sum()) for i, label in enumerate(classes)},
            "share_above_0.9": round(float((top > 0.9).mean()), 4),
        }
        if least.size:
            groups[group]["share_flagged"] = round(float((top < least[guess]).mean()), 4)
    return groups


def judge_thresholds(model: Model, judged: Scored) -> dict[str, Any]:
    """Precision and share of the images that the package's thresholds do not flag."""
    package, truth = model.package, judged.truth(model.package.classes)
    guess, top = judged.probabilities.argmax(axis=1), judged.probabilities.max(axis=1)
    thresholds: dict[str, Any] = {}
    for i, (label, least) in enumerate(zip(package.classes, package.thresholds, strict=False)):
        called, kept = guess == i, (guess == i) & (top >= least)
        right = truth == i
        thresholds[label] = {
            "threshold": least,
            "called": int(called.sum()),
            "kept": int(kept.sum()),
            "precision_called": round(float(right[called].mean()), 4) if called.any() else None,
            "precision_kept": round(float(right[kept].mean()), 4) if kept.any() else None,
        }
    return thresholds


def judge_groups(model: Model, scored: Scored, label_map: LabelMap | None) -> dict[str, Any]:
    """How images of each group of the label map are called; empty where it names none.

    group -> its class, images, how many are called each class (``called``) and, where the package
    predicts groups, each group (``as_group``), which is the most probable within the class called.
    """
    if label_map is None or not label_map.groups:
        return {}
    package = model.package
    called = model.labels(scored.probabilities.astype(np.float32))
    within = scored.groups or ("",) * len(called)
    rows: dict[str, dict[str, Any]] = {}
    classes: dict[str, Counter[str]] = {}
    groups: dict[str, Counter[str]] = {}
    for sample, label, group in zip(scored.samples, called, within, strict=True):
        if name := label_map.finer_group(sample.label):
            rows.setdefault(name, {"class": sample.group, "images": 0})["images"] += 1
            classes.setdefault(name, Counter())[label] += 1
            groups.setdefault(name, Counter())[group] += 1
    for name, row in rows.items():
        row["called"] = {label: classes[name][label] for label in package.classes}
        if package.groups:
            row["as_group"] = {group: groups[name][group] for group in package.groups.names}
    return {name: rows[name] for name in sorted(rows, key=lambda x: (rows[x]["class"], x))}
