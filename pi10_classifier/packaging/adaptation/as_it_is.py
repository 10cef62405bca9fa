"""Compares an adapted head, on held-out crops, with the model as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.datasets.records import Scan
from pi10_classifier.evaluation.metrics import F64, I64, bounds, ratio, redraw
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation.gallery import Gallery

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Compared:
    """Macro-F1 of the model as it is and of the head, on the same crops.

    gain: the head's less the model's, with its 95 % interval and standard error from resamples of
    the particles.
    """

    as_it_is: float
    adapted: float
    gain: float
    low: float
    high: float
    error: float

    @property
    def better(self) -> bool:
        """Whether the gain is more than one standard error."""
        return self.gain > self.error

    def __str__(self) -> str:
        return (
            f"macro-F1 {self.adapted:.3f} in cross-validation and {self.as_it_is:.3f} of the model"
            f" as it is, on the same crops: a difference of {self.gain:+.3f} ({self.low:+.3f} to"
            f" {self.high:+.3f})"
        )


def compare(model: Model, scan: Scan, gallery: Gallery, logits: F64) -> Compared | None:
    """Compare held-out logits (N, K) with the model's answers; None for classes new to it."""
    known = model.package.classes
    if not set(gallery.classes) <= set(known):
        return None
    scored = score(model, scan, gallery.samples)
    guesses = dict(zip(
        ((s.source, s.member) for s in scored.samples), scored.probabilities.argmax(axis=1),
        strict=True,
    ))  # fmt: skip
    before = np.array([guesses[s.source, s.member] for s in gallery.samples], np.int64)
    place = np.array([known.index(label) for label in gallery.classes], np.int64)
    return paired(place[gallery.y], before, place[logits.argmax(axis=1)], gallery.particle, known)


def paired(
    truth: I64, before: I64, after: I64, particle: I64, classes: Sequence[str], seed: int = 0
) -> Compared:
    """Both macro-F1 over the classes that have crops, and their difference over resamples."""
    k = len(classes)
    present = np.unique(truth)
    _, place = np.unique(particle, return_inverse=True)
    count = int(place.max()) + 1
    times = np.concatenate([
        np.ones((1, count)), redraw(np.ones(count), RESAMPLES, np.random.default_rng(seed))
    ])  # fmt: skip

    def total(label: I64, counted: NDArray[Any]) -> F64:
        cells = np.zeros((count, k))
        np.add.at(cells, (place, label), counted)
        return np.asarray((times @ cells)[:, present])

    def macro(guess: I64) -> F64:
        every = np.ones(len(truth))
        # F1 of a class: twice the hits over images of the class plus images called so
        called = total(truth, every) + total(guess, every)
        return np.asarray(ratio(2 * total(truth, guess == truth), called).mean(axis=1))

    first, second = macro(before), macro(after)
    gains = second - first
    low, high = bounds(gains[1:])
    return Compared(
        round(float(first[0]), 4), round(float(second[0]), 4), round(float(gains[0]), 4),
        low, high, round(float(gains[1:].std(ddof=1)), 4),
    )  # fmt: skip
