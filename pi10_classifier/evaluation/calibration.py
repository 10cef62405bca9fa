"""Calibration of scores: temperature, ECE, Brier score, and the thresholds of the classes.

Probabilities are float64 (N, K), classes int64 indices (N,). The search
for a temperature itself is ``metrics.least_temperature``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.metrics import (
    F64,
    I64,
    calibration_error,
    fit_temperature,
    least_temperature,
    nll,
    ratio,
    softmax,
)

BINS = 15
LEAST_IMAGES = 10
STEPS = 20  # cuts that are tested for an assured precision
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
    low: one-sided lower limit of the precision, at the wanted confidence or else 95 %.
    passing: share kept of the called, by weight.
    """

    score: float
    precision: float
    kept: int
    called: int
    reached: bool
    low: float = 0.0
    passing: float = 1.0

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


def check_confidence(confidence: float | None, precision: float | None) -> None:
    """Raises SettingError unless a given confidence is within 0.5..1 and beside a precision."""
    if confidence is None:
        return
    if precision is None or precision >= 1 or not 0.5 <= confidence < 1:
        raise SettingError(
            f"confidence is {confidence} and precision is {precision}; a confidence is 0.5 to below"
            " 1, for a precision below 1: no number of labels shows that all are right"
        )


def lower_limit(share: F64, size: F64, confidence: float) -> F64:
    """One-sided lower limit of a proportion at a confidence (Clopper and Pearson 1934).

    share: of ``size`` observations; with weights ``size`` is the effective one, and need not be
    whole (Korn and Graubard 1998, Survey Methodology 24:193).
    """
    right = share * size
    limit = betaincinv(np.maximum(right, 1e-12), size - right + 1, 1 - confidence)
    return np.where(right > 0, limit, 0.0)


def fit_thresholds(
    probabilities: F64,
    truth: I64,
    classes: Sequence[str],
    *,
    precision: float | None = None,
    coverage: float | None = None,
    confidence: float | None = None,
    weight: F64 | None = None,
    margin: bool = False,
) -> dict[str, Threshold]:
    """The lowest score per class that reaches a wanted precision or keeps a wanted share.

    precision: among images called a class with at least its score, this share is right;
    the lowest such score is taken, so that as many as possible are kept.
    coverage: this share of the images called a class is kept.
    confidence: the precision holds with it elsewhere too, not in these images alone. Cuts that keep
    5, 10, ... 100 % are tested in this order by their lower limit, from the first that could pass
    if all were right; the last before one fails is taken. Tests in an order that the outcomes do
    not choose need no correction for their number (Bauer 1991; Angelopoulos et al. 2021, Learn
    then Test, arXiv 2110.01052).
    weight: (N,), what each image stands for. margin: cut by the difference of the two best scores.
    A class called on fewer than ten images gets none. Raises SettingError as ``check_wish``.
    """
    check_wish(precision, coverage)
    check_confidence(confidence, precision)
    ordered = np.sort(probabilities, axis=1)
    guess, top = probabilities.argmax(axis=1), ordered[:, -1]
    if margin:
        top = top - ordered[:, -2]
    stands = np.ones(len(truth)) if weight is None else weight
    found = {}
    for place, label in enumerate(classes):
        mine = guess == place
        if mine.sum() < LEAST_IMAGES:
            continue
        order = np.argsort(-top[mine], kind="stable")
        ranked, right = top[mine][order], (truth[mine] == place)[order]
        cuts = _Cuts.of(ranked, right, stands[mine][order], confidence or 0.95)
        found[label] = cuts.threshold(ranked, precision, coverage, confidence)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Cuts:
    """The possible cuts, each (C,): a score keeps all its equals, so the last of ties is a cut.

    ends: places of the last image kept. shares: precision. low: its lower limit; best: if all were
    right. passing: share of the weight that is kept.
    """

    ends: I64
    shares: F64
    low: F64
    best: F64
    passing: F64

    @classmethod
    def of(cls, ranked: F64, right: NDArray[np.bool_], weight: F64, confidence: float) -> _Cuts:
        """``ranked``: scores in falling order; ``right``: whether each was."""
        ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
        total = np.cumsum(weight)[ends]
        shares = ratio(np.cumsum(weight * right)[ends], total)
        size = ratio(total**2, np.cumsum(weight**2)[ends])
        best = lower_limit(np.ones(len(ends)), size, confidence)
        return cls(
            ends, shares, lower_limit(shares, size, confidence), best, ratio(total, total[-1:])
        )

    def threshold(
        self,
        ranked: F64,
        precision: float | None,
        coverage: float | None,
        confidence: float | None,
    ) -> Threshold:
        called = len(ranked)
        if coverage is not None:
            end = int(np.searchsorted(self.ends + 1, np.ceil(coverage * called - 1e-9)))
            good = True
        elif confidence is not None:
            end, good = self._assured(called, precision or 0)
        else:
            enough = self.ends + 1 >= LEAST_IMAGES
            fits = np.flatnonzero(enough & (self.shares >= (precision or 0)))
            good = bool(fits.size)
            end = int(fits[-1]) if good else int(np.argmax(np.where(enough, self.shares, -1)))
        kept = int(self.ends[end]) + 1
        # cut down, not rounded: what is kept here must be kept by the stored figure
        score = 0.0 if kept == called else np.floor(float(ranked[kept - 1]) * 1e6) / 1e6
        return Threshold(
            float(score), round(float(self.shares[end]), 4), kept, called, good,
            round(float(self.low[end]), 4), round(float(self.passing[end]), 4),
        )  # fmt: skip

    def _assured(self, called: int, precision: float) -> tuple[int, bool]:
        """The laxest cut whose limit, and that of all stricter ones tested, is high enough."""
        wanted = np.ceil(called * np.arange(1, STEPS + 1) / STEPS)
        steps = np.unique(np.searchsorted(self.ends + 1, wanted))
        passed = -1
        for step in steps[self.best[steps] >= precision].tolist():
            if self.low[step] < precision:
                break
            passed = step
        return (passed, True) if passed >= 0 else (int(steps[self.low[steps].argmax()]), False)


def stored(thresholds: Mapping[str, Threshold]) -> dict[str, float]:
    """The thresholds as stored in model.json: only those that flag any image."""
    return {label: found.score for label, found in thresholds.items() if found.score > 0}
