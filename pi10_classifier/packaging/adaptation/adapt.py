"""Fits a new head to a package's frozen features with a few labelled crops (`pi10 adapt`).

It takes minutes on a CPU. Classes may be old or new, and the result is an ordinary ONNX package.
Every choice (penalty, neighbours, components, which head) is made by cross-validation over the
gallery's images. A crop's mirror images, quarter turns and near duplicates stay in its fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import LeftOut, Scan
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.datasets.validated import labels_used, runs_of
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.analysis import figures_of
from pi10_classifier.evaluation.calibration import fit_temperature_of_few
from pi10_classifier.evaluation.metrics import F64, macro_f1, nll, softmax
from pi10_classifier.model.package import MADE_OF, Package, read_package
from pi10_classifier.model.session import Model
from pi10_classifier.model.writer import check_out, derive, quoted_card, write_package
from pi10_classifier.packaging.adaptation.features import Trunk, cut
from pi10_classifier.packaging.adaptation.gallery import (
    Gallery,
    check_gallery,
    compute_features,
    digest,
    distinct,
)

TOLERANCE = 1e-4
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Tried:
    """A head with the settings chosen by cross-validation, and its held-out logits (N, K)."""

    head: str
    settings: Mapping[str, Any]
    logits: F64
    temperature: float
    macro_f1: float
    loss: float


@dataclass(frozen=True, slots=True)
class Adapted:
    """The package that was written, and its figures in cross-validation.

    of_runs: the runs whose labelled particles it was fitted on.
    """

    package: Path
    head: str
    settings: Mapping[str, Any]
    labels: Mapping[str, int]
    new: tuple[str, ...]
    figures: Mapping[str, Any]
    tried: Mapping[str, float]
    temperature: float
    parity: float
    left_out: tuple[LeftOut, ...]
    of_runs: tuple[str, ...] = ()


def adapt(
    model: Model,
    gallery: Path,
    out: Path,
    *,
    head: str = "auto",
    label_map: LabelMap | None = None,
    manifest: Path | None = None,
    name: str = "",
    seed: int = 0,
    on_scan: Callable[[Scan], None] = lambda scan: None,
) -> Adapted:
    """Fit a head on ``gallery`` (folder, archive, table or run), and write the package ``out``.

    manifest: a split of the gallery, whose test part is left for an evaluation.

    ``head``: linear, knn, forest, or auto for the one with the highest cross-validated macro-F1.
    Raises SettingError if the gallery has fewer than two classes, or a class with one crop.
    Raises ModelError if the graph cannot be cut, or if ONNX Runtime and scikit-learn differ by
    more than 1e-4 in a probability. In these cases nothing is written.
    """
    from pi10_classifier.packaging.adaptation.heads import HEADS

    if head not in (*HEADS, "auto"):
        raise SettingError(f"head is {head!r}; it must be auto, {', '.join(HEADS)}")
    check_out(out, model.package)
    if "cascade" in model.package.description:
        raise SettingError(
            f"{model.package.name} is a cascade of two networks; adapt one of them, and"
            " combine them again with `pi10 export cascade`"
        )
    scan = load_labelled([gallery], label_map, manifest)
    kept = tuple(sample for sample in scan.samples if sample.split != "test" or not manifest)
    scan = replace(scan, samples=kept)
    samples, left_out = distinct(scan)
    on_scan(replace(scan, left_out=left_out))
    labels = dict(sorted(Counter(s.group for s in samples).items()))
    check_gallery(gallery, samples, left_out)
    trunk = cut(model.package, read_package(model.package.folder)[1])
    known = compute_features(model, trunk, scan, samples)
    tried = {x: choose(known, x, seed) for x in (HEADS if head == "auto" else [head])}
    best = min(tried.values(), key=lambda t: (-t.macro_f1, t.loss))
    fitted = HEADS[best.head](*known.fit_rows(slice(None)), seed, **best.settings)
    graph = extended(trunk, fitted, len(labels))
    parity = check_parity(graph, trunk, fitted, known, best.temperature)
    figures = figures_of(known.y, softmax(best.logits, best.temperature), known.classes)
    new = tuple(label for label in labels if label not in model.package.classes)
    adapted = {
        "head": best.head,
        "settings": dict(best.settings),
        "labels": labels,
        "new_classes": list(new),
        "views": known.x.shape[1],
        "cross_validated_macro_f1": {k: round(t.macro_f1, 4) for k, t in tried.items()},
        "parity": parity,
        "seed": seed,
        "gallery_sha256": digest(samples),
    }
    runs = tuple(name for name in runs_of(scan) if any(s.source == name for s in samples))
    done = Adapted(
        out, best.head, best.settings, labels, new, figures, adapted["cross_validated_macro_f1"],
        best.temperature, parity, left_out, runs,
    )  # fmt: skip
    made_of = labels_used(scan, samples, "adapted", model.package.description)
    fields = _describe(model.package, done, adapted, trunk, name, made_of)
    write_package(out, graph, fields, f"{_section(done)}\n{quoted_card(model.package)}")
    return done


def choose(gallery: Gallery, head: str, seed: int) -> Tried:
    """Choose the head's settings with the lowest cross-validated loss, each at its temperature."""
    from sklearn.model_selection import StratifiedKFold

    from pi10_classifier.packaging.adaptation.heads import HEADS

    kind, k = HEADS[head], len(gallery.classes)
    # folds consist of whole particles, and near duplicates are one particle
    _, first, particle = np.unique(gallery.particle, return_index=True, return_inverse=True)
    y = gallery.y[first]
    folds = min(FOLDS, int(np.bincount(y, minlength=k).min()))
    cuts = [
        tuple(np.flatnonzero(np.isin(particle, part)) for part in cut)
        for cut in StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y)
    ]
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


