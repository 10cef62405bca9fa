"""Totals by labels and scores: the estimator of the paper, with limits that hold, or none."""

from __future__ import annotations

import numpy as np
import pytest

from pi10_classifier.abundance.correction import Corrected, Predicted, corrected
from pi10_classifier.abundance.prediction_powered import LEAST, Scored, log_odds, powered

CLASSES = ("copepod", "detritus")
MANY = 1e9  # particles that each stand for one: no chance of counting


def scored(y: np.ndarray, z: np.ndarray, everyone: np.ndarray) -> Scored:
    """Labels y of copepods, and log-odds of their scores; detritus has none."""
    none = np.zeros_like(z)
    return Scored(
        np.where(y == 1, 0, 1), np.column_stack([z, none]), np.array([everyone.mean(), 0.0]),
        np.array([everyone.var(), 0.0]), float(len(everyone)),
    )  # fmt: skip


def labelled(y: np.ndarray, raised: float = MANY) -> Predicted:
    copepods = int(y.sum())
    return Predicted(raised, raised, 1, {"copepod": copepods, "detritus": len(y) - copepods})


def sample(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    z = rng.normal(-1, 1.5, size)
    return (rng.random(size) < 1 / (1 + np.exp(-z))).astype(float), z


def share(y: np.ndarray, its: Scored, **options: int) -> Corrected:
    found = powered({"copepod": labelled(y)}, {"copepod": its}, CLASSES, **options)["copepod"]
    return Corrected(found.total / MANY, found.low / MANY, found.high / MANY)


def test_the_share_is_that_of_the_regression_and_of_ppi_python() -> None:
    rng = np.random.default_rng(11)
    y, z = sample(400, rng)
    everyone = rng.normal(-1, 1.5, 100_000)
    found = share(y, scored(y, z, everyone))
    slope = np.polyfit(z, y, 1)[0] / (1 + 400 / 100_000)
    assert found.total == pytest.approx(y.mean() - slope * (z.mean() - everyone.mean()))
    # ppi_mean_pointestimate and ppi_mean_ci of ppi-python 0.2.3 on the same numbers
    assert (found.total, found.low, found.high) == pytest.approx(
        (0.34932, 0.30894, 0.38970), abs=0.004
    )


def test_scores_that_tell_nothing_give_the_correction_by_labels() -> None:
    y = np.repeat([1.0, 0.0], [20, 60])
    its = scored(y, np.full(80, 2.0), np.array([2.0, 2.0]))
    found = powered({"copepod": labelled(y)}, {"copepod": its}, CLASSES, draws=20_000)
    for name, plain in corrected({"copepod": labelled(y)}, CLASSES).items():
        assert found[name].total == pytest.approx(plain.total)
        assert found[name].low == pytest.approx(plain.low, rel=0.03)
        assert found[name].high == pytest.approx(plain.high, rel=0.03)


def test_a_score_against_its_class_is_not_believed() -> None:
    y = np.repeat([1.0, 0.0], 40)
    assert share(y, scored(y, -y, np.array([-1.0, 0.0, 0.0]))).total == pytest.approx(0.5)


def test_every_predicted_class_that_matters_needs_its_labels() -> None:
    y, z = sample(LEAST, np.random.default_rng(1))
    its = scored(y, z, z)
    few = scored(y[1:], z[1:], z)
    strata = {"copepod": labelled(y), "detritus": labelled(y, MANY / 10)}
    assert powered(strata, {"copepod": its, "detritus": few}, CLASSES) == {}
    assert powered(strata, {}, CLASSES) == {}
    assert powered(strata, {"copepod": its, "detritus": its}, CLASSES)
    strata["detritus"] = labelled(y[1:], MANY / 1000)
    alone = powered({"copepod": labelled(y)}, {"copepod": its}, CLASSES)["copepod"].total
    for scores in ({"copepod": its, "detritus": few}, {"copepod": its}):
        total = powered(strata, scores, CLASSES)["copepod"].total
        assert total == pytest.approx(alone + MANY / 1000 * y[1:].mean()), "by labels alone"


def test_images_without_scores_are_corrected_by_labels() -> None:
    y, z = sample(80, np.random.default_rng(3))
    blank = Predicted(MANY, MANY, 1, {"copepod": 2, "detritus": 18})
    found = powered(
        {"copepod": labelled(y), "no_particle": blank}, {"copepod": scored(y, z, z)}, CLASSES
    )
    assert found["copepod"].total == pytest.approx(MANY * (y.mean() + 0.1))


def test_what_was_drawn_for_certain_counts_as_it_is() -> None:
    y, z = sample(100, np.random.default_rng(2))
    known = labelled(y, 2 * MANY)
    known.certain["detritus"] = MANY
    its = scored(y, z, z)
    found = powered({"copepod": known}, {"copepod": its}, CLASSES)
    assert found["copepod"].total == pytest.approx(MANY * y.mean())
    assert found["detritus"].total == pytest.approx(MANY * (2 - y.mean()))


def test_limits_hold_over_surveys_and_are_narrower() -> None:
    rng = np.random.default_rng(4)
    crowd, all_z = sample(200_000, rng)
    hits, ratios = 0, []
    for _ in range(120):
        y, z = sample(75, rng)
        found = share(y, scored(y, z, all_z), draws=400)
        plain = corrected({"copepod": labelled(y)}, CLASSES, draws=400)["copepod"]
        hits += found.low <= crowd.mean() <= found.high
        ratios.append((found.high - found.low) / (plain.high - plain.low) * MANY)
    assert 0.90 < hits / 120 <= 0.99
    assert np.median(ratios) < 0.92


def test_log_odds_have_bounds() -> None:
    odds = log_odds(np.array([0.0, 0.5, 0.9, 1.0]))
    assert odds[1:3] == pytest.approx([0.0, np.log(9)])
    assert odds[0] == pytest.approx(-odds[3]) and np.isfinite(odds).all()
