"""Bootstrap intervals and paired tests over test images and training seeds.

Each resample draws images with replacement, once for all runs. Runs tested on the same images
share the effect of these images, so differences between rows are paired. Within each row it
also draws seeds with replacement, and the row's figure is the mean over the drawn seeds.
Images and seeds are crossed factors, not nested ones. To draw new images for each seed would
average out the common effect of the images, and the intervals would be too short (Owen 2007,
"The pigeonhole bootstrap", Ann. Appl. Stat. 1:386).

Of S seeds, S-1 are drawn, so that the bootstrap variance of their mean is unbiased. To draw S
would understate it by a third for three seeds (Rao and Wu 1988, JASA 83:231). With one seed the
interval covers the images only, so the test compares two networks, not two methods.

How often p < 0.05 occurs between equal methods was simulated (300 times, 1,500 images). If
seeds and images vary equally, it is 4 %, 3 % and 4 % for 2, 3 and 5 seeds. If seeds vary far
more than images, it is 18 %, 9 % and 5 %. With one seed it is 34 %. All this ignores that images
of one bin resemble each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.evaluation.metrics import F64, I64, bounds, ratio, redraw

RESAMPLES = 2000
_CHUNK = 200  # resamples at a time: bounds the memory of the draws


@dataclass(frozen=True, slots=True, eq=False)
class RunOutcome:
    """One run on the union of all test images: class indices (N,), -1 for untested images."""

    truth: I64
    guess: I64


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Macro-F1, or the F1 of a class, of one row minus another's; its interval, two-sided p."""

    value: float
    low: float
    high: float
    p: float


def class_f1(outcome: RunOutcome, classes: int, weight: NDArray[np.float32] | None = None) -> F64:
    """F1 per class (..., K), with weights of the images (..., N); 0/0 counts as 0."""
    tested = outcome.truth >= 0
    k = np.arange(classes)
    true = (outcome.truth[:, None] == k) & tested[:, None]
    predicted = (outcome.guess[:, None] == k) & tested[:, None]
    if weight is None:
        weight = np.ones(len(tested), np.float32)
    hits = (weight @ (true & predicted).astype(np.float32)).astype(np.float64)
    # weights are whole numbers far below 2^24, so float32 sums are exact
    both = (weight @ (true.astype(np.float32) + predicted)).astype(np.float64)
    return ratio(2 * hits, both)


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """point: F1 (K,) per row, mean over seeds. draws: (B, K) per row, from the same images."""

    point: Mapping[str, F64]
    draws: Mapping[str, F64]

    def f1(self, row: str, index: int | None = None) -> Interval:
        """Macro-F1, or the F1 of one class."""
        point, draws = self.point[row], self.draws[row]
        if index is not None:
            return _interval(point[index], draws[:, index])
        return _interval(point.mean(), draws.mean(axis=1))

    def difference(self, row: str, other: str, index: int | None = None) -> Difference:
        """Paired bootstrap test of macro-F1, or of the F1 of one class, row minus other.

        p is twice the smaller of the shares of resamples above and below 0, with one added to
        both counts (Efron and Tibshirani 1993, ch. 15-16; Davison and Hinkley 1997, eq. 4.11).
        This is the level at which the percentile interval just touches 0.
        """
        one, two = self.f1(row, index), self.f1(other, index)
        if index is None:
            draws = self.draws[row].mean(axis=1) - self.draws[other].mean(axis=1)
        else:
            draws = self.draws[row][:, index] - self.draws[other][:, index]
        interval = _interval(one.value - two.value, draws)
        below, above = int((draws <= 0).sum()), int((draws >= 0).sum())
        p = min(1.0, 2 * (min(below, above) + 1) / (len(draws) + 1))
        return Difference(interval.value, interval.low, interval.high, p)


def resample(
    rows: Mapping[str, Sequence[RunOutcome]],
    classes: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Draw images and seeds ``resamples`` times. rows: name -> one outcome per seed."""
    runs = [outcome for outcomes in rows.values() for outcome in outcomes]
    # images with the same outcomes in all runs form one pattern; there are far fewer patterns
    cells = np.stack([x for run in runs for x in (run.truth, run.guess)], axis=1)
    patterns, counts = np.unique(cells, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    picks = {name: _picks(rng, len(outcomes), resamples) for name, outcomes in rows.items()}
    draws = {name: np.empty((resamples, classes)) for name in rows}
    for begin in range(0, resamples, _CHUNK):
        part = slice(begin, min(begin + _CHUNK, resamples))
        size = part.stop - part.start
        weight = redraw(counts, size, rng).astype(np.float32)
        column = 0
        for name, outcomes in rows.items():
            f1 = np.zeros((size, classes))
            for s in range(len(outcomes)):
                outcome = RunOutcome(patterns[:, column], patterns[:, column + 1])
                f1 += picks[name][part, s, None] * class_f1(outcome, classes, weight)
                column += 2
            draws[name][part] = f1
    point = {
        name: np.mean([class_f1(outcome, classes) for outcome in outcomes], axis=0)
        for name, outcomes in rows.items()
    }
    return Resampled(point, draws)


def _picks(rng: np.random.Generator, seeds: int, resamples: int) -> F64:
    """Share of each seed in each resample, (B, S): S-1 draws of S, or the only one."""
    if seeds == 1:
        return np.ones((resamples, 1))
    drawn = rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=resamples)
    return np.asarray(drawn / (seeds - 1), np.float64)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p values for testing several rows (Holm 1979, Scand. J. Stat. 6:65)."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.minimum(np.maximum.accumulate(np.asarray(p)[order] * factors), 1.0)
    in_order = np.empty(len(p))
    in_order[order] = adjusted
    return [float(value) for value in in_order]


def _interval(value: float, draws: F64) -> Interval:
    return Interval(float(value), *bounds(draws))
