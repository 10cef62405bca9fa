"""Images measured together give what each gives alone."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi10_classifier.imaging.measurement import measure, measure_greys
from pi10_classifier.imaging.preprocess import Grey
from pi10_classifier.imaging.segmentation import _closed, group_by_width


def image(seed: int, height: int, width: int) -> np.ndarray:
    """Rough blobs on a noisy ground; every third one light on dark."""
    random = np.random.default_rng(seed)
    rough = cv2.GaussianBlur(random.normal(0, 1, (height, width)), (0, 0), 3)
    grey = np.where(rough > 0.1 + 0.1 * random.random(), 60, 220) + random.normal(0, 4, rough.shape)
    grey[[0, -1]] = grey[:, [0, -1]] = 220
    grey = grey.clip(0, 255).astype(np.uint8)
    return np.repeat((~grey if seed % 3 == 0 else grey)[:, :, None], 3, axis=2)


def test_neighbours_on_the_sheet_change_nothing() -> None:
    random = np.random.default_rng(5)
    sides = [(3, 3), (3, 200), (200, 3), (700, 600), (40, 600), *random.integers(3, 160, (60, 2))]
    images = [image(seed, *side) for seed, side in enumerate(sides)]
    alone = [measure(rgb) for rgb in images]
    assert sum(size is not None for size in alone) > 40
    assert measure_greys([Grey.of(rgb) for rgb in images]) == alone
    backwards = measure_greys([Grey.of(rgb) for rgb in images[::-1]])
    assert backwards[::-1] == alone


def test_particles_cut_by_facing_borders_stay_apart() -> None:
    above, below = (np.full((60, 60, 3), 200, np.uint8) for _ in range(2))
    above[30:, 20:40] = 60
    below[:30, 20:40] = 60
    together = measure_greys([Grey.of(above), Grey.of(below)])
    assert together == [measure(above), measure(below)]
    assert all(size and size.touches_border for size in together)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_cut_particles_know_no_neighbours(seed: int) -> None:
    random = np.random.default_rng(seed)
    images = [image(int(n), *random.integers(12, 60, 2))[4:-4, 4:-4] for n in range(12)]
    assert measure_greys([Grey.of(rgb) for rgb in images]) == [measure(rgb) for rgb in images]


def test_nothing_to_measure() -> None:
    blank = np.full((20, 20, 3), 200, np.uint8)
    assert measure_greys([]) == []
    assert measure_greys([Grey.of(blank), Grey.of(blank[:2])]) == [None, None]


def test_every_image_is_dealt_once() -> None:
    random = np.random.default_rng(1)
    greys = [Grey.of(np.zeros((*side, 3), np.uint8)) for side in random.integers(3, 900, (50, 2))]
    hands = group_by_width(greys)
    assert sorted(index for hand in hands for index in hand) == list(range(50))
    for hand in hands:
        if len(hand) > 1:
            widths = [greys[i].pixels.shape[1] for i in hand]
            assert max(widths) <= 2 * min(widths) + 40


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.7])
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_closing_is_that_of_opencv(density: float, height: int, width: int, seed: int) -> None:
    mask = np.where(np.random.default_rng(seed).random((height, width)) < density, 255, 0)
    mask = mask.astype(np.uint8)
    # as of an endless canvas
    wide = cv2.copyMakeBorder(mask, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=0)
    expected = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))[3:-3, 3:-3]
    assert np.array_equal(_closed(mask), expected)
