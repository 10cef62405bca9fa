"""Augments training images towards the look of the Pi-10's images.

The Pi-10 shows particles as near-black silhouettes on a light, slightly uneven background with
faint vertical stripes, specks and noise. The starter model was trained without labelled Pi-10
images. So a share of its training images is changed to that look; the rest stays close to the
sources' own look. The look is either ``generic``, drawn widely from a description, or
``linescan``, as measured on genuine images (``linescan_look``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.imaging.preprocess import Grey, Preprocessing, particle_box, prepare
from pi10_classifier.simulate.linescan import ALL, Effects
from pi10_classifier.training.data.linescan_look import linescan_look
from pi10_classifier.training.recipe import MARGIN

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

_PARTICLE = 0.88  # pixels darker than this belong to the particle, on the 0..1 scale


class View(NamedTuple):
    """An augmented image (C, size, size) uint8.

    recorded: grey (h, w) uint8 as the Pi-10 would have recorded it, where it was made so with its
    size, and is to be measured again; None where what was measured of the original holds.
    """

    image: U8
    recorded: U8 | None = None


def augment(
    levelled: U8,
    rng: np.random.Generator,
    spec: Preprocessing,
    look: float = 0.5,
    *,
    kind: str = "generic",
    effects: Effects = ALL,
) -> U8:
    """The image of ``view``."""
    return view(levelled, rng, spec, look, kind=kind, effects=effects).image


def view(
    levelled: U8,
    rng: np.random.Generator,
    spec: Preprocessing,
    look: float = 0.5,
    *,
    kind: str = "generic",
    effects: Effects = ALL,
) -> View:
    """Augment grey (H, W) uint8, dark on 255 -> (1, size, size) uint8.

    look: share of the images that are changed to the Pi-10's look. kind: generic or linescan.
    effects: parts of the look ``linescan``.

    It ends with ``prepare``, so training and serving treat a crop alike, except for ``spec.trim``:
    here the margins vary instead.
    The result depends only on the image, ``spec``, the look and the state of ``rng``.
    """
    image = _geometry(levelled, rng)
    if kind == "linescan" and rng.random() < look:  # it sets the resolution itself
        made = linescan_look(_silhouette(_light(image), rng), rng, effects)
        return View(_prepared(made, spec), made if effects.margins else None)
    image = _resolution(image, rng)
    x = _light(image)
    if kind == "generic" and rng.random() < look:
        x = _silhouette(x, rng)
        x = _blur(x, rng, 0.3)
        x = _ground(x, rng)
    else:
        x = _contrast(x, rng)
        x = _blur(x, rng, 0.2)
        if rng.random() < 0.25:
            x = _ground(x, rng)
    return View(_prepared(np.asarray(np.clip(x * 255 + 0.5, 0, 255), np.uint8), spec))


def augment_drawn(
    clean: U8, rng: np.random.Generator, spec: Preprocessing, effects: Effects = ALL
) -> U8:
    """The image of ``view_drawn``."""
    return view_drawn(clean, rng, spec, effects).image


def view_drawn(
    clean: U8, rng: np.random.Generator, spec: Preprocessing, effects: Effects = ALL
) -> View:
    """Augment a drawn particle, grey (H, W) uint8 on 255 -> (1, size, size) uint8.

    It always gets the look ``linescan``. It is drawn at the Pi-10's scale and keeps its size.
    """
    turned = _light(_turned(clean, rng))
    made = linescan_look(turned, rng, effects, scale=rng.uniform(0.85, 1.15))
    return View(_prepared(made, spec), made)


def _light(image: U8) -> F32:
    return np.asarray(image, np.float32) / np.float32(255)


def _prepared(grey: U8, spec: Preprocessing) -> U8:
    rgb = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    if Grey.of(rgb).background < 140:
        # The particle fills the border: without a margin ``prepare`` would invert the image.
        rgb = np.pad(rgb, ((6, 6), (6, 6), (0, 0)), constant_values=235)
    return prepare(rgb, replace(spec, trim=0.0))


def _geometry(image: U8, rng: np.random.Generator) -> U8:
    """Mirror, rotate by any angle, stretch a little; then crop around the particle again."""
    return _crop(_turned(image, rng), rng)


def _turned(image: U8, rng: np.random.Generator) -> U8:
    if rng.random() < 0.5:
        image = image[:, ::-1]
    height, width = image.shape
    angle = rng.uniform(0, 2 * np.pi)
    stretch = np.exp(rng.uniform(-0.12, 0.12))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos * stretch, -sin], [sin * stretch, cos]])
    new_w, new_h = (int(n) + 1 for n in np.abs(turn) @ (width, height))
    shift = np.array([new_w, new_h]) / 2 - turn @ np.array([width, height]) / 2
    matrix = np.concatenate((turn, shift[:, None]), axis=1)
    turned = cv2.warpAffine(
        np.ascontiguousarray(image),
        matrix,
        (new_w, new_h),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(255.0,),
    )
    return np.asarray(turned, np.uint8)


def _crop(image: U8, rng: np.random.Generator) -> U8:
    """Crop to the particle's box with random margins; sometimes into the particle."""
    corners = particle_box(image)
    if corners is None:
        return image
    height, width = image.shape
    box = np.array(corners, np.float64)
    span = max(box[2] - box[0], box[3] - box[1])
    margin = rng.uniform(0.0, MARGIN, 4) * span
    if rng.random() < 0.12:
        margin[rng.integers(4)] = -rng.uniform(0.05, 0.25) * span
    top, left = (int(v) for v in np.floor(box[:2] - margin[:2]))
    bottom, right = (int(v) for v in np.ceil(box[2:] + margin[2:]))
    if bottom - top < 8 or right - left < 8:
        return image
    inner = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    pads = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)))
    return np.pad(inner, pads, constant_values=255)


