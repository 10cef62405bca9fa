"""Gives a training image the look that was measured on genuine Pi-10 images.

The particle gets the size in pixels, the crop, the blur, the ground and the exposure that it would
have on the Pi-10. ``augment_pi10`` does the rest, and has an earlier look that was only described.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.imaging.preprocess import particle_box
from pi10_classifier.simulate import linescan
from pi10_classifier.simulate.linescan import ALL, Effects

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# px: with the crop's margins half of all crops are 64 px wide and one in ten over 104 px, as in
# the label table of 5,682 genuine particles
_LONGEST, _SPREAD, _LIMITS = 56.0, 0.48, (18.0, 300.0)
_SOFT = 0.7  # px; sigma of the blur that a source's image has after it was made smaller
_CLEAR = 0.95  # light that a source's own ground lets through at least, once levelled


def linescan_look(
    light: F32, rng: np.random.Generator, effects: Effects = ALL, scale: float | None = None
) -> U8:
    """Light (H, W) float32, dark on 1 -> grey (h, w) uint8 as the Pi-10 would show it.

    scale: of the particle; None draws a size of the Pi-10's, never above the image's own, so that
    no blur comes from here.
    """
    if effects.margins:
        light = _framed(light, rng, scale)
    if effects.defocus:
        light = linescan.defocus(light, float(max(light.shape)) - 16, rng, _SOFT)
    if effects.specks:
        rows, columns = light.shape
        light = np.asarray(light * linescan.specks(rows, columns, rng), np.float32)
    return linescan.expose(light[None], rng, effects)


def _framed(light: F32, rng: np.random.Generator, scale: float | None) -> F32:
    """The particle in a size of the Pi-10's, in a crop as the instrument cuts it."""
    box = particle_box(np.asarray(np.clip(light * 255, 0, 255), np.uint8))
    if box is None:
        return light
    top, left, bottom, right = box
    particle = light[top:bottom, left:right]
    if scale is None:
        longest = float(np.clip(_LONGEST * np.exp(rng.normal(0, _SPREAD)), *_LIMITS))
        scale = min(1.0, longest / max(particle.shape))
    height, width = (max(2, round(n * scale)) for n in particle.shape)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(particle, (width, height), interpolation=method), np.float32)
    rows, columns, above, before = linescan.framing(height, width, rng)
    framed: F32 = np.ones((rows, columns), np.float32)
    y, x = min(int(above), rows - height), min(int(before), columns - width)
    # what is nearly clear is the source's ground, which would show the box's edge
    framed[y : y + height, x : x + width] = np.minimum(small / np.float32(_CLEAR), 1)
    return framed
