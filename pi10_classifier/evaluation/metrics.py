"""Computes metrics from predicted and true classes, with bootstrap intervals.

All arrays of classes are int64 indices (N,). It needs only NumPy, so that a package can be
evaluated in the engine's environment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLDEST, HOTTEST = 0.05, 20.0  # bounds of a fitted temperature

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


def confusion(truth: I64, guess: I64, classes: int) -> I64:
    """Counts (classes, classes): rows are the truth, columns the prediction."""
    flat = np.bincount(truth * classes + guess, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def scores(matrix: NDArray[Any]) -> dict[str, F64]:
    """Precision, recall and F1 per class from confusion counts (..., K, K).

    0/0 counts as 0, for example the precision of a class that is never predicted.
    """
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    claimed = matrix.sum(axis=-2).astype(np.float64)
    support = matrix.sum(axis=-1).astype(np.float64)
    return {
        "precision": ratio(hits, claimed),
        "recall": ratio(hits, support),
        "f1": ratio(2 * hits, claimed + support),
    }


def ratio(above: F64, below: F64) -> F64:
    """The quotient of two arrays; 0/0 counts as 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def macro_f1(truth: I64, guess: I64, classes: int) -> float:
    """Mean F1 over the classes."""
    return float(scores(confusion(truth, guess, classes))["f1"].mean())


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> F64:
    """Logits (N, K) -> probabilities (N, K) at a temperature."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    raised = np.exp(scaled)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def nll(logits: NDArray[Any], truth: I64, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood, nats."""
    p = softmax(logits, temperature)[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(p, 1e-12)).mean())


def fit_temperature(logits: NDArray[Any], truth: I64) -> float:
    """The temperature in 0.05..20 with the lowest NLL (Guo et al. 2017).

    NLL is convex in 1/T.
    """
    return least_temperature(lambda temperature: nll(logits, truth, temperature))


def least_temperature(loss: Callable[[float], float]) -> float:
    """The temperature in 0.05..20 that minimises ``loss``, which must be convex in 1/T.

    Golden section over log T, on which such a loss has one minimum.
    """
    low, high = np.log(COLDEST), np.log(HOTTEST)
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(np.exp(left)) < loss(np.exp(right)):
            high = right
        else:
            low = left
    return round(float(np.exp((low + high) / 2)), 4)


def calibration_error(probabilities: F64, truth: I64, bins: int = 15) -> float:
    """Expected calibration error of the top class over equal-width bins."""
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.minimum((top * bins).astype(int), bins - 1)
    gap = np.bincount(place, right - top, bins)
    return float(np.abs(gap).sum() / len(truth))


def report(
    truth: I64,
    probabilities: F64,
    classes: tuple[str, ...],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Macro-F1 and per-class scores with 95 % percentile intervals, as for model.json.

    Intervals resample the test images with replacement (Efron 1979). They cover the choice of
    images, not the choice of training seed or sea.
    """
    guess = probabilities.argmax(axis=1)
    matrix = confusion(truth, guess, len(classes))
    drawn = redrawn(matrix, resamples, seed)
    return {
        "n": len(truth),
        "accuracy": round(float(np.mean(guess == truth)), 4),
        "ece": round(calibration_error(probabilities, truth), 4),
        "macro_f1": interval(scores(matrix)["f1"].mean(), scores(drawn)["f1"].mean(axis=1)),
        "per_class": per_class(matrix, drawn, classes),
        "confusion": matrix.tolist(),
    }


def redrawn(matrix: I64, resamples: int, seed: int = 0) -> I64:
    """Confusion counts (B, K, K) of images resampled with replacement.

    All images of a cell are equivalent, so counts of cells are drawn instead of images.
    """
    drawn = redraw(matrix.ravel(), resamples, np.random.default_rng(seed))
    return drawn.reshape(resamples, *matrix.shape)


def redraw(counts: NDArray[Any], resamples: int, rng: np.random.Generator) -> I64:
    """Counts per group (B, G) after resampling with replacement.

    counts (G,): the number of each kind; their sum is the number of draws. To draw items one by one
    is the same as to draw the counts of the kinds from a multinomial (Efron 1979).
    """
    total = int(counts.sum())
    return rng.multinomial(total, counts / total, size=resamples)


def per_class(matrix: I64, drawn: NDArray[Any], classes: Sequence[str]) -> dict[str, Any]:
    """Precision, recall and F1 of each class with intervals from resamples (B, K, K)."""
    point, spread = scores(matrix), scores(drawn)
    return {
        name: {
            **{key: interval(point[key][i], spread[key][:, i]) for key in point},
            "support": int(matrix[i].sum()),
        }
        for i, name in enumerate(classes)
    }


def interval(value: Any, spread: F64) -> dict[str, float]:
    """A figure with the 95 % percentile interval of its resamples (B,)."""
    low, high = bounds(spread)
    return {"value": round(float(value), 4), "low": round(low, 4), "high": round(high, 4)}


def bounds(spread: F64) -> tuple[float, float]:
    """The 95 % percentile interval of resamples (B,)."""
    low, high = np.quantile(spread, (0.025, 0.975))
    return float(low), float(high)