def _resolution(image: U8, rng: np.random.Generator) -> U8:
    """Sometimes reduce the image to the resolution of a coarser camera."""
    longest = max(image.shape)
    side = rng.uniform(24, 96)
    if rng.random() > 0.35 or side >= longest:
        return image
    height, width = (max(2, round(n * side / longest)) for n in image.shape)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _silhouette(x: F32, rng: np.random.Generator) -> F32:
    """Darken until a random share of the particle is black or nearly so."""
    inside = x[x < _PARTICLE]
    if inside.size < 12:
        return x
    knee = min(float(np.quantile(inside, rng.uniform(0.15, 0.9))), 0.8)
    floor = rng.uniform(0.0, 0.18)
    dark = floor + (1 - floor) * np.clip((x - knee) / (1 - knee), 0, 1)
    texture = rng.uniform(0.0, 0.25)  # share of its structure that the black part keeps
    return np.asarray(dark - texture * (1 - x) * floor, np.float32)


def _contrast(x: F32, rng: np.random.Generator) -> F32:
    """Gamma and contrast relative to the background."""
    bent = x ** np.float32(np.exp(rng.uniform(-0.5, 0.7)))
    return np.asarray(1 - (1 - bent) * rng.uniform(0.6, 1.5), np.float32)


def _blur(x: F32, rng: np.random.Generator, chance: float) -> F32:
    if rng.random() > chance:
        return x
    return np.asarray(cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.8)), np.float32)


def _ground(x: F32, rng: np.random.Generator) -> F32:
    """An uneven background: slope, vertical stripes, specks, small rings and noise."""
    height, width = x.shape
    ground = np.full((height, width), rng.uniform(0.78, 0.98), np.float32)
    slope = rng.normal(0, 0.03, 2)
    ground += np.float32(slope[0]) * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    ground += np.float32(slope[1]) * np.linspace(-1, 1, width, dtype=np.float32)[None]
    stripes = np.asarray(rng.normal(0, rng.uniform(0, 0.03), width), np.float32)
    ground += np.convolve(stripes, np.ones(3, np.float32) / 2, mode="same")[None, :width]
    for _ in range(rng.poisson(rng.uniform(0, 12))):
        _speck(ground, rng)
    cv2.GaussianBlur(ground, (0, 0), rng.uniform(0.4, 0.9), dst=ground)
    noise = rng.standard_normal((height, width), np.float32) * np.float32(rng.uniform(0, 0.035))
    return np.asarray(x * ground + noise, np.float32)


def _speck(ground: F32, rng: np.random.Generator) -> None:
    """Draw one dot or ring of a few pixels at most, darker or lighter than the background."""
    height, width = ground.shape
    centre = (int(rng.integers(width)), int(rng.integers(height)))
    radius = int(max(1, rng.exponential(0.015) * max(height, width)))
    shade = float(np.clip(0.9 - rng.exponential(0.18), 0.1, 1.1))
    cv2.circle(ground, centre, radius, shade, thickness=-1 if rng.random() < 0.6 else 1)
