"""Judges a runtime, a precision or an int8 package against ONNX Runtime in fp32.

Both score the same labelled images, and the difference is resampled in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import Scan
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.metrics import calibration_error
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.accuracy_gate import AccuracyGate, judge

ALLOWED = 0.003  # of macro-F1: 0.3 points
LEAST_IMAGES = 30


@dataclass(frozen=True, slots=True)
class PrecisionGate:
    """The figures of two models on the same images, ``before`` in fp32 and ``after`` as judged.

    scores: macro-F1 of both, and its drop with a paired 95 % interval. allowed: the highest drop.
    changed: share of the images that get another class. largest: the largest difference of any
    class probability. ece: expected calibration error of the top class over 15 bins.
    """

    before: str
    after: str
    scores: AccuracyGate
    allowed: float
    changed: float
    largest: float
    ece_before: float
    ece_after: float

    @property
    def accepted(self) -> bool:
        """Whether the whole interval of the drop is within what is allowed."""
        return self.scores.high <= self.allowed

    def __str__(self) -> str:
        drop, low, high = (100 * x for x in (self.scores.drop, self.scores.low, self.scores.high))
        absent = self.scores.absent
        unknown = f"; there was no image of {', '.join(absent)}" if absent else ""
        return (
            f"macro-F1 {self.scores.before:.4f} of {self.before} and {self.scores.after:.4f} of"
            f" {self.after} on {self.scores.images:,} images: a drop of {drop:.2f} points (95 %"
            f" interval {low:.2f} to {high:.2f}; at most {100 * self.allowed:.2f} allowed)."
            f" {self.changed:.2%} of the images get another class, the largest difference of a"
            f" score is {self.largest:.2g}, and the calibration error (ECE) is"
            f" {self.ece_before:.4f} and {self.ece_after:.4f}{unknown}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures for JSON; drops and shares as fractions."""
        return {"accepted": self.accepted, **asdict(self)}


class PrecisionRefusedError(ModelError):
    """The interval of the drop reaches beyond what is allowed; ``gate`` has the figures."""

    def __init__(self, gate: PrecisionGate) -> None:
        few = (
            ". The drop itself is within it: more images would narrow the interval"
            if gate.scores.drop <= gate.allowed
            else ""
        )
        super().__init__(f"refused: {gate}{few}; keep {gate.before}")
        self.gate = gate


def judge_precision(
    reference: Model,
    judged: Model,
    inputs: Sequence[Path],
    *,
    label_map: LabelMap | None = None,
    manifest: Path | None = None,
    split: str = "",
    allowed: float = ALLOWED,
    on_scan: Callable[[Scan], None] = lambda scan: None,
) -> PrecisionGate:
    """Score the labelled images of ``split`` ("" for all) with both models, and compare.

    Raises SettingError if the two do not have the same classes, or if there are too few images.
    """
    classes = reference.package.classes
    if judged.package.classes != classes:
        raise SettingError(
            f"{judged.package.name} predicts {', '.join(judged.package.classes)}, but"
            f" {reference.package.name} predicts {', '.join(classes)}; compare packages with the"
            " same classes in the same order"
        )
    if not 0 <= allowed <= 1:
        raise SettingError(f"--allow is {100 * allowed:g}; it must be 0 to 100 points")
    scan = load_labelled(inputs, label_map, manifest)
    on_scan(scan)
    chosen = of_split(scan, split) if split else scan.samples
    known = [sample for sample in chosen if sample.group in classes]
    if len(known) < LEAST_IMAGES:
        raise SettingError(
            f"{len(known)} images of the model's classes are too few to compare on; at least"
            f" {LEAST_IMAGES} are needed, preferably thousands"
        )
    before, after = score(reference, scan, known), score(judged, scan, known)
    truth = before.truth(classes)
    scores = judge(before, after, classes)
    return PrecisionGate(
        before=_named(reference),
        after=_named(judged),
        scores=scores,
        allowed=allowed,
        changed=1 - scores.agree,
        largest=float(np.abs(before.probabilities - after.probabilities).max()),
        ece_before=calibration_error(before.probabilities, truth),
        ece_after=calibration_error(after.probabilities, truth),
    )


def _named(model: Model) -> str:
    runs_on = model.runs_on
    precision = "int8 and " * runs_on["int8"] + runs_on["precision"]
    return f"{model.package.name} on {runs_on['library']} in {precision}"
