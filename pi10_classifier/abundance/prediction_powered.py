"""Corrected densities that use the model's scores too: prediction-powered inference (PPI++).

Within a predicted class, particles with a high score of a true class are more often of that class.
So where the labelled particles have, by chance, higher scores than all particles, their share of
that class is too high by chance as well, and is taken down in proportion:

    share(h, c) = mean(y) - slope * (mean(z) - mean over all particles of h of z)

y is 1 where the label is c, z the log-odds of the score of c. This is the power-tuned estimator of
Angelopoulos, Duchi & Zrnic 2023 (PPI++, arXiv 2311.01453) with the log-odds as
prediction, and the regression estimator of survey sampling (Lohr 2019, chapter 4). The slope is
tuned for each predicted and true class; one of 0 gives ``correction``.

Limits: draws of a Bayesian bootstrap (Rubin 1981, Annals of Statistics 9:130): the labelled
particles get Dirichlet weights, and the slope is estimated in each draw again, so that its own
uncertainty is in the interval. ``PRIOR`` of a particle of each true class, with the mean score, is
among them: with a slope of 0 the draws are those of ``correction``. They hold from ``LEAST`` labels
of each predicted class on (``python -m benchmarks.validation_scores``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.abundance.correction import (
    F64,
    NEGLIGIBLE,
    PRIOR,
    TAIL,
    Corrected,
    Predicted,
    mean_shares,
    parts,
    raised_draws,
    shares,
)

LEAST = 50  # labels of each predicted class with more than ``NEGLIGIBLE`` of the raised total
DRAWS = 4_000
FLOOR = 1e-4  # scores nearer to 0 or 1 count as this near, so that no log-odds is without bound
_CELLS = 2**21  # of the matrix of weights that is in memory at once


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of the particles that the model gave one class; C true classes.

    truth: places (n,) among the true classes, of the labelled particles drawn in proportion to the
    factor. log_odds: of their scores (n, C). mean, variance: of the log-odds of all particles that
    they stand for, by raising factors (C,); effective: the number of these, by the same factors. A
    column of a class that the model does not have is 0, mean and variance too: it gets no slope.
    """

    truth: NDArray[np.int64]
    log_odds: F64
    mean: F64
    variance: F64
    effective: float


def log_odds(scores: F64) -> F64:
    """ln(score / (1 - score)) of scores of any shape, those at 0 or 1 kept within bounds."""
    inside = np.clip(scores, FLOOR, 1 - FLOOR)
    odds: F64 = np.log(inside / (1 - inside))
    return odds


def powered(
    strata: Mapping[str, Predicted], scored: Mapping[str, Scored], classes: Sequence[str],
    *, seed: int = 0, draws: int = DRAWS, least: int = LEAST,
) -> dict[str, Corrected]:  # fmt: skip
    """The corrected total of each true class; both mappings are by predicted class.

    classes: all true classes, in the order of ``Scored``. A predicted class without scores is
    corrected by labels alone, and so is a negligible one with few labels. Empty where a predicted
    class that matters has fewer than ``least``.
    """
    used = {name for name, its in scored.items() if len(its.truth) >= least}
    everything = sum(known.raised for known in strata.values())
    few = scored.keys() - used
    if not used or any(strata[name].raised > NEGLIGIBLE * everything for name in few):
        return {}
    rng = np.random.default_rng(seed)
    low, high = np.zeros((2, draws, len(classes)))
    total = np.zeros(len(classes))
    for name, known in strata.items():
        if known.raised <= 0:
            continue
        if name in used:
            fixed, _, rest = parts(known, classes)
            share, drawn = _shares(scored[name], rng, draws)
            share = (fixed + rest * share) / known.raised
            drawn = (fixed + rest * drawn) / known.raised
        else:
            share, drawn = mean_shares(known, classes), shares(known, classes, rng, draws)
        total += known.raised * share
        low += drawn * raised_draws(rng, known.raised, known.variance, draws)
        high += drawn * raised_draws(
            rng, known.raised + known.largest, known.variance + known.largest**2, draws
        )
    total = np.maximum(total, 0.0)
    limits = zip(
        np.quantile(low, TAIL, axis=0).tolist(), np.quantile(high, 1 - TAIL, axis=0).tolist(),
        strict=True,
    )  # fmt: skip
    return {
        name: Corrected(value, max(0.0, min(bottom, value)), max(top, value))
        for name, value, (bottom, top) in zip(classes, total.tolist(), limits, strict=True)
    }


def _shares(its: Scored, rng: np.random.Generator, draws: int) -> tuple[F64, F64]:
    """The share of each true class (C,) and draws of it (draws, C); draws may be below 0."""
    n, size = its.log_odds.shape
    y = (its.truth[:, None] == np.arange(size)).astype(np.float64)
    z = its.log_odds - its.mean
    # the power tuning of PPI++: the mean over all particles is uncertain too
    keep = 1 / (1 + n / its.effective)
    moments = np.hstack([y, z, z * z, y * z])
    share = _share(moments.mean(axis=0), keep)
    deviation = np.sqrt(its.variance / its.effective)
    drawn = np.empty((draws, size))
    step = max(1, _CELLS // n)
    for first in range(0, draws, step):
        some = drawn[first : first + step]
        weights = rng.standard_exponential((len(some), n))
        # the particles of the prior have z = 0, so they are in the sums of y alone
        prior = rng.standard_gamma(PRIOR, (len(some), size))
        sums = weights @ moments
        sums[:, :size] += prior
        sums /= (weights.sum(axis=1) + prior.sum(axis=1))[:, None]
        some[:] = _share(sums, keep, rng.normal(0.0, deviation, (len(some), size)))
    return share, drawn


def _share(moments: F64, keep: float, shift: F64 | float = 0.0) -> F64:
    """The tuned share (…, C) by the means (…, 4 C) of y, z, z² and yz; shift: of z's mean."""
    y, z, zz, yz = np.split(moments, 4, axis=-1)
    spread = zz - z * z
    slope = keep * np.divide(yz - y * z, spread, out=np.zeros_like(y), where=spread > 1e-9)
    share: F64 = y - np.maximum(slope, 0.0) * (z - shift)
    return share
