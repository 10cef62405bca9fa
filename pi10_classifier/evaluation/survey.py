"""Estimates how often a model is right on a whole survey, from a probability sample.

A labelled particle stands for many others. Its weight is its raising factor divided by the
probability with which it was drawn. Within a stratum and predicted class, particles are drawn in
proportion to their raising factor, so the factor cancels out and all have the same weight

    w = (R - C) / n

where R is the raised total of that class, C the raised number of labelled particles that were
drawn with certainty (they count by their own factor), and n the number of the other labelled
particles (Horvitz and Thompson 1952; Lohr 2019, section 4.4). So the results are shares of the
particles in the water, not of the images. The weights add up to the survey even if only the
beginning of the sample is labelled, or only a part of a split is evaluated.

Intervals are 95 % percentiles of a bootstrap within each stratum and predicted class. It draws
n - 1 of n with replacement and multiplies the weights by n / (n - 1), which is unbiased for small n
(Rao and Wu 1988, JASA 83:231). The intervals cover the choice of particles. If all labels of a
class agree with the model, its share counts as certain, so intervals are too narrow if there are
few labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.datasets.records import Sample
from pi10_classifier.evaluation.metrics import F64, I64, interval, ratio
from pi10_classifier.evaluation.scoring import Scored
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.labelling.labelled import sample_labels, sample_of
from pi10_classifier.labelling.sample import DESIGN, FOLDER, Design, Drawn, Totals

RESAMPLES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The particles of a survey's sample among some images.

    place: (N,) int64, which of the images each is. weight: (N,) float64, raised particles that it
    stands for. group: (N,) int64, its stratum and predicted class, -1 where drawn for certain.
    blank: (N,) bool, the run saw no particle in its image. covered: share of the survey's raised
    particles whose stratum and predicted class have a label.
    """

    place: I64
    weight: F64
    group: I64
    blank: NDArray[np.bool_]
    covered: float


def weights_of(run: Path, samples: Sequence[Sample]) -> Weights | None:
    """The design weights of the samples that are in the run's probability sample, by member.

    None if there is no probability sample, or none of them is in it. Raises SettingError.
    """
    known = sample_labels(run).label_of
    drawn = {
        particle.particle_id: particle
        for particle in sample_of(run)
        if particle.particle_id in known
    }
    chosen = [
        (place, drawn[sample.member])
        for place, sample in enumerate(samples)
        if sample.member in drawn
    ]
    if not chosen:
        return None
    strata = Design.read(run / FOLDER / DESIGN).strata
    totals = {
        (stratum, predicted): total
        for stratum, classes in strata.items()
        for predicted, total in classes.items()
    }
    return _weights(totals, chosen)


def _weights(
    totals: Mapping[tuple[str, str], Totals], chosen: Sequence[tuple[int, Drawn]]
) -> Weights:
    numbers = {key: number for number, key in enumerate(totals)}
    group = np.array([numbers[d.stratum, d.predicted] for _, d in chosen], np.int64)
    factor = np.array([d.raising_factor for _, d in chosen])
    certain = np.array([d.certain for _, d in chosen], bool)
    raised = np.array([total.raised for total in totals.values()])
    fixed = np.bincount(group[certain], factor[certain], len(totals))
    number = np.bincount(group[~certain], minlength=len(totals))
    rest = np.maximum(raised - fixed, 0.0)
    weight = np.where(certain, factor, ratio(rest, number.astype(np.float64))[group])
    covered = float((fixed + np.where(number > 0, rest, 0.0)).sum() / raised.sum())
    blank = np.array([d.predicted == NO_PARTICLE for _, d in chosen], bool)
    place = np.array([place for place, _ in chosen], np.int64)
    return Weights(place, weight, np.where(certain, -1, group), blank, min(covered, 1.0))


