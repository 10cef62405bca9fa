"""Calibrates scores: temperature, ECE, Brier score, and the thresholds of the classes.

Probabilities are float64 (N, K), classes int64 indices (N,). The temperature is found by
``metrics.least_temperature``.
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
STEPS = 20  # cuts that are tested for a precision with confidence
_TINY = 1e-45  # the least float32 above zero, as the engine's scores are


def as_logits(probabilities: NDArray[Any]) -> F64:
    """Logits of these probabilities, up to a constant per row."""
    return np.asarray(np.log(np.maximum(probabilities, _TINY)), np.float64)


def at_temperature(probabilities: NDArray[Any], temperature: float) -> F64:
    """The probabilities with their logits divided by ``temperature``."""
    return softmax(as_logits(probabilities), temperature)


def brier(probabilities: F64, truth: I64) -> float:
    """Mean squared distance to the truth over all classes, 0..2 (Brier 1950)."""
    rows = np.arange(len(truth))
    return float(((probabilities**2).sum(axis=1) - 2 * probabilities[rows, truth] + 1).mean())


def reliability(probabilities: F64, truth: I64, bins: int = BINS) -> list[dict[str, float]]:
    """Mean top score and share of correct images per bin of the score, without empty bins."""
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

    This is for data without a separate split for fitting: no image is evaluated at a temperature
    that it helped to choose. Returns probabilities (N, K) and the two temperatures.
    """
    half = np.random.default_rng(seed).permutation(len(truth)) % 2 == 0
    out = np.empty_like(probabilities)
    temperatures = []
    for judged in (half, ~half):
        fitted = fit_temperature(as_logits(probabilities[~judged]), truth[~judged])
        out[judged] = at_temperature(probabilities[judged], fitted)
        temperatures.append(fitted)
    return out, temperatures


def fit_temperature_of_few(logits: NDArray[Any], truth: I64) -> float:
    """Fit a temperature, 0.05..20, to a few images.

    If all images are right, no temperature is the most likely one. So the targets are those of
    Platt (1999): (n + 1) / (n + K) for the true class of n images and 1 / (n + K) for each other
    class, as if every class had occurred once more. The loss is convex in 1/T.
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

    called: images predicted as the class; kept: those of them at or above ``score``.
    precision: share of the kept images that are right.
    reached: False if no score gives the wanted precision; ``score`` is then the one with the
    highest precision on at least ten images.
    low: one-sided lower limit of the precision, at the wanted confidence or else 95 %.
    passing: share of the called images that are kept, by weight.
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
    """Raise SettingError unless exactly one of the two is given, within 0..1."""
    wanted = precision if coverage is None else coverage
    if (precision is None) == (coverage is None) or wanted is None or not 0 < wanted <= 1:
        raise SettingError(
            f"precision is {precision} and coverage is {coverage}; thresholds need either a"
            " precision or a coverage, above 0 and at most 1"
        )


def check_confidence(confidence: float | None, precision: float | None) -> None:
    """Raise SettingError if a confidence is outside 0.5..1, or given without a precision."""
    if confidence is None:
        return
    if precision is None or precision >= 1 or not 0.5 <= confidence < 1:
        raise SettingError(
            f"confidence is {confidence} and precision is {precision}; a confidence must be from"
            " 0.5 to below 1, and needs a precision below 1"
        )


def lower_limit(share: F64, size: F64, confidence: float) -> F64:
    """One-sided lower limit of a proportion at a confidence (Clopper and Pearson 1934).

    share: the proportion among ``size`` observations. With weights, ``size`` is the effective
    sample size, which need not be whole (Korn and Graubard 1998, Survey Methodology 24:193).
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

    precision: this share of the images predicted as a class with at least its score is right. The
    lowest such score is taken, so that as many images as possible are kept.
    coverage: this share of the images predicted as a class is kept.
    confidence: the precision holds with this confidence on other images too. Cuts that keep 5, 10,
    ... 100 % of the images are tested in this order by their lower limit, beginning with the first
    that could pass if all images were right. The last cut before a failure is taken. Because the
    order does not depend on the outcomes, the tests need no correction for their number (Bauer
    1991; Angelopoulos et al. 2021, Learn then Test, arXiv 2110.01052).
    weight: (N,), how many particles each image stands for. margin: cut by the difference of the two
    best scores.
    A class predicted for fewer than ten images gets no threshold. Raises SettingError as
    ``check_wish`` does.
    """
    check_wish(precision, coverage)
    check_confidence(confidence, precision)
    ordered = np.sort(probabilities, axis=1)
    guess, top = probabilities.argmax(axis=1), ordered[:, -1]
    if margin:
        top = top - ordered[:, -2]
    stands = np.ones(len(truth)) if weight is None else weight
    thresholds = {}
    for place, label in enumerate(classes):
        called = guess == place
        if called.sum() < LEAST_IMAGES:
            continue
        order = np.argsort(-top[called], kind="stable")
        ranked, right = top[called][order], (truth[called] == place)[order]
        cuts = _Cuts.of(ranked, right, stands[called][order], confidence or 0.95)
        thresholds[label] = cuts.threshold(ranked, precision, coverage, confidence)
    return thresholds


@dataclass(frozen=True, slots=True, eq=False)
class _Cuts:
    """The possible cuts, arrays of (C,). Equal scores are kept together, so they give one cut.

    ends: index of the last image that is kept. shares: precision. low: its lower limit. best: the
    lower limit if all images were right. passing: share of the weight that is kept.
    """

    ends: I64
    shares: F64
    low: F64
    best: F64
    passing: F64

    @classmethod
    def of(cls, ranked: F64, right: NDArray[np.bool_], weight: F64, confidence: float) -> _Cuts:
        """``ranked``: scores in descending order; ``right``: whether each image is right."""
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
        # rounded down, so that the stored score keeps all images that are kept here
        score = 0.0 if kept == called else np.floor(float(ranked[kept - 1]) * 1e6) / 1e6
        return Threshold(
            float(score), round(float(self.shares[end]), 4), kept, called, good,
            round(float(self.low[end]), 4), round(float(self.passing[end]), 4),
        )  # fmt: skip

    def _assured(self, called: int, precision: float) -> tuple[int, bool]:
        """The loosest cut for which its lower limit and all stricter ones are high enough."""
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
    return {label: fitted.score for label, fitted in thresholds.items() if fitted.score > 0}
