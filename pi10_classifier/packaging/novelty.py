"""Fit what tells images unlike the training images apart, and write a package that has it.

The network and its scores stay as they are: the graph gets one more output.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import LeftOut, Sample, Scan
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.datasets.validated import labels_used, runs_of
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.metrics import I64
from pi10_classifier.evaluation.novelty import judge_novelty
from pi10_classifier.evaluation.scoring import Scored, batches, score
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.labelling.labelled import CALIBRATED
from pi10_classifier.model.novelty import FIELD, Novelty, section
from pi10_classifier.model.package import MADE_OF, Package, read_package
from pi10_classifier.model.session import Model
from pi10_classifier.model.writer import check_out, derive, extended_card, write_package
from pi10_classifier.packaging.adaptation.features import cut, prune
from pi10_classifier.packaging.novelty_graph import (
    F64,
    OUTPUT,
    Space,
    extended,
    of_length_one,
    without_novelty,
)

COMPONENTS = 32
FALSE_ALARMS = 0.02
LEAST_IMAGES = 200
FOLDS = 5
SCORES_ALLOWED = 1e-6
NUMBERS_ALLOWED = 1e-2


@dataclass(frozen=True, slots=True)
class NoveltyFitted:
    """The written package. judged: by source, of the test split; empty without one.

    largest_difference: of a probability, from the package that it was made of.
    """

    package: Path
    images: int
    judged: dict[str, Any]
    largest_difference: float
    left_out: tuple[LeftOut, ...]
    of_runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Fit:
    """The space of all images, and what the raw number is shifted and divided by."""

    space: Space
    zero: float
    unit: float


def export_novelty(
    model: Model,
    inputs: Sequence[Path],
    out: Path,
    *,
    label_map: LabelMap | None = None,
    manifest: Path | None = None,
    split: str = "",
    false_alarms: float = FALSE_ALARMS,
    version: str = "",
    on_scan: Callable[[Scan], None] = lambda found: None,
) -> NoveltyFitted:
    """Write ``out``: the package with an output that tells how unlike its training an image is.

    split: the images it is fitted on, of which those of the model's classes are used; with a
    manifest the validation split, else all. Where there are splits, the test split judges it.
    false_alarms: the share of known images above the threshold. Raises SettingError where images
    are too few, and ModelError where features or logits are unknown, or the class scores would
    change.
    """
    package = model.package
    check_out(out, package)
    _check(package, false_alarms)
    found = load_labelled(inputs, label_map, manifest, outside=True)
    on_scan(found)
    split = split or ("validation" if manifest else "")
    samples = of_split(found, split) if split else list(found.samples)
    known = [sample for sample in samples if sample.group in package.classes]
    if len(known) < LEAST_IMAGES:
        raise SettingError(
            f"{len(known)} images of the model's classes are too few to fit what is unlike them;"
            f" give at least {LEAST_IMAGES} that it was not trained on"
        )
    graph = without_novelty(package, read_package(package.folder)[1])
    trunk = cut(package, graph)
    whole = onnx.load_from_string(graph)
    seen, logits, features = _outputs(model, whole, trunk.name, found, known)
    fitted = _fit(features, logits, _folds(seen), false_alarms)
    made = extended(whole, trunk.name, package.output_name, fitted.space, fitted.zero, fitted.unit)
    novelty = Novelty(OUTPUT, 1.0, false_alarms)
    joined = Model(replace(package, novelty=novelty), made)
    wanted = (fitted.space.raw(features, logits) - fitted.zero) / fitted.unit
    gap = _check_same(score(model, found, seen), score(joined, found, seen), wanted)
    # images of no split may be those that it was fitted on
    tested = [s for s in found.samples if split not in ("", "test") and s.split == "test"]
    judged = judge_novelty(joined.package, score(joined, found, tested)) if tested else {}
    runs = tuple(x for x in runs_of(found) if any(s.source == x for s in known))
    fields = derive(
        package,
        "novelty",
        version=version or f"{package.version}+novelty",
        parity=package.description.get("parity"),  # the class scores are the same
        summary=package.description.get("summary"),
        **{
            MADE_OF: labels_used(found, known, CALIBRATED, package.description) or None,
            FIELD: {
                "output": OUTPUT,
                "threshold": novelty.threshold,
                "false_alarms": false_alarms,
                "components": int(fitted.space.basis.shape[1]),
                "features": {"name": trunk.name, "size": trunk.size},
                "images": len(known),
                "split": split,
                "manifest_sha256": _sha256(manifest),
                "largest_difference": gap,
                "judged": judged,
            },
        },
    )
    write_package(out, made, fields, extended_card(package, fields, section(fields)))
    return NoveltyFitted(out, len(known), judged, gap, found.left_out, runs)


def _check(package: Package, false_alarms: float) -> None:
    if not 0.001 <= false_alarms <= 0.2:
        raise SettingError(f"the share of false alarms is {false_alarms}; it must be 0.001 to 0.2")
    if "cascade" in package.description:
        raise SettingError(
            f"{package.name} is a cascade of two networks, which have no features in common; use"
            " one of them"
        )
    if package.activation != "softmax":
        raise ModelError(
            f"{package.folder} gives probabilities, from which no energy can be computed; export"
            " it with logits"
        )


def _outputs(
    model: Model, graph: onnx.ModelProto, features: str, found: Scan, samples: Sequence[Sample]
) -> tuple[list[Sample], NDArray[np.float32], NDArray[np.float32]]:
    """The samples in the order in which they are read, their logits (N, K) and features (N, D)."""
    import onnxruntime as ort

    package = model.package
    both = onnx.ModelProto.FromString(graph.SerializeToString())
    prune(both, package.output_name, features)
    options = ort.SessionOptions()
    options.intra_op_num_threads = default_jobs()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        both.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    seen: list[Sample] = []
    parts: list[list[NDArray[np.float32]]] = []
    for batch in batches(model, found, samples):
        seen += batch.samples
        feed = package.feed(batch.images, batch.measured)
        parts.append(session.run([package.output_name, features], feed))
    logits, values = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    if not (np.isfinite(logits).all() and np.isfinite(values).all()):
        raise ModelError(f"{package.folder}: some features or logits are not numbers")
    return seen, logits, values


def _folds(samples: Sequence[Sample]) -> I64:
    """A fold for each image, by its content; near duplicates share one."""
    keys = ((s.cluster or s.sha256).encode() for s in samples)
    return np.array([hashlib.sha256(key).digest()[0] % FOLDS for key in keys], np.int64)


def _fit(features: NDArray[Any], logits: NDArray[Any], fold: I64, false_alarms: float) -> _Fit:
    """Median and threshold are of numbers that the others' space gives each fold."""
    held = np.empty(len(features))
    for k in range(FOLDS):
        mine = fold == k
        if mine.any():
            held[mine] = _space(features[~mine], logits[~mine]).raw(features[mine], logits[mine])
    zero, top = (float(np.quantile(held, q)) for q in (0.5, 1 - false_alarms))
    if not top > zero:
        raise SettingError(
            "the images are all alike to the model, so nothing can be told from them; give"
            " different ones"
        )
    return _Fit(_space(features, logits), zero, top - zero)


