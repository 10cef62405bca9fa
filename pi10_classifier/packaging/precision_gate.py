"""The gate: judges a runtime, a precision or an int8 graph against ONNX Runtime in fp32.

Both score the same labelled images, in quarter turns and drawn in the looks of the Pi-10, and the
difference is resampled in pairs. `pi10 export int8` and `pi10 evaluate --against` use this rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.metrics import F64, I64, calibration_error
from pi10_classifier.evaluation.scoring import Look, Scored, score, score_looks
from pi10_classifier.imaging.preprocess import U8, Preprocessing, prepare
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.accuracy_gate import AccuracyGate, paired

ALLOWED = 0.003  # of macro-F1: 0.3 points
CALIBRATION_ALLOWED = 0.005  # by which the expected calibration error may rise
DRAWS = 2  # of each image, in each look
LEAST_IMAGES = 30
PLAIN = "as they are"
TURNED = "as they are, in quarter turns"
DROP, WORSE = "macro-F1 may drop too far", "the calibration gets worse"
FEW = "no class changes, but the images are too few to show that none would"


@dataclass(frozen=True, slots=True)
class View:
    """The figures of two models on the same images, as they are or drawn in a look.

    scores: macro-F1 of both, and its drop with a paired 95 % interval. changed: share of the images
    that get another class. largest: the largest difference of any class probability. ece: expected
    calibration error of the top class over 15 bins.
    """

    name: str
    scores: AccuracyGate
    changed: float
    largest: float
    ece_before: float
    ece_after: float

    def refused_for(self, allowed: float) -> str:
        """Why the gate refuses, in words; empty if it does not."""
        # no change among n images: up to 3 / n may change all the same (95 %; Hanley and
        # Lippman-Hand 1983), though the resampled interval has no width
        if self.largest > 0 and self.changed == 0 and 3 / self.scores.images > allowed:
            return FEW
        if self.scores.high > allowed:
            return DROP
        if self.ece_after - self.ece_before > CALIBRATION_ALLOWED:
            return WORSE
        return ""

    def __str__(self) -> str:
        drop, low, high = (100 * x for x in (self.scores.drop, self.scores.low, self.scores.high))
        times = f", each {self.scores.draws} times" * (self.scores.draws > 1)
        return (
            f"{self.name}, {self.scores.images:,} images{times}: macro-F1"
            f" {self.scores.before:.4f} and {self.scores.after:.4f}, a drop of {drop:.2f} points"
            f" (95 % interval {low:.2f} to {high:.2f}), {self.changed:.2%} get another class, the"
            f" largest difference of a score is {self.largest:.2g}, calibration error (ECE)"
            f" {self.ece_before:.4f} and {self.ece_after:.4f}"
        )


@dataclass(frozen=True, slots=True)
class PrecisionGate:
    """What the gate says of two models, ``before`` in fp32 and ``after`` as judged.

    views: of the images as they are, which may be in quarter turns, and in each look. allowed: the
    highest drop of macro-F1. left_out: why there are no looks; empty if there are.
    """

    before: str
    after: str
    allowed: float
    views: tuple[View, ...]
    left_out: str = ""

    @property
    def scores(self) -> AccuracyGate:
        """Of the images as they are."""
        return self.views[0].scores

    @property
    def accepted(self) -> bool:
        """Whether, in each view, the whole interval of the drop is within what is allowed.

        The calibration error must not rise by more than ``CALIBRATION_ALLOWED`` either.
        """
        return not any(view.refused_for(self.allowed) for view in self.views)

    def __str__(self) -> str:
        absent = self.scores.absent
        more = f". There was no image of {', '.join(absent)}" if absent else ""
        more += f". {self.left_out}" if self.left_out else ""
        return (
            f"{self.before} and {self.after}, in turn (the interval may reach"
            f" {100 * self.allowed:.2f} points): {'; '.join(map(str, self.views))}{more}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures for JSON; drops and shares as fractions."""
        told = asdict(self)
        told["views"] = {view.pop("name"): view for view in told["views"]}
        return {"accepted": self.accepted, **told}


