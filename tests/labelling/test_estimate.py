"""Precision and recall in the survey itself, by raised particles."""

from __future__ import annotations

import pytest

from pi10_classifier.abundance.correction import Predicted
from pi10_classifier.labelling.estimate import _rates

CLASSES = ("copepod", "detritus", "artefact")
STRATA = {
    "copepod": Predicted(1000, 1000, 1, {"copepod": 80, "detritus": 20}),
    "detritus": Predicted(4000, 4000, 1, {"copepod": 10, "detritus": 90}),
}


def test_rates_are_of_raised_particles_with_limits_around_them() -> None:
    rates = _rates(STRATA, CLASSES, seed=0)
    precision, recall = rates["copepod"]
    assert precision[0] == pytest.approx(0.8)
    assert recall[0] == pytest.approx(800 / (800 + 400))
    for value, low, high in (precision, recall):
        assert 0 < low < value < high < 1
    assert rates["artefact"] == ((None,) * 3, (None,) * 3), "the model calls nothing so"


def test_particles_drawn_for_certain_count_by_their_factor() -> None:
    known = Predicted(1500, 1e6, 1000, {"copepod": 10}, {"detritus": 1000})
    precision, recall = _rates({"copepod": known}, CLASSES, seed=0)["copepod"]
    assert precision[0] == pytest.approx(500 / 1500)
    assert recall[0] == pytest.approx(1)
