"""Fits the heads that are asked for to a gallery, takes one, and puts it on the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.calibration import fit_temperature_of_few
from pi10_classifier.evaluation.metrics import F64, macro_f1, nll, softmax
from pi10_classifier.model.measured import INPUT, Measured
from pi10_classifier.packaging.adaptation.card import OUTPUT
from pi10_classifier.packaging.adaptation.choice import (
    FOLDS,
    LEAST_TO_CHOOSE,
    Fitted,
    Tried,
    candidates,
    folds,
    nested,
)
from pi10_classifier.packaging.adaptation.design import Design, Scale, design, joined_rows
from pi10_classifier.packaging.adaptation.features import F32, OwnHead, Trunk
from pi10_classifier.packaging.adaptation.gallery import Gallery
from pi10_classifier.packaging.adaptation.heads import HEADS, Head
from pi10_classifier.packaging.adaptation.linear import join, linear, measured_of
from pi10_classifier.packaging.adaptation.replay import Replay

TOLERANCE = 1e-4
FEATURES = ("auto", "network", "joined")
HEAD_NAMES = ("linear", *HEADS)


@dataclass(frozen=True, slots=True)
class Best:
    """The head that was taken. scale: of the measured numbers, None if it takes none.

    tried: macro-F1 in cross-validation of every head. chosen: False for default settings.
    designs: what linear heads were fitted on; empty for another head.
    """

    tried_as: Tried
    fitted: Head
    scale: Scale | None
    tried: Mapping[str, float]
    chosen: bool
    designs: Mapping[str, Design] = field(default_factory=dict)

    @property
    def measured(self) -> Measured | None:
        return None if self.scale is None else measured_of(self.scale)

    def graph(self, trunk: Trunk, classes: int) -> bytes:
        """The trunk's graph with the head added; its outputs are logits, then features."""
        model = onnx.ModelProto.FromString(trunk.graph.SerializeToString())
        tensor = trunk.name if self.scale is None else join(model, trunk.name, self.scale)
        self.fitted.extend(model, tensor, OUTPUT)
        logits = helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["N", classes])
        model.graph.output.insert(0, logits)
        return bytes(model.SerializeToString())

    def feed(self, trunk: Trunk, gallery: Gallery) -> dict[str, F32]:
        """What enters the graph after the trunk, for every view of the gallery."""
        views = gallery.x.shape[1]
        feed = {trunk.name: gallery.x.reshape(-1, gallery.x.shape[2])}
        if self.scale is not None:
            feed[INPUT] = gallery.measured[:, self.scale.columns].repeat(views, axis=0)
        return feed

    def logits(self, gallery: Gallery) -> F64:
        """What the head gives for every view, computed without the graph."""
        joined = joined_rows(gallery, self.scale)
        return self.fitted.logits(joined.reshape(-1, joined.shape[2]))


def best_head(
    gallery: Gallery,
    replay: Replay | None,
    own: OwnHead | None,
    head: str = "linear",
    features: str = "auto",
    seed: int = 0,
) -> Best:
    """Fit ``head`` of HEAD_NAMES, or with auto all of them, of which linear stays unless another is
    better by more than one standard error. Raises SettingError if there is nothing to join.
    """
    scale = None if features == "network" else Scale.of(gallery.measured)
    if scale is not None and not len(scale.columns):
        if features == "joined":
            raise SettingError(
                "most crops have no outline that could be measured, so nothing can be joined; use"
                " --features network"
            )
        scale = None
    least = min(Counter(gallery.y[np.unique(gallery.particle, return_index=True)[1]]).values())
    chosen = least >= LEAST_TO_CHOOSE
    done: dict[str, Best] = {}
    if head in ("linear", "auto"):
        designs: dict[str, Design] = {}
        if scale is None or features == "auto":
            designs["network"] = design(gallery, replay, own, None)
        if scale is not None:
            designs["joined"] = design(gallery, replay, own, scale)
        among = [x for x in candidates(designs) if x.features in designs]
        settings, tried = nested(gallery, designs, among if chosen else among[:1], seed)
        made, everything = designs[settings.features], np.arange(len(gallery.y))
        fitted = Fitted(made, gallery.y, everything, len(gallery.classes), settings)
        taken = scale if settings.features == "joined" else None
        fit_head = linear(made, fitted, tried.gain)
        done["linear"] = Best(tried, fit_head, taken, {}, chosen, designs)
    for name in HEADS if head == "auto" else [x for x in HEADS if x == head]:
        tried = choose(gallery, name, seed)
        fit = HEADS[name](*gallery.fit_rows(slice(None)), seed, **tried.settings)
        done[name] = Best(tried, fit, None, {}, chosen=True)
    best = next(iter(done.values()))
    for other in done.values():
        if beats(other.tried_as, best.tried_as, gallery):
            best = other
    figures = {name: x.tried_as.macro_f1 for name, x in done.items()}
    return replace(best, tried=figures)


def beats(one: Tried, other: Tried, gallery: Gallery) -> bool:
    """Whether held-out crops are likelier by more than one standard error of the difference."""
    rows = np.arange(len(gallery.y))
    gains = [
        np.log(np.maximum(softmax(x.logits, x.temperature)[rows, gallery.y], 1e-12))
        for x in (one, other)
    ]
    difference = gains[0] - gains[1]
    return bool(difference.mean() > difference.std(ddof=1) / np.sqrt(len(rows)))


def choose(gallery: Gallery, head: str, seed: int) -> Tried:
    """Settings of knn or forest with the lowest cross-validated loss, each at its temperature."""
    kind, k = HEADS[head], len(gallery.classes)
    cuts = list(folds(gallery, np.arange(len(gallery.y)), FOLDS, seed))
    tried = []
    for settings in kind.choices:
        logits = np.empty((len(gallery.y), k))
        for fit, held in cuts:
            fitted = kind(*gallery.fit_rows(fit), seed, **settings)
            logits[held] = fitted.logits(gallery.x[held, 0])
        temperature = fit_temperature_of_few(logits, gallery.y)
        reached = macro_f1(gallery.y, logits.argmax(axis=1), k)
        loss = nll(logits, gallery.y, temperature)
        tried.append(Tried(head, settings, logits, temperature, reached, loss))
    return min(tried, key=lambda t: t.loss)


def check_parity(graph: bytes, feed: Mapping[str, F32], logits: Any, temperature: float) -> float:
    """Largest difference of a probability between ONNX Runtime and scikit-learn.

    feed: what enters the graph after the trunk, (N, ...). logits: what it should give, (N, K).
    """
    import onnxruntime as ort

    # from the features on, because the graph before them is the same
    rest = onnx.utils.Extractor(onnx.load_from_string(graph)).extract_model([*feed], [OUTPUT])
    try:
        session = ort.InferenceSession(rest.SerializeToString(), providers=["CPUExecutionProvider"])
        theirs = softmax(session.run([OUTPUT], dict(feed))[0], temperature)
    except Exception as error:  # onnxruntime raises its own private types
        raise ModelError(f"the new head does not run in ONNX: {str(error)[:300]}") from error
    gap = float(np.abs(theirs - softmax(logits, temperature)).max())
    if not gap <= TOLERANCE:
        raise ModelError(
            f"ONNX Runtime and scikit-learn differ by {gap:.2e} in a probability over"
            f" {len(logits)} views (allowed: {TOLERANCE:.0e}); nothing was written. Try"
            " --head linear"
        )
    return gap
