"""The accuracy gate: compare macro-F1 of two graphs on the same held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pi10_classifier.errors import ModelError
from pi10_classifier.evaluation.bootstrap import RunOutcome, resample
from pi10_classifier.evaluation.metrics import bounds
from pi10_classifier.evaluation.scoring import Scored

RESAMPLES = 1000


class RefusedError(ModelError):
    """The int8 graph lost more macro-F1 than allowed; ``gate`` has the figures."""

    def __init__(self, message: str, gate: AccuracyGate) -> None:
        super().__init__(message)
        self.gate = gate


@dataclass(frozen=True, slots=True)
class AccuracyGate:
    """Macro-F1 of both graphs on the same held-out images; ``drop`` with its 95 % interval.

    The interval is that of the paired difference over resamples of the images. absent: classes
    without a held-out image, which the figures do not include.
    """

    images: int
    before: float
    after: float
    drop: float
    low: float
    high: float
    agree: float
    absent: tuple[str, ...] = ()

    def __str__(self) -> str:
        unknown = f"; there was no image of {', '.join(self.absent)}" if self.absent else ""
        return (
            f"macro-F1 {self.before:.4f} in float and {self.after:.4f} in int8 on"
            f" {self.images:,} held-out images: a drop of {100 * self.drop:.2f} points (95 %"
            f" interval {100 * self.low:.2f} to {100 * self.high:.2f}); both predict the same"
            f" class for {self.agree:.1%}{unknown}"
        )


def judge(before: Scored, after: Scored, classes: Sequence[str], seed: int = 0) -> AccuracyGate:
    """Compare two graphs' scores of the same samples, given in the same order."""
    truth = before.truth(classes)
    first, second = (x.probabilities.argmax(axis=1) for x in (before, after))
    present = np.unique(truth)
    rows = {"before": [RunOutcome(truth, first)], "after": [RunOutcome(truth, second)]}
    resampled = resample(rows, len(classes), RESAMPLES, seed)
    one, two = (float(resampled.point[row][present].mean()) for row in rows)
    apart = (resampled.draws["before"] - resampled.draws["after"])[:, present].mean(axis=1)
    agree = float((first == second).mean())
    absent = tuple(name for i, name in enumerate(classes) if i not in present)
    return AccuracyGate(len(truth), one, two, one - two, *bounds(apart), agree, absent)
