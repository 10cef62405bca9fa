"""Compares a candidate with the champion on the frozen test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.bootstrap import Difference, Interval
from pi10_classifier.evaluation.comparison import METHOD, Row
from pi10_classifier.evaluation.comparison import compare as tabulate
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.evaluation.test_predictions import Predictions
from pi10_classifier.model.session import Model

CHAMPION, CANDIDATE = "champion", "candidate"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Macro-F1 of both, and the candidate's less the champion's with its paired test."""

    images: int
    bins: int
    champion: Row
    candidate: Row
    difference: Difference
    predictions: tuple[Predictions, Predictions]

    @property
    def verdict(self) -> str:
        """In words, for a person who decides."""
        d = self.difference
        if d.low > 0:
            return "the candidate is better than the champion on the frozen test"
        if d.high < 0:
            return "the candidate is worse than the champion on the frozen test"
        return "the frozen test does not tell the two apart"

    def to_dict(self) -> dict[str, Any]:
        def figures(row: Row) -> dict[str, Any]:
            return {
                "macro_f1": _interval(row.macro_f1),
                "f1": {name: _interval(value) for name, value in row.per_class.items()},
            }

        d = self.difference
        return {
            "images": self.images,
            "bins": self.bins,
            "method": METHOD,
            "champion": figures(self.champion),
            "candidate": figures(self.candidate),
            "difference": {"value": d.value, "low": d.low, "high": d.high, "p": d.p},
            "verdict": self.verdict,
        }


def judge(champion: Path, candidate: Path, scan: Scan, test: Sequence[Sample]) -> Judgement:
    """Score the test with both packages, as in serving. Raises SettingError and ModelError."""
    models = {name: Model.load(path) for name, path in
              ((CHAMPION, champion), (CANDIDATE, candidate))}  # fmt: skip
    classes = models[CHAMPION].package.classes
    if set(classes) != set(models[CANDIDATE].package.classes):
        raise SettingError(
            f"the candidate knows {', '.join(models[CANDIDATE].package.classes)}, but the champion "
            f"{', '.join(classes)}; they cannot be compared"
        )
    told = {name: _predictions(name, model, classes, scan, test) for name, model in models.items()}
    table = tabulate(list(told.values()), against=f"{CHAMPION} {models[CHAMPION].package.name}")
    first, second = table.rows
    if second.against is None:
        raise AssertionError("the row of the candidate is tested against the champion")
    return Judgement(
        len(test), len({sample.bin for sample in test} - {""}), first, second, second.against,
        (told[CHAMPION], told[CANDIDATE]),
    )  # fmt: skip


def _predictions(
    name: str, model: Model, classes: Sequence[str], scan: Scan, test: Sequence[Sample]
) -> Predictions:
    scored = score(model, scan, test)
    order = [model.package.classes.index(label) for label in classes]
    scores = scored.probabilities[:, order]
    images = tuple((sample.source, sample.member) for sample in scored.samples)
    guess = np.asarray(scores.argmax(axis=1), np.int64)
    return Predictions(name, model.package.name, 0, tuple(classes), images,
                       scored.truth(classes), guess, scores)  # fmt: skip


def _interval(value: Interval) -> dict[str, float]:
    return {"value": value.value, "low": value.low, "high": value.high}
