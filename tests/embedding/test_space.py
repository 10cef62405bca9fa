"""Directions and maps of features."""

from __future__ import annotations

import numpy as np
import pytest

from pi10_classifier.embedding.space import directions, plane
from pi10_classifier.errors import SettingError

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(2, 1, (60, 20)).astype(np.float16)


def test_directions_have_length_one_and_do_not_depend_on_brightness() -> None:
    x = directions(FEATURES, 8)
    assert x.shape == (60, 8) and x.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-5)
    brighter = FEATURES.astype(np.float32) * RNG.uniform(1, 3, (60, 1)).astype(np.float32)
    np.testing.assert_allclose(directions(brighter, 8), x, atol=2e-3)


def test_a_map_keeps_what_lies_apart_apart_and_lies_within_one() -> None:
    features = FEATURES.copy()
    features[:30, 3] += 20
    for number in (1, 2):
        places = plane(features, seed=number)
        assert places.shape == (60, 2) and np.abs(places).max() <= 1
        left, right = places[:30, 0], places[30:, 0]
        assert left.max() < right.min() or right.max() < left.min()


def test_equal_particles_and_constant_features_break_nothing() -> None:
    assert np.isfinite(plane(np.ones((5, 4), np.float16))).all()
    assert np.isfinite(directions(np.zeros((5, 4), np.float16))).all()
    with pytest.raises(SettingError, match="2 particles make no map"):
        plane(FEATURES[:2])


def test_umap_keeps_neighbours_and_the_same_seed_gives_the_same_map() -> None:
    pytest.importorskip("umap", reason="the extra [umap] is not installed")
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(3, 20))
    kind = np.repeat(np.arange(3), 30)
    x = centres[kind] + 0.05 * rng.normal(size=(90, 20))
    places = plane(x, "umap", seed=1)
    assert places.dtype == np.float32 and places.shape == (90, 2)
    assert np.isfinite(places).all() and np.abs(places).max() <= 1
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (kind[apart.argmin(axis=1)] == kind).all()
    np.testing.assert_array_equal(plane(x, "umap", seed=1), places)


@pytest.mark.parametrize("alike", [False, True])
def test_umap_places_few_and_equal_particles_too(alike: bool) -> None:
    pytest.importorskip("umap", reason="the extra [umap] is not installed")
    x = np.random.default_rng(1).normal(size=(16, 40))
    x[-1] = x[0]  # one particle twice
    places = plane(np.ones_like(x) if alike else x, "umap")
    assert places.shape == (16, 2) and np.isfinite(places).all()


def test_umap_is_not_asked_of_fewer_particles_than_it_has_neighbours() -> None:
    with pytest.raises(SettingError, match="15 particles make no map; it takes 16"):
        plane(FEATURES[:15], "umap")
