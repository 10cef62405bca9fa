"""Does an image show a particle at all? Asked only where its silhouette leaves that open.

Noise, a stripe of the line scan or a shadow may trigger the camera too, and a network that
knows particles alone calls the empty image one of them.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.imaging.measurement import LEAST_UM, Measurement, largest_distances
from pi10_classifier.imaging.preprocess import Grey

U8 = NDArray[np.uint8]

_NEAR = 64  # grey levels: what is farther from the ground is no faint particle, nor shadow
_SOLID_UM2 = 3000.0  # of 62 µm ESD: above it, what is dark is taken for a small particle
_SINGLE, _SINGLE_NOISES = 12.0, 6.0  # what a pixel must stand out by: grey levels, noises
_SOFT, _SOFT_NOISES = 5.0, 4.0  # the same of means over 3 x 3 px, which find what is faint
_SOFT_MOST = 40.0  # grey levels: the texture of a particle that fills the image is no noise
# px: pieces nearer to one another are one particle (a chain, a faint body); on a noisy ground,
# where specks lie as near, by less
_REACH, _REACH_NOISY, _NOISY = 5, 3, 1.0
_MAX_SIDE_PX = 1024  # longer images are reduced first: bounds time and memory
_NORMAL = 0.6745 * 2**0.5  # median difference of two normal values, in standard deviations


def is_doubtful(size: Measurement | None, grey: Grey) -> bool:
    """True where a silhouette, or none, leaves open whether the image shows a particle.

    It looks like a stripe or shadow; is shorter than the least particle and pale or tiny; or is
    lighter than a light ground: a flow cell lit in its middle.
    """
    if size is None or size.like_ground:
        return True
    if size.feret_um < LEAST_UM:
        return size.area_um2 < _SOLID_UM2 or abs(grey.ground - size.mean_grey) < _NEAR
    return size.mean_grey > grey.ground >= 128


def is_faint(grey: Grey) -> bool:
    """True where no pixel is far from the ground. Costs a microsecond."""
    darkest, lightest, _, _ = cv2.minMaxLoc(grey.pixels)
    return max(grey.ground - darkest, lightest - grey.ground) < _NEAR


def shows_nothing(grey: U8, um_per_px: float) -> bool:
    """True where grey (H, W) uint8 holds nothing as long as the least particle.

    Ground is whatever is the sum of a value for each column, i.e. stripes of the line scan,
    and an even course down the rows, i.e. a gradient or shadow. What stands out from it beyond
    the noise, lighter or darker, is joined over small gaps, so that a faint or broken particle
    is not lost: in doubt an image shows one. In a small image, cut close or at another scale,
    half its longer side is enough.
    """
    factor = -(-max(grey.shape) // _MAX_SIDE_PX)
    if factor > 1:
        side = [max(1, length // factor) for length in grey.shape[::-1]]
        grey = np.asarray(cv2.resize(grey, side, interpolation=cv2.INTER_AREA), np.uint8)
    least = min(LEAST_UM / (um_per_px * factor), max(grey.shape) / 2)
    left = _less_ground(grey)
    noise = _noise(grey)
    shown = np.abs(left) > max(_SINGLE, _SINGLE_NOISES * noise)
    soft = cv2.blur(left.astype(np.float32), (3, 3))
    shown |= np.abs(soft) > max(_SOFT, min(_SOFT_NOISES * noise, _SOFT_MOST))
    reach = _REACH if noise < _NOISY else _REACH_NOISY
    enough = least + reach - 2  # between centres of the outermost pixels, grown by joining
    return bool(_longest(shown, reach, enough) < enough)


def _longest(shown: NDArray[np.bool_], reach: int, enough: float) -> float:
    """The largest distance, px, within one piece of what is shown, joined; ``enough`` will do."""
    # with room around: at the frame it would grow to one side only
    canvas = np.pad(shown.view(np.uint8), reach)
    joined = cv2.dilate(canvas, np.ones((reach, reach), np.uint8))
    pieces, _ = cv2.findContours(joined, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    longest = 0.0
    for piece in pieces:
        _, _, width, height = cv2.boundingRect(piece)
        if max(width, height) - 1 >= enough:
            return enough
        if math.hypot(width, height) > longest:
            longest = max(longest, *largest_distances([cv2.convexHull(piece)]))
    return longest


def _less_ground(grey: U8) -> NDArray[np.int16]:
    """An image less an even course, of second degree, down the rows, and less its columns' ground.

    A column's ground is the middle of its values or, where a particle covers more than half of
    it, a quartile: whichever is nearest to nothing.
    """
    left = grey.astype(np.int16)
    rows, columns = grey.shape
    course = np.sort(left, axis=1)[:, columns // 2]
    middle = np.sort(course)[rows // 2]
    left -= middle
    if rows > 8 and (course != middle).any():
        y = np.linspace(-1, 1, rows)
        powers = np.stack((np.ones(rows), y, y * y))
        # by normal equations and sums: three unknowns, and no BLAS to start threads of its own
        fitted = np.linalg.solve(
            (powers[:, None] * powers[None]).sum(axis=2),
            (powers * (course - middle)).sum(axis=1),
        )
        left -= np.rint((fitted[:, None] * powers).sum(axis=0)).astype(np.int16)[:, None]
    quarters = np.sort(left, axis=0)[[rows // 4, rows // 2, rows * 3 // 4]]
    nearest = np.abs(quarters).argmin(axis=0)
    left -= np.take_along_axis(quarters, nearest[None], axis=0)
    return left


def _noise(grey: U8) -> float:
    """Standard deviation of the noise, from steps within the columns: few belong to a particle."""
    if len(grey) < 2:
        return 0.0
    steps = np.bincount(cv2.absdiff(grey[1:], grey[:-1]).ravel(), minlength=256).cumsum()
    return int(np.searchsorted(steps, steps[-1] / 2)) / _NORMAL
