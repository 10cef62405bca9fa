"""The pieces of `benchmarks.coverage`: surveys with known properties."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks import coverage
from benchmarks.coverage import Case, Survey

SURVEY = Survey(np.array([100, 200, 50, 400]), np.array([0, 200, 450, 0]))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_minutes_without_a_factor_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("date,bin,minute,hits,misses\n2024-05-16,1345,0,3,1\n2024-05-16,1345,1,0,0\n")
    survey = Survey.read(path)
    assert (survey.hits.tolist(), survey.misses.tolist()) == ([3], [1])


def test_stretches_keep_the_order_and_go_round(rng: np.random.Generator) -> None:
    long = SURVEY.stretch(9, rng)
    first = SURVEY.hits.tolist().index(long.hits[0])
    assert long.hits.tolist() == [SURVEY.hits[(first + i) % 4] for i in range(9)]
    assert SURVEY.factors.tolist() == [1, 2, 10, 1]
    assert SURVEY.up_to(2.0).factors.tolist() == [1, 2, 1]


def test_more_hits_leave_the_factors(rng: np.random.Generator) -> None:
    many = SURVEY.times(50.0)
    assert many.factors.tolist() == SURVEY.factors.tolist()
    assert (many.hits > 20 * 50).all()


def test_raised_counts_have_the_rate_as_their_mean(rng: np.random.Generator) -> None:
    survey = Survey(np.tile(SURVEY.hits, 20_000), np.tile(SURVEY.misses, 20_000))
    counts = coverage.sampled(5.0, survey, rng)
    raised = counts * survey.factors
    # variance of the mean: rate x mean factor / n
    assert raised.mean() == pytest.approx(5.0, abs=5 * (5 * 3.5 / 80_000) ** 0.5)
    assert counts[survey.factors == 10].mean() == pytest.approx(0.5, abs=0.03)


def test_patchy_minutes_have_the_ratio_asked_for(rng: np.random.Generator) -> None:
    whole = Survey(np.full(100_000, 10_000), np.zeros(100_000, np.int64))
    counts = coverage.patchy(500.0, 33.0, whole, rng)
    assert counts.mean() == pytest.approx(500, rel=0.005)
    assert counts.var() / counts.mean() == pytest.approx(33, rel=0.03)
    half = Survey(whole.hits, whole.hits)  # thinned by two: the ratio of what passed shows less
    counts = coverage.patchy(500.0, 33.0, half, rng)
    assert counts.var() / counts.mean() == pytest.approx(1 + 32 / 2, rel=0.03)


def test_other_counts_make_the_rows_that_the_product_makes(rng: np.random.Generator) -> None:
    survey = SURVEY.stretch(25, rng).times(50.0)
    counts = coverage.sampled(50.0, survey, rng)
    real = coverage.rows_of(counts, survey)
    quick = coverage.with_counts(coverage.rows_of(counts * 0, survey), counts)
    for name in ("bin", "minute", "label", "count", "litres", "flags"):
        assert [getattr(row, name) for row in quick] == [getattr(row, name) for row in real]
    for name in ("raised_count", "per_litre"):
        expected = [getattr(row, name) for row in real]
        assert [getattr(row, name) for row in quick] == pytest.approx(expected)
    assert len({row.bin for row in real}) == 3
    assert sum(row.raised_count or 0 for row in real) == pytest.approx(
        float((counts * survey.factors).sum())
    )


def test_limits_are_judged_by_where_the_truth_lies() -> None:
    case = Case("water sampled", 34.0, 10)
    found = np.array([[0.5, 2.0], [1.0, 1.5], [1.1, 2.0], [0.1, 0.9], [0.2, 0.3]])
    said = coverage.judged(case, 1.0, found)
    assert (said.coverage, said.below, said.above) == pytest.approx((0.4, 0.2, 0.4))
    assert said.width == pytest.approx(0.8)


@pytest.mark.parametrize("case", [Case("water sampled", 1.0, 10), Case("water mass", 500, 10, 33)])
def test_a_seed_gives_the_same_figures_and_they_are_sane(case: Case) -> None:
    done = [coverage.cover(case, SURVEY, 60, (0, 3)) for _ in range(2)]
    assert done[0] == done[1]
    assert done[0].coverage > 0.8  # of 60; 0.95 is what the benchmark itself shows
