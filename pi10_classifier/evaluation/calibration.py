"""Calibration of scores: temperature, ECE, Brier score, and the thresholds of the classes.

Probabilities are float64 (N, K), classes int64 indices (N,). NumPy alone. The search
for a temperature itself is ``metrics.least_temperature``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.metrics import (
    F64,
    I64,
    calibration_error,
    fit_temperature,
    least_temperature,
    nll,
    softmax,
)

BINS = 15
LEAST_IMAGES = 10
_TINY = 1e-45  # the least float32 above zero, as the engine's scores are


def as_logits(probabilities: NDArray[Any]) -> F64:
    """Logits that give these probabilities, up to a constant per row."""
    return np.asarray(np.log(np.maximum(probabilities, _TINY)), np.float64)


def at_temperature(probabilities: NDArray[Any], temperature: float) -> F64:
    """The probabilities with their logits divided by ``temperature``."""
    return softmax(as_logits(probabilities), temperature)


def brier(probabilities: F64, truth: I64) -> float:
    """Mean squared distance to the truth over all classes, 0..2 (Brier 1950)."""
    rows = np.arange(len(truth))
    return float(((probabilities**2).sum(axis=1) - 2 * probabilities[rows, truth] + 1).mean())


def reliability(probabilities: F64, truth: I64, bins: int = BINS) -> list[dict[str, float]]:
    """Mean top score and share of correct images in equal bins of the score, without empty bins."""
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.minimum((top * bins).astype(int), bins - 1)
    return [
        {
            "low": round(number / bins, 4),
            "high": round((number + 1) / bins, 4),
            "n": int((place == number).sum()),
            "score": round(float(top[place == number].mean()), 4),
            "right": round(float(right[place == number].mean()), 4),
        }
        for number in np.unique(place).tolist()
    ]


def figures(probabilities: F64, truth: I64) -> dict[str, float]:
    """ECE over 15 bins, Brier score and mean negative log-likelihood (nats)."""
    return {
        "ece": round(calibration_error(probabilities, truth, BINS), 4),
        "brier": round(brier(probabilities, truth), 4),
        "nll": round(nll(as_logits(probabilities), truth), 4),
    }


def refit_halves(probabilities: F64, truth: I64, seed: int = 0) -> tuple[F64, list[float]]:
    """Probabilities of each half at the temperature fitted on the other half.

    For data without a part of its own to fit on: no image is judged at a temperature that
    it helped to choose. Returns probabilities (N, K) and the two temperatures.
    """
    half = np.random.default_rng(seed).permutation(len(truth)) % 2 == 0
    out = np.empty_like(probabilities)
    found = []
    for judged in (half, ~half):
        fitted = fit_temperature(as_logits(probabilities[~judged]), truth[~judged])
        out[judged] = at_temperature(probabilities[judged], fitted)
        found.append(fitted)
    return out, found


def fit_temperature_of_few(logits: NDArray[Any], truth: I64) -> float:
    """Fit a temperature, 0.05..20, to a few images.

    Where all are right the likeliest temperature is none at all. The targets are therefore
    those of Platt (1999): (n + 1) / (n + K) for the true class of n images, 1 / (n + K) for
    each other, as if every class had been met once more. Convex in 1/T.
    """
    n, k = logits.shape
    target = np.full((n, k), 1 / (n + k))
    target[np.arange(n), truth] = (n + 1) / (n + k)

    def loss(temperature: float) -> float:
        return float(-(target * np.log(np.maximum(softmax(logits, temperature), 1e-30))).sum())

    return least_temperature(loss)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold of a class, and its effect on the images it was fitted on.

    precision: share right among the ``kept`` of ``called`` images at or above ``score``.
    reached: False where no score brings the wanted precision; ``score`` is then that of
    the highest precision met with at least ten images.
    """

    score: float
    precision: float
    kept: int
    called: int
    reached: bool

    @property
    def coverage(self) -> float:
        return self.kept / self.called


def check_wish(precision: float | None, coverage: float | None) -> None:
    """Raises SettingError unless exactly one of the two is given, within 0..1."""
    wanted = precision if coverage is None else coverage
    if (precision is None) == (coverage is None) or wanted is None or not 0 < wanted <= 1:
        raise SettingError(
            f"precision is {precision} and coverage is {coverage}; thresholds need either a"
            " precision or a coverage, above 0 and at most 1"
        )


def fit_thresholds(
    probabilities: F64,
    truth: I64,
    classes: Sequence[str],
    *,
    precision: float | None = None,
    coverage: float | None = None,
) -> dict[str, Threshold]:
    """The lowest score per class that reaches a wanted precision or keeps a wanted share.

    precision: among images called a class with at least its score, this share is right;
    the lowest such score is taken, so that as many as possible are kept.
    coverage: this share of the images called a class is kept.
    A class called on fewer than ten images gets none. Raises SettingError as ``check_wish``.
    """
    check_wish(precision, coverage)
    guess, top = probabilities.argmax(axis=1), probabilities.max(axis=1)
    found = {}
    for place, label in enumerate(classes):
        mine = guess == place
        if mine.sum() < LEAST_IMAGES:
            continue
        order = np.argsort(-top[mine], kind="stable")
        ranked, right = top[mine][order], (truth[mine] == place)[order]
        found[label] = _threshold(ranked, right, precision, coverage)
    return found


def _threshold(
    ranked: F64, right: NDArray[np.bool_], precision: float | None, coverage: float | None
) -> Threshold:
    """``ranked``: scores in falling order; ``right``: whether each was."""
    called = len(ranked)
    # a score keeps all its equals: only the last of a run of ties can be a cut
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    shares = np.cumsum(right)[ends] / (ends + 1)
    if coverage is not None:
        end = int(np.searchsorted(ends + 1, np.ceil(coverage * called - 1e-9)))
        good = True
    else:
        enough = ends + 1 >= LEAST_IMAGES
        fits = np.flatnonzero(enough & (shares >= (precision or 0)))
        good = bool(fits.size)
        end = int(fits[-1]) if good else int(np.argmax(np.where(enough, shares, -1)))
    kept = int(ends[end]) + 1
    # cut down, not rounded: what is kept here must be kept by the stored figure
    score = 0.0 if kept == called else np.floor(float(ranked[kept - 1]) * 1e6) / 1e6
    return Threshold(float(score), round(float(shares[end]), 4), kept, called, good)


def stored(thresholds: Mapping[str, Threshold]) -> dict[str, float]:
    """The thresholds as stored in model.json: only those that flag any image."""
    return {label: found.score for label, found in thresholds.items() if found.score > 0}
