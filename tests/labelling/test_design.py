"""The design of the sample: numbers that add up, draws in proportion to the factor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi10_classifier.labelling.design import allocate, priorities, taken

COUNTS = st.dictionaries(st.text(max_size=3), st.integers(0, 500), max_size=6)


@given(there=COUNTS, size=st.integers(1, 800), data=st.data())
def test_numbers_add_up_and_none_exceeds_its_class(there, size, data) -> None:
    raised = {name: data.draw(st.floats(0, 1e6)) if n else 0.0 for name, n in there.items()}
    found = allocate(raised, there, size)
    assert sum(found.values()) == min(size, sum(there.values()))
    assert all(0 <= found[name] <= there[name] for name in there)


def test_half_follows_the_raised_totals_and_half_is_equal() -> None:
    found = allocate({"a": 900.0, "b": 100.0}, {"a": 10_000, "b": 10_000}, 200)
    assert found == {"a": 140, "b": 60}


def test_a_larger_size_gives_no_class_less() -> None:
    raised, there = {"a": 5.0, "b": 800.0, "c": 40.0}, {"a": 7, "b": 900, "c": 60}
    before = dict.fromkeys(there, 0)
    for size in range(1, 400):
        found = allocate(raised, there, size)
        # whole numbers by largest remainders may shift by one
        assert all(found[name] >= before[name] - 1 for name in there)
        before = found


def test_particles_are_drawn_in_proportion_to_their_factor() -> None:
    rng = np.random.default_rng(1)
    factor = np.repeat([1.0, 3.0], 500)
    often = np.zeros(1000)
    for _ in range(400):
        chance, certain = taken(priorities(1 - rng.random(1000), factor), factor, 100, 2000.0)
        assert len(chance) == 100
        assert not len(certain)
        often[chance] += 1
    light, heavy = often[:500].mean() / 400, often[500:].mean() / 400
    assert light == pytest.approx(0.05, rel=0.1)
    assert heavy == pytest.approx(0.15, rel=0.1)


def test_a_larger_sample_holds_the_smaller_one() -> None:
    rng = np.random.default_rng(2)
    factor = rng.uniform(1, 4, 300)
    rank = priorities(1 - rng.random(300), factor)
    total = float(factor.sum())
    some, _ = taken(rank, factor, 20, total)
    more, _ = taken(rank, factor, 50, total)
    assert set(some.tolist()) < set(more.tolist())


def test_a_giant_is_drawn_for_certain() -> None:
    factor = np.array([1.0, 1.0, 1.0, 1000.0])
    chance, certain = taken(np.array([0.1, 0.2, 0.3, 99.0]), factor, 2, 1003.0)
    assert certain.tolist() == [3]
    assert chance.tolist() == [0]
