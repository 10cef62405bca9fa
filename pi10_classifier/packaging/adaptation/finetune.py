"""Trains the network itself on the crops, from the linear head on, and judges it on held-out ones.

Each fold of the linear head's own cross-validation is trained anew, so both are judged on the same
crops by heads that did not see them. The training is torch's and comes in as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.calibration import fit_temperature_of_few
from pi10_classifier.evaluation.metrics import F64, I64, macro_f1, nll
from pi10_classifier.evaluation.scoring import batches
from pi10_classifier.imaging.measured_vector import NAMES
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation.choice import (
    FOLDS,
    Fitted,
    Settings,
    Tried,
    folds,
    weights,
)
from pi10_classifier.packaging.adaptation.design import Design, Scale
from pi10_classifier.packaging.adaptation.features import F32, Trunk
from pi10_classifier.packaging.adaptation.fitting import Best
from pi10_classifier.packaging.adaptation.gallery import Gallery, particles
from pi10_classifier.packaging.adaptation.linear import Affine, linear
from pi10_classifier.packaging.adaptation.replay import Replay

SOURCE_EACH = 100  # images of a class that --data adds to the crops
SOURCE_WEIGHT = 0.3  # of source images beside the crops, where the head's settings give none


@dataclass(frozen=True, slots=True)
class Fit:
    """What a network is trained on.

    images: prepared (N, C, S, S) uint8. numbers: (N, M) float32, joined with the features. truth
    and weight: (N,). head_weight (D + M, K) and head_bias (K,): the head to begin with. source:
    joined features (R, D + M), classes (R,) and weights (R,) of source images.
    """

    images: U8
    numbers: F32
    truth: I64
    weight: F64
    head_weight: F64
    head_bias: F64
    source: tuple[F32, I64, F64]


class Trained(Protocol):
    """A trained network: its graph from image to features, and the head on them."""

    @property
    def graph(self) -> onnx.ModelProto: ...
    @property
    def weight(self) -> F64: ...
    @property
    def bias(self) -> F64: ...
    @property
    def settings(self) -> Mapping[str, float]: ...


Tuner = Callable[[onnx.ModelProto, Fit, int], Trained]
"""Trains a graph (image uint8 -> features) on a fit, with a seed."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """Prepared images (N, C, S, S) uint8, with what was measured (N, M) and the class (N,)."""

    images: U8
    measured: F32
    truth: I64


@dataclass(frozen=True, slots=True)
class Finetuned:
    """A trained network with its head, judged beside the linear head on the same held-out crops.

    settings: of the training, for the record.
    """

    trunk: Trunk
    best: Best
    linear: Tried
    settings: Mapping[str, float]


def finetune(
    model: Model,
    scan: Scan,
    known: Gallery,
    trunk: Trunk,
    best: Best,
    replay: Replay | None,
    data: Pixels | None,
    tuner: Tuner,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Finetuned:
    """Train the network and ``best``, a linear head, on the crops.

    data: source images that are trained on too. progress: trainings done, and in all.
    """
    pixels = read_pixels(model, scan, known.samples, known.classes)
    everything = np.arange(len(known.y))
    cuts = list(folds(known, everything, FOLDS, seed))
    logits = np.full((len(known.y), len(known.classes)), np.nan)
    for number, ((fit, held), settings) in enumerate(zip(cuts, best.tried_as.by_fold, strict=True)):
        progress(number, len(cuts) + 1)
        made = fit_of(pixels, known, fit, best.designs, settings, replay, data)
        done = tuner(trunk.graph, made, seed)
        logits[held] = _answers(done, trunk, pixels, held, scale_of(known, settings))
    progress(len(cuts), len(cuts) + 1)
    settings = Settings(**best.tried_as.settings)
    done = tuner(
        trunk.graph, fit_of(pixels, known, everything, best.designs, settings, replay, data), seed
    )
    gain = 1 / (float(logits.std()) + 1e-9)
    logits *= gain
    temperature = fit_temperature_of_few(logits, known.y)
    tried = Tried(
        "linear", best.tried_as.settings, logits, temperature,
        macro_f1(known.y, logits.argmax(axis=1), len(known.classes)),
        nll(logits, known.y, temperature), gain,
    )  # fmt: skip
    head = Affine(gain * done.weight, gain * done.bias)
    figures = {**best.tried, "fine-tuned": tried.macro_f1}
    tuned = replace(best, tried_as=tried, fitted=head, tried=figures)
    return Finetuned(replace(trunk, graph=done.graph), tuned, best.tried_as, done.settings)


def check_can(model: Model, head: str) -> None:
    """Raise SettingError for a package or a head that cannot be fine-tuned. Before any work."""
    if head != "linear":
        raise SettingError(
            f"--finetune begins with the linear head, but --head is {head}; leave one of them out"
        )
    if model.package.input_dtype != "uint8":
        raise SettingError(
            f"{model.package.name} takes images of {model.package.input_dtype}, and only a graph"
            " that takes uint8 can be fine-tuned; leave --finetune out"
        )


def read_pixels(
    model: Model, scan: Scan, samples: Sequence[Sample], classes: Sequence[str]
) -> Pixels:
    """Prepare and measure the samples as serving does; they stay in their order."""
    parts = list(batches(model, scan, samples, NAMES))
    seen = [(s.source, s.member) for part in parts for s in part.samples]
    place = {name: number for number, name in enumerate(seen)}
    order = np.array([place[s.source, s.member] for s in samples])
    images = np.concatenate([part.images for part in parts])
    measured = np.concatenate([x.measured for x in parts if x.measured is not None])
    truth = np.array([classes.index(s.group) for s in samples], np.int64)
    return Pixels(images[order], measured[order], truth)


def read_sources(
    model: Model,
    inputs: Sequence[Path],
    label_map: LabelMap | None,
    classes: Sequence[str],
    seed: int,
    on_scan: Callable[[Scan], None] = lambda scan: None,
) -> Pixels | None:
    """At most ``SOURCE_EACH`` source images of every class of the gallery; None without inputs."""
    if not inputs:
        return None
    scan = load_labelled(inputs, label_map, None)
    on_scan(scan)
    rng = np.random.default_rng(seed)
    chosen: list[Sample] = []
    for label in classes:
        mine = [s for s in scan.samples if s.group == label]
        chosen += [mine[i] for i in sorted(rng.permutation(len(mine))[:SOURCE_EACH].tolist())]
    if not chosen:
        raise SettingError(
            f"--data has no image of {', '.join(classes)}; give the label map of the gallery, or"
            " leave --data out"
        )
    return read_pixels(model, scan, chosen, classes)


def scale_of(known: Gallery, settings: Settings) -> Scale | None:
    """The scale of the measured numbers that a head with these settings joins."""
    return Scale.of(known.measured) if settings.features == "joined" else None


def fit_of(
    pixels: Pixels,
    known: Gallery,
    keep: NDArray[Any],
    designs: Mapping[str, Design],
    settings: Settings,
    replay: Replay | None,
    data: Pixels | None,
) -> Fit:
    """The crops ``keep``, with the linear head that was fitted on them to begin with."""
    made, k = designs[settings.features], len(known.classes)
    scale = scale_of(known, settings)
    fitted = Fitted(made, known.y, keep, k, settings)
    own = fitted.logits(made.rows[keep, 0])
    # the penalty makes logits small; at its temperature the training begins with sensible ones
    spread = float(own.std()) + 1e-9
    start = 1 / (spread * fit_temperature_of_few(own / spread, known.y[keep]))
    head = linear(made, fitted, start)
    share = settings.replay or (SOURCE_WEIGHT if data is not None else 0.0)
    theirs = made.source_y if settings.replay and data is None else np.zeros(0, np.int64)
    truth = known.y[keep]
    weight = weights(truth, theirs, k, share)
    images, numbers = pixels.images[keep], _numbers(pixels.measured[keep], scale)
    joined = np.zeros((0, head.weight.shape[0]), np.float32)
    if len(theirs) and replay is not None:
        parts = [replay.x]
        if scale is not None:
            parts.append(Scale.of(replay.measured, scale.columns).apply(replay.measured))
        joined = np.concatenate(parts, axis=1)
    if data is not None:
        weight = weights(truth, data.truth, k, share)
        images = np.concatenate([images, data.images])
        source = None if scale is None else Scale.of(data.measured, scale.columns)
        numbers = np.concatenate([numbers, _numbers(data.measured, source)])
        truth = np.concatenate([truth, data.truth])
    n = len(images)
    return Fit(
        images, numbers, truth, weight[:n], head.weight, head.bias,
        (joined, theirs, weight[n:] / len(keep)),
    )  # fmt: skip


def _numbers(measured: F32, scale: Scale | None) -> F32:
    return np.zeros((len(measured), 0), np.float32) if scale is None else scale.apply(measured)


def _answers(
    done: Trained, trunk: Trunk, pixels: Pixels, held: NDArray[Any], scale: Scale | None
) -> F64:
    """Logits of held-out crops, through the trained graph as in service."""
    features = replace(trunk, graph=done.graph).run([pixels.images[held]])
    joined = np.concatenate([features, _numbers(pixels.measured[held], scale)], axis=1)
    return np.asarray(joined.astype(np.float64) @ done.weight + done.bias, np.float64)


def retrunked(model: Model, scan: Scan, known: Gallery, trunk: Trunk) -> Gallery:
    """The crops as they are, without views, in the features of another trunk."""
    pixels = read_pixels(model, scan, known.samples, known.classes)
    x = trunk.run([pixels.images])[:, None]
    if not np.isfinite(x).all():
        raise ModelError("fine-tuning gave features that are not numbers; leave --finetune out")
    return Gallery(x, known.y, known.classes, particles(known.samples), known.measured,
                   known.samples)  # fmt: skip
