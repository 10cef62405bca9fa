"""Detects images that show no particle; used where the silhouette alone does not decide.

Noise, a stripe of the line scan or a shadow can trigger the camera too. A network that was
trained on particles alone would give such an image a class.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.imaging.measurement import SMALLEST_UM, Measurement, largest_distances
from pi10_classifier.imaging.preprocess import Grey

U8 = NDArray[np.uint8]

_NEAR = 64  # grey levels: anything farther from the background is neither faint nor a shadow
_SOLID_UM2 = 3000.0  # 62 µm ESD: a larger dark object is taken for a small particle
_SINGLE, _SINGLE_NOISES = 12.0, 6.0  # contrast that a pixel needs, in grey levels and in noise SD
_SOFT, _SOFT_NOISES = 5.0, 4.0  # the same for means over 3 x 3 px, which find faint objects
_SOFT_MAX = 40.0  # grey levels: the texture of a particle that fills the image is not noise
# px: pieces closer than this are joined to one particle (a chain, a faint body); less on a noisy
# background, where specks lie that close
_REACH, _REACH_NOISY, _NOISY = 5, 3, 1.0
_MAX_SIDE_PX = 1024  # longer images are reduced first, to bound time and memory
_NORMAL = 0.6745 * 2**0.5  # median difference of two normal values, in standard deviations


def is_doubtful(size: Measurement | None, grey: Grey) -> bool:
    """True where the silhouette does not decide whether the image shows a particle.

    There is none; or it looks like a stripe or shadow; or it is shorter than the smallest
    particle and pale or tiny; or it is lighter than a light background, as where a flow cell is
    lit in its middle.
    """
    if size is None or size.like_background:
        return True
    if size.feret_um < SMALLEST_UM:
        return size.area_um2 < _SOLID_UM2 or abs(grey.background - size.mean_grey) < _NEAR
    return size.mean_grey > grey.background >= 128


def is_faint(grey: Grey) -> bool:
    """True where no pixel is far from the background. Costs a microsecond."""
    darkest, lightest, _, _ = cv2.minMaxLoc(grey.pixels)
    return max(grey.background - darkest, lightest - grey.background) < _NEAR


def shows_nothing(grey: U8, um_per_px: float) -> bool:
    """True where grey (H, W) uint8 holds nothing as long as the smallest particle.

    The background is modelled as one value per column (stripes of the line scan) plus a smooth
    curve down the rows (a gradient or shadow). Pixels that differ from it by more than the noise,
    lighter or darker, are joined over small gaps, so that a faint or broken particle is not lost.
    In doubt the image shows a particle. In a small image, cropped closely or at another scale,
    half of the longer side is long enough.
    """
    factor = -(-max(grey.shape) // _MAX_SIDE_PX)
    if factor > 1:
        side = [max(1, length // factor) for length in grey.shape[::-1]]
        grey = np.asarray(cv2.resize(grey, side, interpolation=cv2.INTER_AREA), np.uint8)
    smallest = min(SMALLEST_UM / (um_per_px * factor), max(grey.shape) / 2)
    contrast = _subtract_background(grey)
    noise = _noise(grey)
    mask = np.abs(contrast) > max(_SINGLE, _SINGLE_NOISES * noise)
    soft = cv2.blur(contrast.astype(np.float32), (3, 3))
    mask |= np.abs(soft) > max(_SOFT, min(_SOFT_NOISES * noise, _SOFT_MAX))
    reach = _REACH if noise < _NOISY else _REACH_NOISY
    enough = smallest + reach - 2  # between centres of the outermost pixels, widened by joining
    return not _has_piece(mask, reach, enough)


def _has_piece(mask: NDArray[np.bool_], reach: int, enough: float) -> bool:
    """True where a joined piece has two pixels at a distance of ``enough`` px or more."""
    # padded: at the frame a piece would be dilated to one side only
    canvas = cv2.copyMakeBorder(
        mask.view(np.uint8), reach, reach, reach, reach, cv2.BORDER_CONSTANT
    )
    joined = cv2.dilate(canvas, np.ones((reach, reach), np.uint8))
    pieces, _ = cv2.findContours(joined, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    slanted = []
    for piece in pieces:
        _, _, width, height = cv2.boundingRect(piece)
        if max(width, height) - 1 >= enough:
            return True
        if math.hypot(width, height) >= enough:
            slanted.append(cv2.convexHull(piece))
    return any(distance >= enough for distance in largest_distances(slanted))


def _subtract_background(grey: U8) -> NDArray[np.int16]:
    """The image minus a second-degree curve down the rows, and minus each column's background.

    A column's background is its median or, where a particle may cover more than half of the
    column, one of its quartiles: the value nearest to zero is taken.
    """
    contrast = grey.astype(np.int16)
    rows, columns = grey.shape
    course = np.sort(contrast, axis=1)[:, columns // 2]
    middle = np.sort(course)[rows // 2]
    contrast -= middle
    if rows > 8 and (course != middle).any():
        y = np.linspace(-1, 1, rows)
        powers = np.stack((np.ones(rows), y, y * y))
        # normal equations by sums: with only three unknowns, so that BLAS starts no threads
        fitted = np.linalg.solve(
            (powers[:, None] * powers[None]).sum(axis=2),
            (powers * (course - middle)).sum(axis=1),
        )
        contrast -= np.rint((fitted[:, None] * powers).sum(axis=0)).astype(np.int16)[:, None]
    quartiles = np.sort(contrast, axis=0)[[rows // 4, rows // 2, rows * 3 // 4]]
    nearest = np.abs(quartiles).argmin(axis=0)
    contrast -= np.take_along_axis(quartiles, nearest[None], axis=0)
    return contrast


def _noise(grey: U8) -> float:
    """Standard deviation of the noise, from differences between neighbours in a column.

    Few of these differences belong to a particle.
    """
    if len(grey) < 2:
        return 0.0
    steps = np.bincount(cv2.absdiff(grey[1:], grey[:-1]).ravel(), minlength=256).cumsum()
    return int(np.searchsorted(steps, steps[-1] / 2)) / _NORMAL
