"""Densities corrected by a validated sample: the model's errors measured on the survey itself.

The particles of a stratum (a cruise, a day, a bin) are split by the class that the model gave
them. Within each such class, particles are drawn in proportion to their raising factor and
labelled by a person. So the share of a true class among the labels of a predicted class estimates
its share of that class's raised total, and

    total(c) = sum over predicted classes h of  R(h) * n(h, c) / n(h)

where R(h) is the raised total of predicted class h and n(h, c) its labels of class c (Lohr 2019,
Sampling: Design and Analysis, section 4.4, post-stratification). Particles that were drawn for
certain, since their factor is so large, are counted by themselves.

Limits: the shares of each predicted class have a Dirichlet(1/3) posterior, and R(h) the gamma
distribution of ``density.gamma_limits``; the 2.5 and 97.5 % points of the total are taken from
draws of both. They hold from about 100 labels on, where normal limits do not
(``python -m benchmarks.validation``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

PRIOR = 1 / 3  # of each class in the Dirichlet distribution
DRAWS = 20_000
LEAST_LABELS = 5  # of a predicted class that holds more than ``NEGLIGIBLE`` of the raised total
NEGLIGIBLE = 0.01
TAIL = 0.025


@dataclass(slots=True)
class Predicted:
    """What is known of the particles that the model gave one class.

    raised: their raised total, sum of factors. variance: sum of squared factors. largest: the
    greatest factor. labels: true class -> labelled particles drawn in proportion to the factor.
    certain: true class -> sum of the factors of labelled particles drawn for certain, which
    ``raised`` and ``variance`` include; certain_raised: the sum of the factors of all of them.
    """

    raised: float = 0.0
    variance: float = 0.0
    largest: float = 0.0
    labels: dict[str, int] = field(default_factory=dict)
    certain: dict[str, float] = field(default_factory=dict)

    @property
    def labelled(self) -> int:
        return sum(self.labels.values())


@dataclass(frozen=True, slots=True)
class Corrected:
    """The corrected total of one true class: raised particles, with 95 % limits."""

    total: float
    low: float
    high: float


class TooFewLabelsError(ValueError):
    """A predicted class that matters has too few labels; says which, and how many it needs."""


def refuse_too_few(strata: Mapping[str, Predicted]) -> None:
    """Raises TooFewLabelsError where a predicted class with more than 1 % has too few labels.

    Particles drawn for certain are known as soon as they are labelled: only what they leave of the
    class needs labels.
    """
    everything = sum(known.raised for known in strata.values())
    lacking = [
        f"{label} has {known.labelled}"
        for label, known in strata.items()
        if known.raised - sum(known.certain.values()) > NEGLIGIBLE * everything
        and known.labelled < LEAST_LABELS
    ]
    if lacking:
        raise TooFewLabelsError(
            f"too few labels: {'; '.join(lacking)}; each predicted class needs {LEAST_LABELS} "
            "labelled particles"
        )


def parts(known: Predicted, classes: Sequence[str]) -> tuple[F64, F64, float]:
    """Raised particles drawn for certain (K,), labels of the others (K,), what those stand for."""
    fixed = np.array([known.certain.get(name, 0.0) for name in classes])
    labels = np.array([known.labels.get(name, 0) for name in classes], np.float64)
    return fixed, labels, max(known.raised - float(fixed.sum()), 0.0)


def shares(
    known: Predicted, classes: Sequence[str], rng: np.random.Generator, draws: int = DRAWS
) -> F64:
    """Draws (draws, K) of the share of each true class in a predicted class's raised total.

    Of the particles drawn for certain the classes are known; of the rest the shares have a
    Dirichlet posterior.
    """
    fixed, labels, rest = parts(known, classes)
    drawn: F64 = (fixed + rest * rng.dirichlet(labels + PRIOR, draws)) / known.raised
    return drawn


def mean_shares(known: Predicted, classes: Sequence[str]) -> F64:
    """The unbiased estimate (K,) of these shares."""
    fixed, labels, rest = parts(known, classes)
    found: F64 = (fixed + rest * labels / max(labels.sum(), 1.0)) / known.raised
    return found


def effective_labels(strata: Mapping[str, Predicted], classes: Sequence[str]) -> list[float | None]:
    """Of each true class, the simple random sample that would tell its share as precisely.

    By the variances of the share (Kish 1965, Survey Sampling, section 8.2: n over the design
    effect), those of the posterior, so that a class that was not met has a number too. A sample
    of one predicted class has its own number of labels. None where every particle is labelled.
    """
    raised = sum(known.raised for known in strata.values())
    mean, variance = np.zeros((2, len(classes)))
    for known in strata.values():
        fixed, labels, rest = parts(known, classes)
        posterior = labels + PRIOR
        share = posterior / posterior.sum()
        mean += (fixed + rest * share) / raised
        variance += (rest / raised) ** 2 * share * (1 - share) / (posterior.sum() + 1)
    own = 1 + PRIOR * len(classes)  # what the prior and the posterior's variance add
    return [
        max(0.0, m * (1 - m) / v - own) if v > 0 else None
        for m, v in zip(mean.tolist(), variance.tolist(), strict=True)
    ]


def corrected(
    strata: Mapping[str, Predicted], classes: Sequence[str], *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Corrected]:
    """The corrected total of each true class; ``strata`` is by predicted class.

    classes: all true classes that labels may have. Raises TooFewLabelsError.
    """
    refuse_too_few(strata)
    rng = np.random.default_rng(seed)
    low, high = np.zeros((2, draws, len(classes)))
    total = np.zeros(len(classes))
    for known in strata.values():
        if known.raised <= 0:
            continue
        total += known.raised * mean_shares(known, classes)
        mixed = shares(known, classes, rng, draws)
        low += mixed * raised_draws(rng, known.raised, known.variance, draws)
        high += mixed * raised_draws(
            rng, known.raised + known.largest, known.variance + known.largest**2, draws
        )
    limits = zip(
        np.quantile(low, TAIL, axis=0).tolist(), np.quantile(high, 1 - TAIL, axis=0).tolist(),
        strict=True,
    )  # fmt: skip
    return {
        name: Corrected(value, min(bottom, value), max(top, value))
        for name, value, (bottom, top) in zip(classes, total.tolist(), limits, strict=True)
    }


def raised_draws(rng: np.random.Generator, total: float, variance: float, draws: int) -> F64:
    """Draws (draws, 1) of a raised total, a sum of weighted Poisson counts."""
    scale = variance / total
    return rng.gamma(total / scale, scale, (draws, 1))
