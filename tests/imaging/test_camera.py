"""Ground, stripes and sharpness of an image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pi10_classifier.imaging.camera import Camera, sharpness, stripe
from pi10_classifier.imaging.preprocess import Grey


def scene(particle: int = 40, ground: int = 230, side: int = 80) -> np.ndarray:
    rng = np.random.default_rng(1)
    grey = np.full((side, side), ground, np.float32)
    cv2.circle(grey, (side // 2, side // 2), side // 4, float(particle), cv2.FILLED)
    return (grey + rng.normal(0, 2, grey.shape)).clip(0, 255).astype(np.uint8)


def of(grey: np.ndarray) -> Camera:
    return Camera.of(Grey.of(np.repeat(grey[..., None], 3, axis=2)))


def test_blur_lowers_sharpness_step_by_step() -> None:
    grey = scene()
    told = [sharpness(grey)] + [sharpness(cv2.GaussianBlur(grey, (0, 0), s)) for s in (1, 2, 4)]
    assert told == sorted(told, reverse=True)
    assert told[0] > 0.9 and told[-1] < 0.3


@pytest.mark.parametrize("change", [{"particle": 120}, {"side": 160}, {"ground": 200}])
def test_contrast_size_and_light_hardly_change_sharpness(change: dict[str, int]) -> None:
    soft = [cv2.GaussianBlur(scene(**told), (0, 0), 1.5) for told in ({}, change)]
    assert sharpness(soft[0]) == pytest.approx(sharpness(soft[1]), abs=0.06)


def test_a_stripe_is_seen_and_a_particle_at_the_edge_is_not() -> None:
    clean, striped, cut = scene(), scene(), scene()
    striped[:, 10:14] -= 30
    cut[:20, 5:25] = 40  # it ends inside the image
    base, seen = of(clean).ground_stripe, of(striped).ground_stripe
    assert base is not None and seen is not None
    assert base < 4 and seen == pytest.approx(30, abs=4)
    assert of(cut).ground_stripe == pytest.approx(base, abs=3)


def test_ground_is_of_the_border() -> None:
    told = of(scene(ground=200))
    assert told.ground_grey == 200 and told.ground_spread in (2, 3, 4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (3, 3), (5, 400)])
def test_the_smallest_images_have_numbers(shape: tuple[int, int]) -> None:
    flat = of(np.full(shape, 9, np.uint8))
    assert flat == (9, 0, 0, 0)
    noise = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    told = of(noise)
    assert all(np.isfinite(value) for value in told if value is not None)
    assert 0 <= sharpness(noise) <= 1
    assert np.isfinite(stripe(Grey.of(np.repeat(noise[..., None], 3, axis=2))))
