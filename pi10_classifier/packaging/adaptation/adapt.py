"""Fits a new head to a package's frozen features with a few labelled crops (`pi10 adapt`).

It takes less than a minute on a CPU. Classes may be old or new, and the result is an ordinary ONNX
package. By default the head is linear, strongly regularised, and joined with what is measured of a
particle. A crop's mirror images, quarter turns and near duplicates stay in its fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import Scan
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.datasets.validated import labels_used, runs_of
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.analysis import figures_of
from pi10_classifier.evaluation.metrics import softmax
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.model.writer import check_out, quoted_card, write_package
from pi10_classifier.packaging.adaptation.as_it_is import Compared, compare
from pi10_classifier.packaging.adaptation.card import Adapted, describe, section
from pi10_classifier.packaging.adaptation.features import Trunk, cut, own_head
from pi10_classifier.packaging.adaptation.finetune import (
    Finetuned,
    Pixels,
    Tuner,
    check_can,
    finetune,
    read_sources,
    retrunked,
)
from pi10_classifier.packaging.adaptation.fitting import (
    FEATURES,
    HEAD_NAMES,
    beats,
    best_head,
    check_parity,
)
from pi10_classifier.packaging.adaptation.gallery import (
    check_gallery,
    compute_features,
    digest,
    distinct,
)
from pi10_classifier.packaging.adaptation.replay import FILE, Replay, read_replay


class NotBetterError(SettingError):
    """The head is not better than the model as it is, or fine-tuning no better than the head."""

    def __init__(self, message: str, compared: Compared | None = None) -> None:
        super().__init__(message)
        self.compared = compared


def adapt(
    model: Model,
    gallery: Path,
    out: Path,
    *,
    head: str = "linear",
    features: str = "auto",
    replay: Path | None = None,
    anyway: bool = False,
    label_map: LabelMap | None = None,
    manifest: Path | None = None,
    name: str = "",
    seed: int = 0,
    tuner: Tuner | None = None,
    data: Sequence[Path] = (),
    on_scan: Callable[[Scan], None] = lambda scan: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Adapted:
    """Fit a head on ``gallery`` (folder, archive, table or run), and write the package ``out``.

    head: linear; knn or forest on the network's features alone; auto for linear unless another is
    better by more than a standard error. features: network, joined with what was measured, or auto.
    replay: a file of `pi10 export replay`; without it ``replay.npz`` beside the package, if there
    is one. manifest: a split of the gallery, whose test part is left for an evaluation.
    tuner: trains the network too, from the linear head on (`training.finetuning.tune.tune`). data:
    source images for it, read with the same label map. progress: of its trainings.

    Raises SettingError if the gallery has fewer than two classes, or a class with one crop, and
    NotBetterError if the model knows all classes and the head is not better on held-out crops, or
    if training the network is not better there than the linear head, unless ``anyway``. Raises
    ModelError if the graph cannot be cut, or if ONNX Runtime and scikit-learn differ by more than
    1e-4 in a probability. In these cases nothing is written.
    """
    _check_choice("head", head, (*HEAD_NAMES, "auto"))
    _check_choice("features", features, FEATURES)
    if data and not tuner:
        raise SettingError("--data is for --finetune; give both, or --replay for the linear head")
    if tuner:
        check_can(model, head)
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
    graph = read_package(model.package.folder)[1]
    trunk = cut(model.package, graph)
    sources = _replay(replay, trunk, model, tuple(labels))
    known = compute_features(model, trunk, scan, samples)
    best = best_head(known, sources, own_head(model.package, graph, trunk), head, features, seed)
    views = known.x.shape[1]
    tuned: Finetuned | None = None
    pixels: Pixels | None = None
    if tuner:
        pixels = read_sources(model, data, label_map, known.classes, seed, on_scan)
        tuned = finetune(model, scan, known, trunk, best, sources, pixels, tuner, seed, progress)
        if not (anyway or beats(tuned.best.tried_as, tuned.linear, known)):
            raise NotBetterError(
                f"fine-tuning reaches macro-F1 {tuned.best.tried_as.macro_f1:.3f} in"
                f" cross-validation, and the linear head {tuned.linear.macro_f1:.3f} on the same"
                " crops; it is not better by more than one standard error of the likelihood, so"
                " nothing was written. Leave --finetune out for the linear head, or give more"
                " labelled crops; --anyway writes the fine-tuned model all the same"
            )
        trunk, best = tuned.trunk, tuned.best
        known = retrunked(model, scan, known, trunk)
    tried = best.tried_as
    compared = compare(model, scan, known, tried.logits)
    if compared and not compared.better and not anyway:
        raise NotBetterError(
            f"the adapted head is not better than {model.package.name} as it is: {compared}, which"
            " is within one standard error, so nothing was written. Keep the model, or give more"
            " labelled crops; --anyway writes the head all the same",
            compared,
        )
    made = best.graph(trunk, len(labels))
    parity = check_parity(made, best.feed(trunk, known), best.logits(known), tried.temperature)
    figures = figures_of(known.y, softmax(tried.logits, tried.temperature), known.classes)
    new = tuple(label for label in labels if label not in model.package.classes)
    replayed = dict(Counter(sources.labels)) if sources and tried.settings.get("replay") else None
    adapted = {
        "head": tried.head,
        "settings": dict(tried.settings),
        "settings_chosen": best.chosen,
        "labels": labels,
        "new_classes": list(new),
        "views": views,
        "finetuned": _finetuned(tuned, pixels, known.classes) if tuned else None,
        "cross_validated_macro_f1": {k: round(v, 4) for k, v in best.tried.items()},
        "as_it_is": None if compared is None else compared.as_it_is,
        "source_images": replayed,
        "parity": parity,
        "seed": seed,
        "gallery_sha256": digest(samples),
    }
    runs = tuple(name for name in runs_of(scan) if any(s.source == name for s in samples))
    done = Adapted(
        out, tried.head, tried.settings, labels, new, figures, adapted["cross_validated_macro_f1"],
        tried.temperature, parity, left_out, runs, replayed, compared, best.chosen,
        finetuned=tuner is not None,
    )  # fmt: skip
    made_of = labels_used(scan, samples, "adapted", model.package.description)
    fields = describe(model.package, done, adapted, trunk, name, best.measured, made_of)
    write_package(out, made, fields, f"{section(done)}\n{quoted_card(model.package)}")
    return done


def _finetuned(
    tuned: Finetuned, sources: Pixels | None, classes: Sequence[str]
) -> dict[str, object]:
    """How the network was trained, and how it and the linear head fared on held-out crops."""
    tried, linear = tuned.best.tried_as, tuned.linear
    counts = [] if sources is None else np.bincount(sources.truth, minlength=len(classes)).tolist()
    return {
        "settings": dict(tuned.settings),
        "cross_validated_macro_f1": round(tried.macro_f1, 4),
        "cross_validated_nll": round(tried.loss, 4),
        "linear_macro_f1": round(linear.macro_f1, 4),
        "linear_nll": round(linear.loss, 4),
        "source_images": dict(zip(classes, counts, strict=False)),
    }


def _check_choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingError(f"{what} is {value!r}; it must be one of {', '.join(allowed)}")


def _replay(
    path: Path | None, trunk: Trunk, model: Model, classes: tuple[str, ...]
) -> Replay | None:
    """The source features of the gallery's classes; None if there are none."""
    beside = model.package.folder / FILE
    if path is None and not beside.is_file():
        return None
    replay = read_replay(path or beside, trunk).of(classes)
    if path is not None and not replay.labels:
        raise SettingError(
            f"{path} has no source image of {', '.join(classes)}; write it with the label map of"
            " the gallery, or leave --replay out"
        )
    return replay if replay.labels else None
