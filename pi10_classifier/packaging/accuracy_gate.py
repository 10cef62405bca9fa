"""Compares macro-F1 of two graphs on the same held-out images, in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.evaluation.metrics import F64, I64, bounds, ratio
from pi10_classifier.evaluation.scoring import Scored

RESAMPLES = 1000
_CHUNK = 100  # resamples at a time: bounds the memory


@dataclass(frozen=True, slots=True)
class AccuracyGate:
    """Macro-F1 of both graphs on the same held-out images; ``drop`` with its 95 % interval.

    The interval is that of the paired difference over resamples of the images, each with all of its
    drawings (draws), since drawings of one image resemble each other. agree: share of the drawings
    that both graphs give the same class. absent: classes without a held-out image, which the
    figures do not include.
    """

    images: int
    before: float
    after: float
    drop: float
    low: float
    high: float
    agree: float
    absent: tuple[str, ...] = ()
    draws: int = 1


def judge(before: Scored, after: Scored, classes: Sequence[str], seed: int = 0) -> AccuracyGate:
    """Compare two graphs' scores of the same samples, given in the same order."""
    first, second = (x.probabilities.argmax(axis=1)[:, None] for x in (before, after))
    return paired(before.truth(classes), first, second, classes, seed)


def paired(
    truth: I64, before: I64, after: I64, classes: Sequence[str], seed: int = 0
) -> AccuracyGate:
    """Compare two graphs' classes (N, draws) of drawings of images of the classes ``truth`` (N,).

    Whole images are resampled with replacement (Efron 1979; cluster bootstrap).
    """
    present = np.unique(truth)
    counts = [_counts(truth, guess, len(classes)) for guess in (before, after)]
    one, two = (float(_macro(c.sum(axis=0), present)) for c in counts)
    rng = np.random.default_rng(seed)
    n = len(truth)
    apart = np.empty(RESAMPLES)
    for begin in range(0, RESAMPLES, _CHUNK):
        part = slice(begin, min(begin + _CHUNK, RESAMPLES))
        weights = rng.multinomial(n, np.full(n, 1 / n), part.stop - part.start).astype(np.float64)
        first, second = (_macro(np.tensordot(weights, c, axes=(1, 0)), present) for c in counts)
        apart[part] = first - second
    agree = float((before == after).mean())
    absent = tuple(name for i, name in enumerate(classes) if i not in present)
    draws = before.shape[1]
    return AccuracyGate(n, one, two, one - two, *bounds(apart), agree, absent, draws)


def _counts(truth: I64, guess: I64, classes: int) -> F64:
    """Of each image: drawings that are right, and drawings of or called the class (N, 2, K)."""
    k = np.arange(classes)
    true = truth[:, None, None] == k
    called = guess[:, :, None] == k
    hits = (true & called).sum(axis=1)
    both = called.sum(axis=1) + true[:, 0] * guess.shape[1]
    return np.stack([hits, both], axis=1).astype(np.float64)


def _macro(counts: F64, present: NDArray[np.int64]) -> F64:
    """Macro-F1 (...) of summed counts (..., 2, K), over the classes that are present."""
    f1 = ratio(2 * counts[..., 0, :], counts[..., 1, :])
    return np.asarray(f1[..., present].mean(axis=-1))
