"""How well scores rank the images of a class above the others: average precision and ROC-AUC.

Both are of one class against all others, with intervals from resampled images. Images with equal
scores share one point. NumPy alone; the tests compare with scikit-learn's functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.evaluation.metrics import F64, I64, interval

KEYS = ("average_precision", "roc_auc")
_TOGETHER = 50  # resamples at once, so that memory stays small for many images


def ranked(
    truth: I64, scores: F64, classes: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Class -> average precision and ROC-AUC, each with a 95 % percentile interval.

    truth (N,): class indices. scores (N, K). Under the name "" are the means over the classes. A
    class without images, or with nothing else, has no figures and is left out of the means.
    """
    rng = np.random.default_rng(seed)
    count = len(truth)
    orders = [_Order(truth == place, scores[:, place]) for place in range(len(classes))]
    known = [place for place, order in enumerate(orders) if order.usable]
    if not known:
        return {}
    point = np.array([orders[place].areas(np.ones((1, count)))[:, 0] for place in known])
    spread = np.zeros((len(known), len(KEYS), resamples))
    for first in range(0, resamples, _TOGETHER):
        size = min(_TOGETHER, resamples - first)
        weights = rng.multinomial(count, np.full(count, 1 / count), size).astype(np.float64)
        for row, place in enumerate(known):
            spread[row, :, first : first + size] = orders[place].areas(weights)
    figures = {
        classes[place]: {key: interval(point[row, k], spread[row, k]) for k, key in enumerate(KEYS)}
        for row, place in enumerate(known)
    }
    means = {
        key: interval(point[:, k].mean(), spread[:, k].mean(axis=0)) for k, key in enumerate(KEYS)
    }
    return {"": means, **figures}


class _Order:
    """The images of a class and the others, by falling score."""

    def __init__(self, right: NDArray[np.bool_], score: F64) -> None:
        self.usable = bool(right.any() and not right.all())
        self._order = np.argsort(-score, kind="stable")
        self._right = right[self._order]
        # where each run of equal scores ends
        self._last = np.append(np.flatnonzero(np.diff(score[self._order])), len(score) - 1)

    def areas(self, weights: F64) -> F64:
        """Average precision and ROC-AUC (2, B) for weights (B, N) of the images.

        Average precision is the sum of precision times the step of recall, without interpolation;
        ROC-AUC the area by the trapezoidal rule. 0 where a resample has no image of the class, or
        nothing else.
        """
        sorted_weights = weights[:, self._order]
        hits = np.cumsum(sorted_weights * self._right, axis=1)[:, self._last]
        seen = np.cumsum(sorted_weights, axis=1)[:, self._last]
        misses = seen - hits
        positives, negatives = hits[:, -1:], misses[:, -1:]
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        steps = np.diff(hits, axis=1, prepend=0.0)
        falls = np.diff(misses, axis=1, prepend=0.0)
        before = hits - steps
        area = (falls * (hits + before) / 2).sum(axis=1, keepdims=True)
        average = (precision * steps).sum(axis=1, keepdims=True)
        return np.concatenate([_over(average, positives), _over(area, positives * negatives)], 1).T


def _over(above: F64, below: F64) -> F64:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
