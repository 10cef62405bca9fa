"""Corrected densities of single bins, which differ from their stratum in what lives there.

Labels are too few for a correction of each bin, so every bin gets that of its stratum: its own
raised totals R(b, h) of the predicted classes h, divided by the stratum's shares p(h, c) of the
true classes c. But classes are not equally abundant in all bins, and the model's errors vary: a
bin's own shares are

    p(b, h, c) proportional to p(h, c) e(b, c),    e(b, c) ~ Gamma(mean 1, CV tau)

which is exact where the confusion is the same in all bins and e(b, c) is the abundance of a class
in the bin over that in the stratum (Bayes' rule). tau has a half-normal prior with scale
``PRIOR_CV``, and its posterior comes from the labels of all bins that have two or more; the
likelihood is integrated over e by Monte Carlo. Where labels are too few to tell, tau stays near
the prior, and intervals are too wide for bins that are alike rather than too narrow. A bin is a
part of its stratum's mean, so tau squared shrinks by 1 - 2 w + sum of w squared, w being the bins'
shares of the raised total: to none where the bin is the stratum.

Limits are the 2.5 and 97.5 % points of draws of the stratum's shares, of tau, of e and of the
bin's raised totals. They hold on average over bins, not in each
(``python -m benchmarks.validation_bins``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.abundance.correction import PRIOR, TAIL, Predicted, refuse_too_few

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

BIN_DRAWS = 1000
PRIOR_CV = 0.5
CVS = np.geomspace(0.02, 2.0, 24)  # values of tau
_INTEGRATED = 1000  # draws of e for the likelihood of tau
_CHUNK = 32  # bins at a time


@dataclass(slots=True)
class BinCells:
    """What B bins hold of one predicted class; K true classes.

    raised, variance, largest (B,): as of ``Predicted``; largest is of the bin's minutes, whether
    or not they have a particle of the class. labels (B, K): labels of particles drawn in proportion
    to the factor. certain (B, K): factors of labelled particles drawn for certain.
    """

    raised: F64
    variance: F64
    largest: F64
    labels: F64
    certain: F64


def cv_posterior(shares: F64, labels: F64, rng: np.random.Generator) -> F64:
    """The posterior probability of each of ``CVS``.

    shares: (H, K) of the stratum, all above 0; labels: (H, B, K).
    """
    some = labels[:, labels.sum(axis=(0, 2)) >= 2]
    log = np.log(CVS) - 0.5 * (CVS / PRIOR_CV) ** 2  # the step of the grid grows with tau
    for place, cv in enumerate(CVS.tolist()):
        tilt = np.maximum(rng.gamma(1 / cv**2, cv**2, (_INTEGRATED, shares.shape[1])), 1e-12)
        mixed = shares[:, None, :] * tilt
        each = np.log(mixed / mixed.sum(axis=2, keepdims=True))
        of_bins = np.einsum("hbk,hmk->bm", some, each, optimize=True)
        top = of_bins.max(axis=1, keepdims=True)
        log[place] += (np.log(np.exp(of_bins - top).mean(axis=1)) + top[:, 0]).sum()
    probability: F64 = np.exp(log - log.max())
    probability /= probability.sum()
    return probability


def corrected_bins(
    strata: Mapping[str, Predicted],
    cells: Mapping[str, BinCells],
    classes: Sequence[str],
    *,
    seed: int = 0,
    draws: int = BIN_DRAWS,
) -> tuple[F64, F64, F64]:
    """Corrected totals of each bin and true class, and their 95 % limits; each (B, K).

    strata: the predicted classes of the stratum; cells: the same of its bins. Raises
    TooFewLabelsError.
    """
    refuse_too_few(strata)
    rng = np.random.default_rng(seed)
    counts = np.array(
        [[strata[name].labels.get(label, 0) for label in classes] for name in cells], np.float64
    )
    posterior = counts + PRIOR
    raised = np.array([its.raised for its in cells.values()])
    weight = raised.sum(axis=0) / max(float(raised.sum()), 1e-12)
    apart = np.clip(1 - 2 * weight + float((weight**2).sum()), 1e-6, 1.0)
    labels = np.array([its.labels for its in cells.values()])
    probability = cv_posterior(posterior / posterior.sum(axis=1, keepdims=True), labels, rng)
    squared = rng.choice(CVS, draws, p=probability) ** 2
    shares = [rng.dirichlet(alpha, draws).astype(np.float32) for alpha in posterior]

    bins = raised.shape[1]
    total, low, high = np.zeros((3, bins, len(classes)))
    for its, count in zip(cells.values(), counts, strict=True):
        total += its.certain + _rest(its)[:, None] * count / max(count.sum(), 1.0)
    for first in range(0, bins, _CHUNK):
        some = slice(first, min(first + _CHUNK, bins))
        shape = (1 / (squared * apart[some, None])).astype(np.float32)
        size = (*shape.shape, len(classes))
        tilt = rng.standard_gamma(np.broadcast_to(shape[..., None], size), dtype=np.float32)
        tilt = tilt / shape[..., None] + np.float32(1e-12)
        lows, highs = np.zeros((2, *size), np.float32)
        for its, share in zip(cells.values(), shares, strict=True):
            mixed = _shares(its, some, share * tilt)
            variance, largest = its.variance[some], its.largest[some]
            lows += mixed * _totals(rng, its.raised[some], variance, draws)
            highs += mixed * _totals(rng, its.raised[some] + largest, variance + largest**2, draws)
        low[some] = np.quantile(lows, TAIL, axis=1)
        high[some] = np.quantile(highs, 1 - TAIL, axis=1)
    return total, np.minimum(low, total), np.maximum(high, total)


def _rest(its: BinCells) -> F64:
    """The raised totals (B,) without particles drawn for certain, whose class is known."""
    rest: F64 = np.maximum(its.raised - its.certain.sum(axis=1), 0.0)
    return rest


def _shares(its: BinCells, some: slice, mixed: F32) -> F32:
    """Draws (b, D, K) of the shares of bins' raised totals; ``mixed`` is not yet normalised."""
    whole = np.maximum(its.raised[some], 1e-12)
    rest = np.where(its.raised[some] > 0, _rest(its)[some] / whole, 1.0).astype(np.float32)
    fixed = (its.certain[some] / whole[:, None]).astype(np.float32)
    mixed *= rest[:, None, None] / mixed.sum(axis=2, keepdims=True)
    mixed += fixed[:, None, :]
    return mixed


def _totals(rng: np.random.Generator, raised: F64, variance: F64, draws: int) -> F32:
    """Draws (b, D, 1) of raised totals, sums of weighted Poisson counts; 0 stays 0."""
    some = (raised > 0) & (variance > 0)
    scale = np.divide(variance, raised, out=np.zeros_like(raised), where=some)
    shape = np.divide(raised, scale, out=np.zeros_like(raised), where=some).astype(np.float32)
    drawn = rng.standard_gamma(np.broadcast_to(shape[:, None], (len(raised), draws)),
                               dtype=np.float32)  # fmt: skip
    found: F32 = (drawn * scale[:, None].astype(np.float32))[:, :, None]
    return found
