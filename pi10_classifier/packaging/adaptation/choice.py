"""Chooses the linear head's settings by repeated, stratified cross-validation, without noise.

The default stays unless another setting is better by more than one standard error of the paired
difference (the one-standard-error rule, Hastie et al. 2009, section 7.10). The reported figure is
nested: each fold is judged by a head whose settings were chosen on the other folds alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from pi10_classifier.evaluation.calibration import fit_temperature_of_few
from pi10_classifier.evaluation.metrics import F64, I64, macro_f1, nll, softmax
from pi10_classifier.packaging.adaptation.design import Design
from pi10_classifier.packaging.adaptation.gallery import Gallery

FOLDS, INNER, REPEATS = 5, 3, 2
LEAST_TO_CHOOSE = 10  # particles in the smallest class; below, the default is taken


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the linear head. features: network, or joined with what was measured.

    c: inverse of the penalty. replay: weight of the source images beside that of the labelled
    crops, 0 for none.
    """

    features: str
    c: float
    replay: float

    def to_dict(self) -> dict[str, Any]:
        return {"features": self.features, "c": self.c, "replay": self.replay}


@dataclass(frozen=True, slots=True)
class Tried:
    """A head with the settings chosen by cross-validation, and its held-out logits (N, K).

    gain: by which the logits are larger than those of the fit. by_fold: the settings that were
    chosen on each fold's other crops.
    """

    head: str
    settings: Mapping[str, Any]
    logits: F64
    temperature: float
    macro_f1: float
    loss: float
    gain: float = 1.0
    by_fold: tuple[Settings, ...] = ()


class Fitted:
    """Multinomial logistic regression in the directions of a design."""

    def __init__(self, design: Design, y: I64, keep: Any, classes: int, settings: Settings) -> None:
        rows = design.rows[keep]
        n, views, _ = rows.shape
        z, truth = rows.reshape(n * views, -1), np.repeat(y[keep], views)
        weight = weights(y[keep], design.source_y, classes, settings.replay)
        per_view = np.repeat(weight[:n], views) / views
        if settings.replay and len(design.source_y):
            z = np.concatenate([z, design.source])
            truth = np.concatenate([truth, design.source_y])
            per_view = np.concatenate([per_view, weight[n:]])
        fit = LogisticRegression(C=settings.c, max_iter=300, tol=1e-3)
        fit.fit(z, truth, sample_weight=per_view)
        coef, bias = fit.coef_, fit.intercept_
        if len(coef) == 1:  # for two classes scikit-learn stores only the difference
            coef, bias = np.concatenate([-coef, coef]) / 2, np.concatenate([-bias, bias]) / 2
        self.coef, self.bias = coef, bias

    def logits(self, rows: F64) -> F64:
        """Of rows (N, Q) in the design's directions: (N, K)."""
        return np.asarray(rows @ self.coef.T + self.bias, np.float64)


def weights(y: I64, source_y: I64, classes: int, replay: float) -> F64:
    """The weights of crops and source images, (N + R,): every class counts the same.

    A class has the share 1 / K of the crops' number N, and ``replay`` times that of source images.
    A class without source images has all of it in its crops, so that it is not outweighed.
    """
    counts = np.bincount(y, minlength=classes)
    theirs = np.bincount(source_y, minlength=classes)
    own = np.full(classes, len(y) / classes)
    if replay and len(source_y):
        own[theirs == 0] *= 1 + replay
    sources = replay * len(y) / classes / np.maximum(theirs, 1)
    return np.concatenate([(own / np.maximum(counts, 1))[y], sources[source_y]])


def candidates(designs: Mapping[str, Design]) -> list[Settings]:
    """The default, then the others from simple to less simple; one thing differs in each."""
    joined = "joined" if "joined" in designs else "network"
    sourced = len(designs[joined].source_y) > 0
    replay = 0.3 if sourced else 0.0
    out = [Settings(joined, 1e-3, replay), Settings(joined, 1e-4, replay)]
    if joined == "joined":
        out.append(Settings("network", 1e-3, replay))
    if sourced:
        out.append(Settings(joined, 1e-3, 0.0))
    out.append(Settings(joined, 1e-2, replay))
    if sourced:
        out.append(Settings(joined, 1e-3, 1.0))
    return out


def folds(gallery: Gallery, keep: I64, most: int, seed: int) -> Iterator[tuple[I64, I64]]:
    """Crops to fit on and crops to judge, indices of the gallery; a particle is in one fold."""
    _, first, particle = np.unique(gallery.particle[keep], return_index=True, return_inverse=True)
    y = gallery.y[keep][first]
    least = int(np.bincount(y)[np.unique(y)].min())
    if least < 2:  # a class of one particle cannot be in both parts
        return
    cuts = StratifiedKFold(min(most, least), shuffle=True, random_state=seed).split(y, y)
    for _, held in cuts:
        inside = np.isin(particle, held)
        yield keep[~inside], keep[inside]


def select(
    gallery: Gallery, designs: Mapping[str, Design], among: Sequence[Settings], keep: I64, seed: int
) -> Settings:
    """The first of ``among`` whose loss is within one standard error of the lowest."""
    if len(among) == 1:
        return among[0]
    k = len(gallery.classes)
    truth = gallery.y[keep]
    losses = np.zeros((len(among), len(keep)))
    for repeat in range(REPEATS):
        logits = np.zeros((len(among), len(gallery.y), k))
        for fit, held in folds(gallery, keep, INNER, seed + 1000 * (repeat + 1)):
            for row, settings in enumerate(among):
                made = designs[settings.features]
                fitted = Fitted(made, gallery.y, fit, k, settings)
                logits[row, held] = fitted.logits(made.rows[held, 0])
        for row, given in enumerate(logits[:, keep]):
            # each at its temperature, as it is served: else a weaker penalty wins by larger logits
            given /= given.std() + 1e-9
            p = softmax(given, fit_temperature_of_few(given, truth))
            losses[row] -= np.log(np.maximum(p[np.arange(len(keep)), truth], 1e-12)) / REPEATS
    best = losses[losses.mean(axis=1).argmin()]
    for settings, loss in zip(among, losses, strict=True):
        difference = loss - best
        if difference.mean() <= difference.std(ddof=1) / np.sqrt(len(keep)):
            return settings
    return among[0]


def nested(
    gallery: Gallery, designs: Mapping[str, Design], among: Sequence[Settings], seed: int
) -> tuple[Settings, Tried]:
    """The settings chosen on all crops, and the figures of the whole procedure on held-out ones."""
    k = len(gallery.classes)
    everything = np.arange(len(gallery.y))
    logits = np.full((len(gallery.y), k), np.nan)
    by_fold: list[Settings] = []
    for fit, held in folds(gallery, everything, FOLDS, seed):
        chosen = select(gallery, designs, among, fit, seed)
        by_fold.append(chosen)
        made = designs[chosen.features]
        logits[held] = Fitted(made, gallery.y, fit, k, chosen).logits(made.rows[held, 0])
    settings = select(gallery, designs, among, everything, seed)
    # a strong penalty makes logits small, and a temperature has bounds
    gain = 1 / (float(logits.std()) + 1e-9)
    logits *= gain
    temperature = fit_temperature_of_few(logits, gallery.y)
    reached = macro_f1(gallery.y, logits.argmax(axis=1), k)
    loss = nll(logits, gallery.y, temperature)
    return settings, Tried(
        "linear", settings.to_dict(), logits, temperature, reached, loss, gain, tuple(by_fold)
    )
