"""Corrected totals: unbiased where shares are known, with limits that hold, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from pi10_classifier.abundance.correction import (
    Predicted,
    TooFewLabelsError,
    corrected,
)

CLASSES = ("copepod", "detritus")


def test_shares_of_labels_divide_the_raised_total() -> None:
    strata = {
        "copepod": Predicted(1000, 2000, 2, {"copepod": 80, "detritus": 20}),
        "detritus": Predicted(9000, 18000, 2, {"copepod": 5, "detritus": 95}),
    }
    found = corrected(strata, CLASSES)
    assert found["copepod"].total == pytest.approx(800 + 450)
    assert found["detritus"].total == pytest.approx(200 + 8550)
    for its in found.values():
        assert its.low < its.total < its.high


def test_more_labels_narrow_the_interval() -> None:
    def width(times: int) -> float:
        labels = {"copepod": 30 * times, "detritus": 10 * times}
        found = corrected({"copepod": Predicted(1e6, 1e6, 1, labels)}, CLASSES)["detritus"]
        return found.high - found.low

    assert width(1) > 1.8 * width(4) > 3 * width(16)


def test_a_class_that_was_not_met_may_be_there_all_the_same() -> None:
    found = corrected({"copepod": Predicted(1000, 1000, 1, {"copepod": 50})}, CLASSES)
    assert (found["detritus"].total, found["detritus"].low) == (0.0, 0.0)
    assert 5 < found["detritus"].high < 80


def test_what_was_drawn_for_certain_counts_as_it_is() -> None:
    known = Predicted(1500, 1e6, 1000, {"copepod": 10}, {"detritus": 1000})
    assert corrected({"copepod": known}, CLASSES)["detritus"].total == pytest.approx(1000)
    assert corrected({"copepod": known}, CLASSES)["copepod"].total == pytest.approx(500)


def test_too_few_labels_are_refused_by_name() -> None:
    strata = {
        "copepod": Predicted(500, 500, 1, {"copepod": 40}),
        "detritus": Predicted(500, 500, 1, {"detritus": 2}),
        "rare": Predicted(3, 3, 1),
    }
    with pytest.raises(TooFewLabelsError, match="detritus has 2"):
        corrected(strata, CLASSES)
    strata["detritus"].labels["detritus"] = 5
    corrected(strata, CLASSES)


def test_limits_hold_over_surveys() -> None:
    """Labels drawn from known shares; the true total is in the interval in 90 to 99 %."""
    rng = np.random.default_rng(3)
    shares = {"copepod": (0.6, 0.4), "detritus": (0.04, 0.96)}
    raised = {"copepod": 2000.0, "detritus": 8000.0}
    truth = sum(raised[name] * shares[name][0] for name in raised)
    hits = 0
    for _ in range(300):
        strata = {}
        for name, total in raised.items():
            counts = rng.multinomial(75, shares[name])
            labels = dict(zip(CLASSES, counts.tolist(), strict=True))
            strata[name] = Predicted(total, total, 1, labels)
        found = corrected(strata, CLASSES, draws=1000)["copepod"]
        hits += found.low <= truth <= found.high
    assert 0.90 < hits / 300 <= 0.99


def test_what_is_drawn_for_certain_needs_no_other_labels() -> None:
    whole = Predicted(300.0000004, 1e4, 100, {}, {"copepod": 200.0, "detritus": 100.0})
    found = corrected({"copepod": whole}, ("copepod", "detritus"))
    assert found["copepod"].total == pytest.approx(200)
    half = Predicted(300, 1e4, 100, {}, {"copepod": 100.0})
    with pytest.raises(TooFewLabelsError, match="copepod has 0"):
        corrected({"copepod": half}, ("copepod", "detritus"))