class PrecisionRefusedError(ModelError):
    """The gate refuses; ``gate`` has the figures."""

    def __init__(self, gate: PrecisionGate, remedy: str = "") -> None:
        of_each = {view: view.refused_for(gate.allowed) for view in gate.views}
        reasons = "; ".join(
            f"{why} ({', '.join(view.name for view in gate.views if of_each[view] == why)})"
            for why in (FEW, DROP, WORSE)
            if why in of_each.values()
        )
        drops = [view for view, why in of_each.items() if why == DROP]
        few = (
            ". The drop itself is within it: more images or --draws would narrow the interval"
            if drops and all(view.scores.drop <= gate.allowed for view in drops)
            else ""
        )
        super().__init__(f"refused, as {reasons}: {gate}{few}; {remedy or f'keep {gate.before}'}")
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
    turns: Sequence[Look] = (),
    looks: Sequence[Look] = (),
    draws: int = DRAWS,
    on_scan: Callable[[Scan], None] = lambda scan: None,
) -> PrecisionGate:
    """Score the labelled images of ``split`` ("" for all) with both models, and compare.

    turns: see ``gate_of``.

    Raises SettingError if the two do not have the same classes, or if there are too few images.
    """
    classes = reference.package.classes
    if judged.package.classes != classes:
        raise SettingError(
            f"{judged.package.name} predicts {', '.join(judged.package.classes)}, but"
            f" {reference.package.name} predicts {', '.join(classes)}; compare packages with the"
            " same classes in the same order"
        )
    check_allowed(allowed)
    scan = load_labelled(inputs, label_map, manifest)
    on_scan(scan)
    chosen = of_split(scan, split) if split else scan.samples
    known = [sample for sample in chosen if sample.group in classes]
    if len(known) < LEAST_IMAGES:
        raise SettingError(
            f"{len(known)} images of the model's classes are too few to compare on; at least"
            f" {LEAST_IMAGES} are needed, preferably thousands"
        )
    return gate_of(
        reference, judged, scan, known, turns=turns, looks=looks, draws=draws, allowed=allowed
    )[0]


def check_allowed(allowed: float) -> None:
    """Raise SettingError for a share of macro-F1 that cannot be allowed."""
    if not 0 <= allowed <= 1:
        raise SettingError(f"--allow is {100 * allowed:g}; it must be 0 to 100 points")


def gate_of(
    reference: Model,
    judged: Model,
    scan: Scan,
    samples: Sequence[Sample],
    *,
    turns: Sequence[Look] = (),
    looks: Sequence[Look] = (),
    draws: int = DRAWS,
    allowed: float = ALLOWED,
) -> tuple[PrecisionGate, Scored, Scored]:
    """The gate on these images of the models' classes, and both models' scores of them.

    turns: other directions in which the images are scored beside as they are: ``TURNS``.
    """
    before, after = score(reference, scan, samples), score(judged, scan, samples)
    classes = reference.package.classes
    truth = before.truth(classes)
    parts = [before.probabilities[:, None], after.probabilities[:, None]]
    left_out = ""
    if (looks or turns) and (reference.package.measured or judged.package.measured):
        looks, turns, left_out = (), (), (
            "Not judged turned and in the looks of the Pi-10: the package takes measured numbers,"
            " which drawings do not have"
        )  # fmt: skip
    for told in score_looks((reference, judged), scan, before.samples, turns, 1).values():
        parts = [np.concatenate(both, axis=1) for both in zip(parts, told, strict=True)]
    views = [_view(TURNED if turns else PLAIN, truth, parts[0], parts[1], classes)]
    if looks:
        # in the order of ``score``, so that all views have the same images in the same rows
        drawn = score_looks((reference, judged), scan, before.samples, looks, draws)
        views += [_view(name, truth, told[0], told[1], classes) for name, told in drawn.items()]
    names = (_named(reference), _named(judged))
    return PrecisionGate(*names, allowed, tuple(views), left_out), before, after


def _turned(rgb: U8, rng: np.random.Generator, spec: Preprocessing, *, quarters: int) -> U8:
    return prepare(np.ascontiguousarray(np.rot90(rgb, quarters)), spec)


# A particle lies in any direction. What rounding changes differs from one to the next, so each
# image tells more of the drop in four directions than in one, and the interval narrows.
TURNS = tuple(Look(f"turned {n}", partial(_turned, quarters=n)) for n in (1, 2, 3))


def _view(name: str, truth: I64, before: F64, after: F64, classes: Sequence[str]) -> View:
    """The figures of probabilities (N, draws, K) of both models."""
    scores = paired(truth, before.argmax(axis=2), after.argmax(axis=2), classes)
    every = np.repeat(truth, before.shape[1])
    flat = (-1, before.shape[2])
    return View(
        name,
        scores,
        changed=1 - scores.agree,
        largest=float(np.abs(before - after).max()),
        ece_before=calibration_error(before.reshape(flat), every),
        ece_after=calibration_error(after.reshape(flat), every),
    )


def _named(model: Model) -> str:
    runs_on = model.runs_on
    return f"{model.package.name} on {runs_on['library']} in {runs_on['precision']}"