def judge_survey(
    scored: Scored, classes: Sequence[str], run: Path, *, seed: int = 0
) -> dict[str, Any] | None:
    """Accuracy, and precision, recall and F1 of each class, on the survey of ``run``.

    scored: labelled particles of the run, including those of no class of the model, such as
    artefacts. For these any class is wrong, unless the run saw no particle in the image and there
    is none. Each metric of the survey comes with the unweighted metric of the same images. None if
    no image is in the run's probability sample. Raises SettingError.
    """
    weights = weights_of(run, scored.samples)
    if weights is None:
        return None
    # two more classes: other things, and no particle
    place = {label: number for number, label in enumerate(classes)}
    place.setdefault(NO_PARTICLE, len(classes) + 1)
    truth = scored.truth_or(place, len(classes))[weights.place]
    guess = scored.probabilities.argmax(axis=1)[weights.place]
    guess = np.where(weights.blank, place[NO_PARTICLE], guess)
    size = len(classes) + 2
    point = _sums(truth, guess, weights.weight[None, :], size)
    plain = _sums(truth, guess, np.ones((1, len(truth))), size)
    drawn = _resampled(truth, guess, weights, size, seed)
    survey, images, spread = _rates(point), _rates(plain), _rates(drawn)
    present = np.flatnonzero(point[2][0, : len(classes)] > 0)
    return {
        "labelled": len(truth),
        "of_no_class": int((truth >= len(classes)).sum()),
        "covered": round(weights.covered, 4),
        "effective": round(float(weights.weight.sum() ** 2 / (weights.weight**2).sum()), 1),
        "accuracy": interval(survey["accuracy"][0], spread["accuracy"]),
        "accuracy_of_images": round(float(images["accuracy"][0]), 4),
        "macro_f1": interval(
            survey["f1"][0, present].mean(), spread["f1"][:, present].mean(axis=1)
        ) if len(present) else None,
        "per_class": {
            label: {
                **{key: interval(survey[key][0, i], spread[key][:, i])
                   for key in ("f1", "precision", "recall")},
                "of_images": {key: round(float(images[key][0, i]), 4)
                              for key in ("f1", "precision", "recall")},
                "support": int((truth == i).sum()),
                "called": int((guess == i).sum()),
                "share": round(float(point[2][0, i] / weights.weight.sum()), 4),
            }
            for i, label in enumerate(classes)
        },
    }  # fmt: skip


def sampled(scored: Scored, runs: Mapping[str, Path]) -> tuple[Scored, F64, int]:
    """The images to fit thresholds on, the weight of each (N,), and how many were left out.

    runs: source -> run. Of a run, only the probability sample is used, with its design weights
    scaled to a mean of 1; suggested particles were chosen because they are doubtful, so they would
    bias the result. Images in which the run saw no particle are left out too, because the program
    gives them no class. All other images have weight 1. Raises SettingError.
    """
    weight = np.array([s.source not in runs for s in scored.samples], np.float64)
    for source, run in runs.items():
        rows = np.array([n for n, s in enumerate(scored.samples) if s.source == source], np.int64)
        weights = weights_of(run, [scored.samples[n] for n in rows.tolist()])
        if weights is not None:
            mean = max(float(weights.weight.mean()), 1e-12)
            weight[rows[weights.place]] = np.where(weights.blank, 0.0, weights.weight / mean)
    keep = weight > 0
    samples = tuple(s for s, wanted in zip(scored.samples, keep, strict=True) if wanted)
    part = Scored(samples, scored.probabilities[keep])
    return part, weight[keep], int((~keep).sum())


Sums = tuple[F64, F64, F64]
"""For each class the weight of right, predicted and true particles, each (B, K)."""


def _sums(truth: I64, guess: I64, weight: F64, size: int) -> Sums:
    """weight: (B, P) of P particles or patterns."""
    right, called, true = np.zeros((3, len(weight), size))
    for number in np.unique(np.r_[truth, guess]).tolist():
        called[:, number] = weight[:, guess == number].sum(axis=1)
        true[:, number] = weight[:, truth == number].sum(axis=1)
        right[:, number] = weight[:, (guess == number) & (truth == number)].sum(axis=1)
    return right, called, true


def _rates(sums: Sums) -> dict[str, F64]:
    right, called, true = sums
    return {
        "accuracy": ratio(right.sum(axis=1), true.sum(axis=1)),
        "precision": ratio(right, called),
        "recall": ratio(right, true),
        "f1": ratio(2 * right, called + true),
    }


def _resampled(truth: I64, guess: I64, weights: Weights, size: int, seed: int) -> Sums:
    """Sums of the bootstrap (B, K): each stratum and predicted class is drawn by itself."""
    rng = np.random.default_rng(seed)
    right, called, true = np.zeros((3, RESAMPLES, size))
    for group in np.unique(weights.group).tolist():
        rows = weights.group == group
        pairs, number = np.unique(
            np.stack([truth[rows], guess[rows]], axis=1), axis=0, return_counts=True
        )
        n = int(number.sum())
        if group < 0 or n == 1:  # drawn with certainty, or nothing to draw from
            sums = _sums(truth[rows], guess[rows], weights.weight[rows][None, :], size)
        else:
            times = rng.multinomial(n - 1, number / n, size=RESAMPLES)
            weight = np.asarray(times, np.float64) * (n / (n - 1) * float(weights.weight[rows][0]))
            sums = _sums(pairs[:, 0], pairs[:, 1], weight, size)
        right, called, true = right + sums[0], called + sums[1], true + sums[2]
    return right, called, true