def extended(trunk: Trunk, head: Any, classes: int) -> bytes:
    """The trunk's graph with the head added; its outputs are logits, then features."""
    from pi10_classifier.packaging.adaptation.heads import LOGITS

    model = onnx.ModelProto.FromString(trunk.graph.SerializeToString())
    head.extend(model, trunk.name)
    logits = helper.make_tensor_value_info(LOGITS, onnx.TensorProto.FLOAT, ["N", classes])
    model.graph.output.insert(0, logits)
    return bytes(model.SerializeToString())


def check_parity(graph: bytes, trunk: Trunk, head: Any, gallery: Gallery, t: float) -> float:
    """Largest difference of a probability between ONNX Runtime and scikit-learn over all views."""
    import onnxruntime as ort

    from pi10_classifier.packaging.adaptation.heads import LOGITS

    # from the features on, because the graph before them is the same
    rest = onnx.utils.Extractor(onnx.load_from_string(graph)).extract_model([trunk.name], [LOGITS])
    try:
        session = ort.InferenceSession(rest.SerializeToString(), providers=["CPUExecutionProvider"])
        features, _ = gallery.fit_rows(slice(None))
        theirs = softmax(session.run([LOGITS], {trunk.name: features})[0], t)
    except Exception as error:  # onnxruntime raises its own private types
        raise ModelError(f"the new head does not run in ONNX: {str(error)[:300]}") from error
    gap = float(np.abs(theirs - softmax(head.logits(features), t)).max())
    if not gap <= TOLERANCE:
        raise ModelError(
            f"ONNX Runtime and scikit-learn differ by {gap:.2e} in a probability over"
            f" {len(features)} views (allowed: {TOLERANCE:.0e}); nothing was written. Try"
            " --head linear"
        )
    return gap


def _describe(
    base: Package,
    done: Adapted,
    adapted: Mapping[str, Any],
    trunk: Trunk,
    name: str,
    made_of: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    total = sum(done.labels.values())
    return derive(
        base,
        "adapted",
        name=name or f"{base.name}-adapted",
        version="1",
        classes=list(done.labels),
        output={"name": "adapted_logits", "activation": "softmax"},
        features={"name": trunk.name, "size": trunk.size},
        temperature=done.temperature,
        thresholds={},
        calibration=None,
        novelty=None,  # it knows the old classes
        groups=None,
        training={},
        trunk={"training": base.description.get("trunk", base.description).get("training", {})},
        metrics={"cross-validation on the gallery": done.figures},
        adapted=dict(adapted),
        **{MADE_OF: list(made_of) or None},
        never_seen=(
            f"Anything but the {total} labelled crops of its gallery: its head knows no other sea,"
            " season or camera. Its figures come from cross-validation on these crops alone."
        ),
    )


def _section(done: Adapted) -> str:
    total = sum(done.labels.values())
    f1 = done.figures["macro_f1"]
    settings = ", ".join(f"{k} {v:g}" for k, v in done.settings.items())
    lines = [
        "## Adapted",
        "",
        f"A {done.head} head ({settings}) on the frozen features of the package below, fitted on"
        f" {total} labelled crops and their mirror images and quarter turns.",
        "",
        "| class | labels | cross-validated F1 |",
        "|---|---:|---|",
    ]
    for label, n in done.labels.items():
        row = done.figures["per_class"][label]["f1"]
        mark = " (new)" if label in done.new else ""
        lines.append(
            f"| {label}{mark} | {n} | {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}) |"
        )
    others = ", ".join(f"{k} {v:.3f}" for k, v in done.tried.items())
    if done.of_runs:
        lines += [
            "",
            f"Among the crops are labelled particles of {', '.join(done.of_runs)}, named in"
            " `model.json` as `validated`: they can neither judge this model nor correct densities"
            " of a run with it.",
        ]
    lines += [
        "",
        f"Cross-validated macro-F1 {f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f}); tried:"
        f" {others}. Temperature {done.temperature} from the same folds; ONNX Runtime agrees with"
        f" scikit-learn within {done.parity:.1e} in every probability.",
        "",
        f"**What this figure is not.** It comes from {total} crops, the very ones the head and its"
        " settings were chosen on, so it is a little too high; the interval covers the choice of"
        " these crops alone. Crops of one bin or one day resemble each other more than those of"
        " the next. Label other crops, from another day, and run `pi10 evaluate`.",
        "",
    ]
    return "\n".join(lines)
