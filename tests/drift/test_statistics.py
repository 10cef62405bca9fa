"""Shifts against scipy's tests, and what a change of the mix does to them: nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy.stats import entropy, mannwhitneyu

from pi10_classifier.drift.reference import Reference, Spread
from pi10_classifier.drift.statistics import between, deviations, psi, shift
from pi10_classifier.drift.sums import Table, count_images

WHEN = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)


def table(reference: Reference, labels: list[str], values: list[float]) -> Table:
    columns: dict[str, Any] = {
        "bin": ["pia7"] * len(labels), "datetime": [WHEN] * len(labels), "label": labels,
        "ground_grey": values, "esd_um": values,
    }  # fmt: skip
    (counts,) = count_images(reference, columns).values()
    return counts


def good(reference: Reference, rng: np.random.Generator, images: int, share: float) -> Table:
    """Images like the reference's within their class; ``share`` of them are copepods."""
    copepods = round(images * share)
    labels = ["copepod"] * copepods + ["detritus"] * (images - copepods)
    values = rng.uniform(0, 40, images) + np.repeat((0, 100), (copepods, images - copepods))
    return table(reference, labels, values.tolist())


def test_shift_is_mann_and_whitneys_u(reference: Reference) -> None:
    rng = np.random.default_rng(3)
    cells = rng.choice(4, 90, p=(0.1, 0.2, 0.3, 0.4))
    counts = table(reference, ["copepod"] * 90, (cells * 10 + 5.0).tolist())
    only = replace(reference, mix={"copepod": 1.0 - 1e-9, "detritus": 1e-9, "noncopepod": 0.0})
    told = shift(only, counts, "ground")
    theirs = np.repeat(np.arange(4), 500)  # of the reference, a quarter in each cell
    u = mannwhitneyu(cells, theirs).statistic / (len(cells) * len(theirs))
    assert told is not None and told.value == pytest.approx(u - 0.5)
    # the sd of U without a difference, with ties, where the reference is endless
    assert told.sd == pytest.approx(np.sqrt((1 - 4 * 0.25**3) / 12 / 90))


def test_psi_is_both_relative_entropies() -> None:
    counts, shares = np.array([100, 300, 600]), np.array([0.3, 0.3, 0.4])
    p, q = (counts + 0.5) / 1001.5, (shares * 1000 + 0.5) / 1001.5
    assert psi(counts, shares) == pytest.approx(entropy(p, q) + entropy(q, p))
    assert psi(np.array([300, 300, 400]), shares) == pytest.approx(0)
    assert np.isfinite(psi(np.array([0, 0, 7]), shares))


def test_another_mix_moves_the_mix_alone(reference: Reference) -> None:
    rng = np.random.default_rng(5)
    # pooled over classes, three in four would lie far above the reference
    off = [deviations(reference, good(reference, rng, 400, 0.1)) for _ in range(50)]
    assert abs(np.mean([step["ground"] for step in off])) < 0.5
    assert np.mean([step["mix"] for step in off]) > 3


def test_a_darker_ground_moves_the_ground(reference: Reference) -> None:
    rng = np.random.default_rng(5)
    values = rng.uniform(0, 40, 300) - 10
    labels = ["copepod"] * 150 + ["detritus"] * 120 + ["noncopepod"] * 30
    above = np.repeat((0, 100, 0), (150, 120, 30))
    counts = table(reference, labels, (values + above).tolist())
    off = deviations(reference, counts)
    assert off["ground"] < -5
    assert abs(off["mix"]) < 3


def test_deviations_of_good_minutes_are_about_standard_normal(reference: Reference) -> None:
    rng = np.random.default_rng(8)
    even = replace(
        reference, between={name: Spread(0.0, 0.0) for name in reference.between}, mix_between=0.0,
        mix={"copepod": 0.5, "detritus": 0.5},
    )  # fmt: skip
    chosen = [good(even, rng, 100, rng.binomial(100, 0.5) / 100) for _ in range(400)]
    off = [deviations(even, counts) for counts in chosen]
    for name in ("ground", "size"):
        values = np.array([step[name] for step in off])
        assert abs(values.mean()) < 0.2 and 0.8 < values.std() < 1.1
    assert abs(np.mean([step["mix"] for step in off])) < 0.25


def test_no_image_of_a_known_class_tells_nothing(reference: Reference) -> None:
    counts = table(reference, ["noncopepod"] * 20, [5.0] * 20)
    assert shift(reference, counts, "ground") is None
    assert set(deviations(reference, counts)) == {"mix"}


def test_between_finds_what_chance_does_not_explain(reference: Reference) -> None:
    rng = np.random.default_rng(2)
    labels = ["copepod"] * 200 + ["detritus"] * 200
    minutes = []
    for _ in range(200):
        values = rng.uniform(0, 40, 400) + rng.normal(0, 2) + np.repeat((0, 100), 200)
        minutes.append(table(reference, labels, values.tolist()))
    _, sd = between(reference, minutes)["ground"]
    # 2 of a range of 40 move 1.5 of 2 / 40 of the ridits, as the outer cells are open
    assert 0.025 < sd < 0.05
    calm = [good(reference, rng, 400, 0.5) for _ in range(200)]
    assert between(reference, calm)["ground"][1] < 0.008
