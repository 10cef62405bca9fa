"""The areas against scikit-learn, and what is judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import support
from sklearn.metrics import average_precision_score, roc_auc_score

from pi10_classifier.datasets.records import Sample
from pi10_classifier.evaluation.novelty import judge_novelty
from pi10_classifier.evaluation.scoring import Scored
from pi10_classifier.model.package import Package, read_package


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return read_package(support.novelty_package(tmp_path_factory.mktemp("told"), 0.8))[0]


def scored(known: int, outside: int, source: str, digits: int, seed: int = 1) -> Scored:
    """Numbers of two overlapping kinds, with ties where ``digits`` are few."""
    rng = np.random.default_rng(seed)
    groups = ["copepod"] * known + ["other"] * outside
    samples = tuple(
        Sample(source, f"{i}", group, group, "", "test", f"{source}{i}", 1, 1, "")
        for i, group in enumerate(groups)
    )
    novelty = np.round(rng.normal(np.repeat([0, 0.7], [known, outside]), 0.6), digits)
    p = np.round(rng.dirichlet([2, 1, 1], known + outside), digits)
    return Scored(samples, p, novelty)


@pytest.mark.parametrize("digits", [1, 6])
def test_the_areas_are_those_of_scikit_learn(told: Package, digits: int) -> None:
    part = scored(300, 80, "a", digits)
    found = judge_novelty(told, part, resamples=200)["all"]
    t = np.array([s.group == "other" for s in part.samples])
    top = -part.probabilities.max(axis=1)
    for figures, values in ((found, part.novelty), (found["by_probability"], top)):
        for name, theirs in (("auroc", roc_auc_score), ("aupr", average_precision_score)):
            figure = figures[name]
            assert figure["value"] == pytest.approx(theirs(t, values), abs=6e-5)
            assert figure["low"] < figure["value"] < figure["high"]
    assert (found["known"], found["outside"]) == (300, 80)
    assert part.novelty is not None
    for name, mine in (("flagged_known", ~t), ("flagged_outside", t)):
        assert found[name]["value"] == pytest.approx((part.novelty[mine] > 0.8).mean(), abs=6e-5)


def test_each_source_with_enough_images_of_both_kinds_is_judged(told: Package) -> None:
    parts = [scored(50, 20, "a", 6), scored(50, 5, "b", 6), scored(30, 30, "c", 6, seed=2)]
    together = Scored(
        tuple(s for part in parts for s in part.samples),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.novelty for part in parts if part.novelty is not None]),
    )
    found = judge_novelty(told, together, resamples=50)
    assert list(found) == ["all", "a", "c"]
    assert found["a"] == judge_novelty(told, parts[0], resamples=50)["all"]


def test_nothing_is_judged_where_nothing_is_told(told: Package, package: Path) -> None:
    part = scored(50, 20, "a", 6)
    assert judge_novelty(read_package(package)[0], part) == {}
    assert judge_novelty(told, replace(part, novelty=None)) == {}
    assert judge_novelty(told, part.of(lambda s: s.group == "copepod")) == {}
