"""Cohen's kappa against published numbers, and its interval against simulation."""

from __future__ import annotations

import numpy as np
import pytest

from pi10_classifier.labelling.agreement import agreement

# Cohen 1960, table 1: 200 cases, kappa 0.492; limits as R's psych 2.4 gives them
COHEN = ((88, 14, 18), (10, 40, 10), (2, 6, 12))


def pairs_of(table: tuple[tuple[int, ...], ...]) -> list[tuple[str, str]]:
    return [
        (str(row), str(column))
        for row, counts in enumerate(table)
        for column, count in enumerate(counts)
        for _ in range(count)
    ]


def test_the_example_of_its_author() -> None:
    found = agreement(pairs_of(COHEN))
    assert (found.particles, found.same) == (200, 140)
    assert found.kappa == pytest.approx(0.492, abs=5e-4)
    assert found.low == pytest.approx(0.39, abs=0.006)
    assert found.high == pytest.approx(0.59, abs=0.006)


def test_swapping_the_labellers_changes_nothing() -> None:
    pairs = pairs_of(((30, 3, 9), (1, 20, 0), (5, 2, 8)))
    here, there = agreement(pairs), agreement([(b, a) for a, b in pairs])
    assert (here.kappa, here.low, here.high) == pytest.approx((there.kappa, there.low, there.high))


def test_intervals_cover_the_truth() -> None:
    share = np.array([[0.25, 0.05, 0.04], [0.02, 0.30, 0.06], [0.08, 0.02, 0.18]])
    chance = float(share.sum(axis=1) @ share.sum(axis=0))
    truth = (float(np.trace(share)) - chance) / (1 - chance)
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        drawn = rng.multinomial(150, share.ravel()).reshape(3, 3)
        found = agreement(pairs_of(tuple(map(tuple, drawn.tolist()))))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    assert 0.925 <= hits / 400 <= 0.975


def test_the_error_is_that_of_simulation_where_the_labellers_lean_differently() -> None:
    share = np.array([[0.10, 0.40, 0.02], [0.01, 0.15, 0.20], [0.01, 0.01, 0.10]])
    rng = np.random.default_rng(2)
    drawn = rng.multinomial(1500, share.ravel(), 300).reshape(-1, 3, 3)
    found = [agreement(pairs_of(tuple(map(tuple, table)))) for table in drawn.tolist()]
    spread = np.std([one.kappa for one in found])
    widths = [one.high - one.low for one in found]
    assert np.mean(widths) / 3.92 == pytest.approx(spread, rel=0.1)


def test_full_agreement_on_few_particles_is_not_certain() -> None:
    few = agreement([("a", "a"), ("b", "b")] * 5)
    many = agreement([("a", "a"), ("b", "b")] * 200)
    assert few.kappa == many.kappa == few.high == 1
    assert few.low is not None
    assert many.low is not None
    assert few.low < 0.5 < 0.95 < many.low < 1


def test_where_it_is_not_defined() -> None:
    assert agreement([]).kappa is None
    alike = agreement([("a", "a")] * 9)
    assert (alike.particles, alike.same, alike.kappa) == (9, 9, None)
