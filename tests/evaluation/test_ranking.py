"""Average precision and ROC-AUC, beside scikit-learn's."""

import numpy as np
import pytest

from pi10_classifier.evaluation.ranking import ranked

CLASSES = ("copepod", "detritus", "noncopepod")


def scored(ties: bool, count: int = 400):
    rng = np.random.default_rng(3)
    truth = rng.choice(3, count, p=(0.2, 0.7, 0.1))
    scores = rng.dirichlet(np.ones(3), count)
    scores[np.arange(count), truth] += 0.3
    scores /= scores.sum(axis=1, keepdims=True)
    return truth, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
def test_figures_are_those_of_scikit_learn(ties):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is of the extra train")
    truth, scores = scored(ties)
    found = ranked(truth, scores, CLASSES, resamples=50)
    for place, name in enumerate(CLASSES):
        right = truth == place
        average = metrics.average_precision_score(right, scores[:, place])
        area = metrics.roc_auc_score(right, scores[:, place])
        assert found[name]["average_precision"]["value"] == pytest.approx(average, abs=1e-4)
        assert found[name]["roc_auc"]["value"] == pytest.approx(area, abs=1e-4)
    mean = np.mean([found[name]["roc_auc"]["value"] for name in CLASSES])
    assert found[""]["roc_auc"]["value"] == pytest.approx(mean, abs=1e-4)


def test_by_hand():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9]])
    found = ranked(np.array([0, 1, 0, 1]), scores, ("a", "b"), resamples=10)
    assert found["a"]["average_precision"]["value"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    assert found["a"]["roc_auc"]["value"] == pytest.approx(0.75)


def test_intervals_hold_their_figure_and_narrow_with_images():
    widths = []
    for count in (200, 3200):
        row = ranked(*scored(False, count), CLASSES)["copepod"]["roc_auc"]
        assert row["low"] <= row["value"] <= row["high"]
        widths.append(row["high"] - row["low"])
    assert widths[1] < widths[0] / 2


def test_scores_that_tell_nothing_rank_by_chance():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 4000)
    found = ranked(truth, np.full((4000, 2), 0.5), ("a", "b"), resamples=50)
    assert found["a"]["roc_auc"]["value"] == pytest.approx(0.5)
    assert found["a"]["average_precision"]["value"] == pytest.approx((truth == 0).mean(), abs=1e-3)


def test_a_class_without_images_has_no_figure():
    truth, scores = scored(False)
    truth[truth == 2] = 0
    found = ranked(truth, scores, CLASSES, resamples=20)
    assert set(found) == {"", "copepod", "detritus"}
    assert ranked(np.zeros(5, np.int64), np.ones((5, 2)), ("a", "b"), resamples=5) == {}
