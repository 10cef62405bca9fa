"""Calibration against figures worked out by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation import calibration
from pi10_classifier.evaluation.metrics import fit_temperature, softmax

NAMES = ("a", "b")


def two(scores, calls=None):
    """Probabilities of two classes: ``scores`` for the class called (a where not said)."""
    scores = np.asarray(scores, float)
    calls = np.zeros(len(scores), int) if calls is None else np.asarray(calls)
    p = np.stack([scores, 1 - scores], axis=1)
    return np.where(calls[:, None] == 0, p, p[:, ::-1])


@pytest.fixture(scope="module")
def overconfident():
    """Logits three times too large for how often they are right."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (4000, 3))
    p = softmax(logits)
    truth = np.array([rng.choice(3, p=row) for row in p])
    return softmax(3 * logits), truth


def test_brier_by_hand_and_as_scikit_learn_has_it(overconfident):
    # (1 - 0.8)^2 + 0.2^2 = 0.08 where right, (0 - 0.6)^2 + (1 - 0.4)^2 = 0.72 where wrong
    found = calibration.brier(two([0.8, 0.6]), np.array([0, 1]))
    assert found == pytest.approx((0.08 + 0.72) / 2)
    p, truth = overconfident
    assert calibration.brier(p, truth) == pytest.approx(
        brier_score_loss(truth, p, labels=[0, 1, 2], scale_by_half=False)
    )


def test_reliability_bins_hold_every_image_once():
    rows = calibration.reliability(two([0.55, 0.58, 0.95, 1.0]), np.array([0, 1, 0, 0]), bins=10)
    assert rows == [
        {"low": 0.5, "high": 0.6, "n": 2, "score": 0.565, "right": 0.5},
        {"low": 0.9, "high": 1.0, "n": 2, "score": 0.975, "right": 1.0},
    ]


def test_temperature_of_given_probabilities_is_that_of_their_logits(overconfident):
    p, truth = overconfident
    assert fit_temperature(calibration.as_logits(p), truth) == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(calibration.at_temperature(p, 3.0).argmax(axis=1), p.argmax(axis=1))


def test_probability_of_zero_stays_finite():
    p = np.array([[1.0, 0.0]], np.float32)
    assert np.isfinite(calibration.at_temperature(p, 0.5)).all()
    assert np.isfinite(calibration.figures(p.astype(float), np.array([1]))["nll"])


def test_halves_are_judged_at_each_others_temperature(overconfident):
    p, truth = overconfident
    refitted, temperatures = calibration.refit_halves(p, truth)
    assert len(set(temperatures)) == 2
    before, after = calibration.figures(p, truth), calibration.figures(refitted, truth)
    for key in before:
        assert after[key] < before[key]
    # each row is at one of the two temperatures, and both are used
    at = [
        np.isclose(refitted, calibration.at_temperature(p, t), atol=1e-12).all(axis=1)
        for t in temperatures
    ]
    assert (at[0] ^ at[1]).mean() > 0.99
    assert 0.4 < at[0].mean() < 0.6


class TestThresholds:
    scores = np.linspace(0.99, 0.60, 40)

    def test_lowest_score_that_reaches_the_precision(self):
        truth = np.where(np.arange(40) < 30, 0, 1)  # the ten lowest scores are wrong
        found = calibration.fit_thresholds(two(self.scores), truth, NAMES, precision=0.9)["a"]
        # 30 of 33 is 0.909, 30 of 34 is 0.882
        assert (found.kept, found.called, found.reached) == (33, 40, True)
        assert found.precision == pytest.approx(30 / 33, abs=1e-4)
        assert (self.scores >= found.score).sum() == 33

    def test_nothing_is_flagged_where_all_is_precise_enough(self):
        found = calibration.fit_thresholds(
            two(self.scores), np.zeros(40, int), NAMES, precision=0.9
        )
        assert found["a"].score == 0
        assert calibration.stored(found) == {}

    def test_precision_that_nothing_reaches_is_said(self):
        truth = np.arange(40) % 2
        found = calibration.fit_thresholds(two(self.scores), truth, NAMES, precision=0.9)["a"]
        assert not found.reached
        assert found.kept >= 10
        assert found.precision < 0.9

    def test_coverage_keeps_the_share_and_all_ties(self):
        truth = np.zeros(40, int)
        found = calibration.fit_thresholds(two(self.scores), truth, NAMES, coverage=0.75)["a"]
        assert (found.kept, found.coverage) == (30, 0.75)
        tied = np.full(40, 0.8)
        assert calibration.fit_thresholds(two(tied), truth, NAMES, coverage=0.5)["a"].kept == 40

    def test_each_class_has_its_own(self):
        scores = np.r_[self.scores, self.scores]
        calls = np.repeat([0, 1], 40)
        truth = np.r_[np.zeros(40, int), np.where(np.arange(40) < 20, 1, 0)]
        found = calibration.fit_thresholds(two(scores, calls), truth, NAMES, precision=0.95)
        assert found["a"].score == 0
        assert found["b"].kept == 21  # 20 of 21 is 0.952
        assert calibration.stored(found) == {"b": found["b"].score}

    def test_class_called_too_seldom_gets_none(self):
        assert calibration.fit_thresholds(two([0.9] * 9), np.ones(9, int), NAMES, precision=1) == {}

    @pytest.mark.parametrize(
        "wanted", [{}, {"precision": 0.9, "coverage": 0.9}, {"precision": 1.1}, {"coverage": 0}]
    )
    def test_unusable_wish(self, wanted):
        with pytest.raises(SettingError, match="precision"):
            calibration.fit_thresholds(two([0.9]), np.zeros(1, int), NAMES, **wanted)
