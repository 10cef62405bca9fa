"""Empty images hold no particle; faint, small, cut and upright particles are not lost."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from pi10_classifier.imaging.blank import is_doubtful, is_faint, shows_nothing
from pi10_classifier.imaging.measurement import measure
from pi10_classifier.imaging.preprocess import Grey

UM = 10.0
HEIGHT, WIDTH = 80, 104


def grey_of(levels: np.ndarray) -> Grey:
    pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return Grey.of(np.repeat(pixels[:, :, None], 3, axis=2))


def is_blank(levels: np.ndarray, um: float = UM) -> bool:
    grey = grey_of(levels)
    rgb = np.repeat(grey.pixels[:, :, None], 3, axis=2)
    return is_doubtful(measure(rgb, um), grey) and shows_nothing(grey.pixels, um)


def ground(level: float = 220.0, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    return level + np.random.default_rng(seed).normal(0, noise, (HEIGHT, WIDTH))


def stripes(depth: float, noise: float = 0.0) -> np.ndarray:
    levels = ground(noise=noise)
    for at, wide in ((8, 1), (30, 4), (61, 6), (90, 2)):
        levels[:, at : at + wide] -= depth
    return levels


def course(across: float = 0, down: float = 0, rim: float = 0, noise: float = 0) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return ground(170, noise) + across * x + down * y - rim * (x * x + y * y) / 2


def specks(side: int, depth: float, noise: float) -> np.ndarray:
    levels = ground(noise=noise)
    for y, x in ((10, 12), (24, 70), (50, 33), (66, 90)):
        levels[y : y + side, x : x + side] -= depth
    return levels


BLANK: dict[str, Callable[[], np.ndarray]] = {
    "flat": lambda: ground(205),
    "white": lambda: ground(255),
    "black": lambda: ground(0),
    "noise": lambda: ground(noise=4),
    "strong noise": lambda: ground(150, noise=20),
    "pale stripes": lambda: stripes(12, 3),
    "dark stripes": lambda: stripes(60, 3),
    "clean stripes": lambda: stripes(90),
    "across": lambda: course(across=60, noise=2),
    "down": lambda: course(down=60, noise=2),
    "aslant": lambda: course(across=30, down=30, noise=2),
    "dark corners": lambda: course(rim=60, noise=2),
    "smooth": lambda: course(across=20, down=40),
    "specks of a pixel": lambda: specks(1, 120, 3),
    "specks": lambda: specks(4, 90, 3),
    "pale specks": lambda: specks(6, 30, 3),
}


@pytest.mark.parametrize("name", BLANK)
def test_an_empty_image_shows_nothing(name: str) -> None:
    assert is_blank(BLANK[name]())


def disc(radius: float, depth: float, noise: float = 3.0) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return ground(noise=noise) - depth * ((y - 40) ** 2 + (x - 50) ** 2 <= radius**2)


def bar(height: int, width: int, depth: float, top: int = 10) -> np.ndarray:
    levels = ground(noise=3)
    levels[top : top + height, 50 : 50 + width] -= depth
    return levels


def chain() -> np.ndarray:
    levels = ground(255)
    for step in range(0, 40, 4):  # single pixels, three apart
        levels[20 + step, 30 + step] -= 30
    return levels


SHOWN: dict[str, Callable[[], np.ndarray]] = {
    "as long as the least": lambda: disc(9.5, 60),
    "faint": lambda: disc(14, 18),
    "small and dark": lambda: disc(5, 120),
    "upright": lambda: bar(60, 9, 90),
    "a fibre aslant": lambda: ground(noise=3) - 80 * np.eye(HEIGHT, WIDTH),
    "a chain": chain,
    "fills the frame": lambda: 100 + 100 * (np.add(*np.indices((HEIGHT, WIDTH))) // 11 % 2),
    "cut by two sides": lambda: (
        ground(noise=3) - 120 * (np.hypot(*np.indices((HEIGHT, WIDTH))) < 30)
    ),
    "light on dark": lambda: 255 - disc(12, 80),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_particle_is_not_lost(name: str) -> None:
    assert not is_blank(SHOWN[name]())


def test_the_least_size_is_in_micrometres() -> None:
    assert is_blank(disc(5, 40), um=10)
    assert not is_blank(disc(5, 40), um=30)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 40), (1500, 2500)])
def test_any_shape_is_looked_at(shape: tuple[int, int]) -> None:
    levels = np.full(shape, 200, np.uint8)
    assert shows_nothing(levels, UM)
    if min(shape) > 100:
        cv2.circle(levels, (700, 700), 20, (60,), -1)
        assert not shows_nothing(levels, UM)


def test_faint_is_near_the_ground_on_both_sides() -> None:
    assert is_faint(grey_of(ground(noise=4)))
    assert not is_faint(grey_of(disc(5, 120)))
    assert not is_faint(grey_of(255 - disc(5, 120)))