def _space(features: NDArray[Any], logits: NDArray[Any]) -> Space:
    """Weighted as in ViM: residual and highest logit are of one size on average."""
    directions = of_length_one(features)
    mean = directions.mean(axis=0)
    count = min(COMPONENTS, features.shape[1] // 2)
    _, vectors = np.linalg.eigh(np.cov((directions - mean).T))
    basis: F64 = vectors[:, ::-1][:, :count]
    typical = float(Space(mean, basis, 1.0).residual(features).mean())
    if not typical > 0:
        raise SettingError(
            "principal components explain the features of these images completely, so there is"
            " nothing to tell by; give more and different images"
        )
    return Space(mean, basis, float(np.abs(logits.max(axis=1)).mean()) / typical)


def _check_same(before: Scored, after: Scored, novelty: F64) -> float:
    """The largest difference of a probability. Raises ModelError where it is too large."""
    gap = float(np.abs(after.probabilities - before.probabilities).max())
    if not gap <= SCORES_ALLOWED:
        raise ModelError(
            f"with the new output the class scores change by up to {gap:.1e}; at most"
            f" {SCORES_ALLOWED:.0e} is allowed, so nothing was written"
        )
    assert after.novelty is not None  # noqa: S101  narrows the type
    off = float(np.abs(after.novelty - novelty).max())
    if not off <= NUMBERS_ALLOWED:
        raise ModelError(
            f"ONNX Runtime and NumPy differ by {off:.1e} in the number; at most"
            f" {NUMBERS_ALLOWED:.0e} is allowed, so nothing was written"
        )
    return gap


def _sha256(path: Path | None) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else ""
