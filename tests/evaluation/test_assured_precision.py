"""Thresholds whose precision holds elsewhere, with the wanted confidence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.calibration import check_confidence, fit_thresholds, lower_limit

NAMES = ("a", "b")


def scored(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of class a, whether each was right, and the true chance of it."""
    score = rng.uniform(0.5, 1, n)
    chance = 0.8 + 0.2 * np.sqrt((score - 0.5) * 2)
    return score, rng.random(n) < chance, chance


def test_limits_are_clopper_s_and_pearson_s() -> None:
    for right, n in ((0, 10), (7, 10), (299, 299), (980, 1000)):
        found = float(lower_limit(np.array([right / n]), np.array([float(n)]), 0.95)[0])
        exact = beta.ppf(0.05, right, n - right + 1) if right else 0.0
        assert found == pytest.approx(float(exact), abs=1e-9)
    # all of 299 right is what it takes for 99 %
    limits = lower_limit(np.ones(2), np.array([298.0, 299.0]), 0.95)
    assert limits[0] < 0.99 <= limits[1]


@pytest.mark.parametrize("margin", [False, True])
def test_the_precision_holds_elsewhere_as_often_as_said(margin: bool) -> None:
    rng = np.random.default_rng(3)
    failed = passed = 0
    for _ in range(300):
        score, right, _ = scored(rng, 600)
        p = np.stack([score, 1 - score], axis=1)
        found = fit_thresholds(
            p, np.where(right, 0, 1), NAMES, precision=0.95, confidence=0.9, margin=margin
        )["a"]
        if not found.reached:
            continue
        passed += 1
        assert found.low >= 0.95
        cut = (found.score + 1) / 2 if margin else found.score
        grid = np.linspace(max(cut, 0.5), 1, 1000)
        failed += float((0.8 + 0.2 * np.sqrt((grid - 0.5) * 2)).mean()) < 0.95
    assert passed > 100, "else it shows nothing"
    assert failed <= 0.1 * 300


def test_without_confidence_a_threshold_promises_too_much() -> None:
    rng = np.random.default_rng(3)
    failed = 0
    for _ in range(100):
        score, right, _ = scored(rng, 600)
        p = np.stack([score, 1 - score], axis=1)
        found = fit_thresholds(p, np.where(right, 0, 1), NAMES, precision=0.95)["a"]
        grid = np.linspace(max(found.score, 0.5), 1, 1000)
        failed += float((0.8 + 0.2 * np.sqrt((grid - 0.5) * 2)).mean()) < 0.95
    assert failed > 30


def test_too_few_labels_for_the_wish_are_told() -> None:
    p = np.stack([np.linspace(0.6, 0.99, 200), 1 - np.linspace(0.6, 0.99, 200)], axis=1)
    found = fit_thresholds(p, np.zeros(200, int), NAMES, precision=0.99, confidence=0.95)["a"]
    assert not found.reached
    assert found.precision == 1
    assert found.low < 0.99


def test_weights_count() -> None:
    p = np.stack([np.linspace(0.99, 0.6, 100), 1 - np.linspace(0.99, 0.6, 100)], axis=1)
    truth = np.r_[np.zeros(50, int), np.ones(50, int)]
    weight = np.r_[np.full(50, 9.0), np.ones(50)]
    found = fit_thresholds(p, truth, NAMES, precision=0.9, weight=weight)["a"]
    assert (found.kept, found.score) == (100, 0)
    assert found.precision == pytest.approx(0.9)
    assert fit_thresholds(p, truth, NAMES, precision=0.9)["a"].kept == 55


@pytest.mark.parametrize(("confidence", "precision"), [(0.4, 0.9), (1, 0.9), (0.9, None), (0.9, 1)])
def test_a_confidence_that_means_nothing(confidence: float, precision: float | None) -> None:
    with pytest.raises(SettingError, match="confidence is"):
        check_confidence(confidence, precision)
