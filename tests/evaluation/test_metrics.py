"""Against figures worked out by hand."""

import numpy as np
import pytest

from pi10_classifier.evaluation import metrics

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
GUESS = np.array([0, 0, 0, 1, 1, 1, 0, 2, 2, 1])
NAMES = ("a", "b", "c")


def one_hot(guess, sure=0.8):
    rest = (1 - sure) / 2
    return np.where(np.arange(3) == np.asarray(guess)[:, None], sure, rest)


def test_confusion_has_truth_in_rows():
    np.testing.assert_array_equal(
        metrics.confusion(TRUTH, GUESS, 3), [[3, 1, 0], [1, 2, 0], [0, 1, 2]]
    )


def test_scores_by_hand():
    found = metrics.scores(metrics.confusion(TRUTH, GUESS, 3))
    np.testing.assert_allclose(found["precision"], [3 / 4, 2 / 4, 2 / 2])
    np.testing.assert_allclose(found["recall"], [3 / 4, 2 / 3, 2 / 3])
    np.testing.assert_allclose(found["f1"], [3 / 4, 4 / 7, 4 / 5])
    assert metrics.macro_f1(TRUTH, GUESS, 3) == pytest.approx((3 / 4 + 4 / 7 + 4 / 5) / 3)


def test_class_never_predicted_counts_as_zero_not_as_nan():
    found = metrics.scores(metrics.confusion(np.array([0, 1]), np.array([0, 0]), 3))
    np.testing.assert_allclose(found["f1"], [2 / 3, 0, 0])


def test_report_intervals_hold_the_value_and_are_seeded():
    found = metrics.report(TRUTH, one_hot(GUESS), NAMES)
    assert found == metrics.report(TRUTH, one_hot(GUESS), NAMES)
    assert found["n"] == 10
    assert found["accuracy"] == 0.7
    assert found["confusion"] == [[3, 1, 0], [1, 2, 0], [0, 1, 2]]
    macro = found["macro_f1"]
    assert macro["value"] == 0.7071
    assert 0.3 < macro["low"] < macro["value"] < macro["high"] <= 1
    assert found["per_class"]["b"]["support"] == 3


def test_interval_matches_resampling_the_images_one_by_one():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 500)
    guess = np.where(rng.random(500) < 0.8, truth, rng.integers(0, 3, 500))
    slow = []
    for _ in range(1000):
        drawn = rng.integers(0, 500, 500)
        slow.append(metrics.macro_f1(truth[drawn], guess[drawn], 3))
    found = metrics.report(truth, one_hot(guess), NAMES)["macro_f1"]
    low, high = np.quantile(slow, (0.025, 0.975))
    assert found["low"] == pytest.approx(low, abs=0.006)
    assert found["high"] == pytest.approx(high, abs=0.006)


def test_perfect_prediction_has_a_degenerate_interval():
    truth = np.tile(TRUTH, 10)
    macro = metrics.report(truth, one_hot(truth), NAMES)["macro_f1"]
    assert (macro["value"], macro["low"], macro["high"]) == (1, 1, 1)


def test_calibration_error_by_hand():
    # Ten images at 0.8, seven right: |0.7 - 0.8|.
    assert metrics.calibration_error(one_hot(GUESS), TRUTH) == pytest.approx(0.1)


def test_softmax_is_stable_and_tempered():
    np.testing.assert_allclose(metrics.softmax([[1000.0, 1000.0]]), [[0.5, 0.5]])
    np.testing.assert_allclose(metrics.softmax([[np.log(9.0), 0.0]], temperature=2), [[0.75, 0.25]])


def test_nll_by_hand():
    assert metrics.nll([[np.log(3.0), 0.0]], np.array([0])) == pytest.approx(np.log(4 / 3))


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    chances = metrics.softmax(logits)
    truth = np.array([rng.choice(3, p=p) for p in chances])
    assert metrics.fit_temperature(logits, truth) == pytest.approx(1, abs=0.08)
    assert metrics.fit_temperature(logits * 3, truth) == pytest.approx(3, abs=0.24)
