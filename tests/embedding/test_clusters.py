"""Dense clusters, and what is nearest to one."""

from __future__ import annotations

import numpy as np

from pi10_classifier.embedding.clusters import least_of, nearest, seeds
from pi10_classifier.embedding.space import directions


def test_dense_groups_are_found_the_largest_first_the_middle_first() -> None:
    rng = np.random.default_rng(0)
    middles = rng.normal(0, 1, (3, 12))
    of = np.repeat([0, 1, 2], [40, 25, 12])
    x = directions((middles[of] + rng.normal(0, 0.05, (77, 12))).astype(np.float16), 8)
    clusters = seeds(x, 8)
    assert [set(of[rows].tolist()) for rows in clusters] == [{0}, {1}, {2}]
    for rows in clusters:
        alike = x[rows] @ x[rows].mean(axis=0)
        assert (np.diff(alike) <= 1e-6).all()
    near = nearest(x, clusters[0][:5], np.arange(40, 77)[::-1], 10)
    assert len(near) == 10 and len({of[row] for row in near.tolist()}) == 1
    mine = nearest(x, clusters[0][:5], np.arange(77), 40)
    assert set(of[mine].tolist()) == {0}


def test_too_few_make_no_cluster() -> None:
    assert seeds(directions(np.eye(6, dtype=np.float16)), 5) == []
    assert least_of(10) == 5 and least_of(5_000) == 10
