"""The particle's size and shape in µm, from its silhouette against its own background.

Lengths and areas are those of the silhouette, i.e. of the projection on the camera,
appendages included. The edge is drawn at about a third of the particle's contrast;
moving it between a quarter and a half changes the area of a genuine Pi-10 crop by
about 10 % either way, so sizes are no better than that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.preprocess import border

U8 = NDArray[np.uint8]

PI10_UM_PER_PX = 10.0
MIN_SIDE_PX = 3  # below it an image has no inside to tell from its border
MIN_AREA_PX = 9  # a speck; the instrument's smallest particle is 18 px long
MAX_SIDE_PX = 2048  # longer images are halved, thirded, ... first: bounds time and memory

_EDGE = 0.75  # of Otsu's threshold: keeps antennae that are paler than the body
_MIN_CONTRAST = 12.0  # grey levels
_NOISE = 4 * 1.4826  # four standard deviations, from the half width of the middle half
_STRIPE = 24  # how far a column's own background may lie from the border's median
_EDGE_ROWS = 3
_KERNEL = np.ones((3, 3), np.uint8)
_KULPA = math.pi / 8 * (1 + math.sqrt(2))


@dataclass(frozen=True, slots=True)
class Measurement:
    """Size and shape of one silhouette.

    area_um2: pixels of the silhouette, holes filled, times the pixel's area.
    esd_um: equivalent spherical diameter, 2 sqrt(area / pi).
    major_um, minor_um: axes of the ellipse with the silhouette's second moments,
        4 sqrt(eigenvalue), as scikit-image's ``regionprops`` defines them.
    feret_um: maximum caliper, the largest distance of two pixel centres plus one pixel.
    perimeter_um: 0.948 (Ne + sqrt(2) No) + pi pixels: the chain code of the outline
        with Kulpa's correction (Kulpa 1977, Computer Graphics and Image Processing
        6:434, https://doi.org/10.1016/S0146-664X(77)80021-X), moved half a pixel
        outwards from the pixel centres (Steiner's formula).
    solidity: area over the area of the convex hull's pixels, 0..1.
    mean_grey: mean luma (ITU-R 601) inside the silhouette, 0..255, as recorded.
    touches_border: the frame cuts the silhouette; its sizes are then lower bounds.
    """

    area_um2: float
    esd_um: float
    major_um: float
    minor_um: float
    feret_um: float
    perimeter_um: float
    solidity: float
    mean_grey: float
    touches_border: bool


def measure(rgb: U8, um_per_px: float = PI10_UM_PER_PX) -> Measurement | None:
    """Measure the particle in an RGB image (H, W, 3) uint8; None where nothing stands out.

    Where the image shows several pieces, only the largest counts, with whatever lies
    within two pixels of it (an antenna broken by noise); the others are ignored, be
    they specks or neighbours. Particles may be dark on light or light on dark, but the
    background must hold more than half of the image's border.
    Images longer than ``MAX_SIDE_PX`` are reduced by a whole factor first.
    """
    longest = max(rgb.shape[:2])
    if longest > MAX_SIDE_PX:
        factor = -(-longest // MAX_SIDE_PX)
        height, width = rgb.shape[0] // factor, rgb.shape[1] // factor
        if min(height, width) < MIN_SIDE_PX:
            return None
        whole = rgb[: height * factor, : width * factor]
        rgb = _u8(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))
        um_per_px *= factor
    if min(rgb.shape[:2]) < MIN_SIDE_PX:
        return None
    grey = _u8(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    outline = silhouette(grey)
    return None if outline is None else _describe(outline, grey, um_per_px)


def silhouette(grey: U8) -> Any:
    """Grey image (H, W) uint8, sides of 3 px or more -> the particle's outline or None.

    The outline is OpenCV's: int32 (n, 1, 2), x and y of the outermost pixels' centres,
    straight runs shortened to their ends; holes are left out.
    """
    contrast, noise = _contrast(grey)
    otsu, _ = cv2.threshold(contrast, 0, 255, cv2.THRESH_OTSU)
    level = max(_EDGE * otsu, _MIN_CONTRAST, _NOISE * noise)
    _, mask = cv2.threshold(contrast, level, 255, cv2.THRESH_BINARY)
    # Closing with an empty surround never reaches the frame; the particle itself may.
    closed = cv2.morphologyEx(
        mask, cv2.MORPH_CLOSE, _KERNEL, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    cv2.bitwise_or(closed, mask, closed)
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return None
    # specks of up to three corners enclose next to nothing: look at the others first
    return max([o for o in outlines if len(o) > 3] or outlines, key=cv2.contourArea)


def _contrast(grey: U8) -> tuple[U8, float]:
    """Difference from the background, positive in the particle, and the border's noise.

    The camera is a line scan: a soiled pixel makes a vertical stripe. So the background
    is taken per column, from the image's first and last rows (the lighter of the two
    means, as a particle or speck may lie on one of them), within ``_STRIPE`` of the
    border's median. The noise is half the width of the narrowest half of the border's
    values (lower, middle or upper), two thirds of a standard deviation where they are
    normal, and small even where the particle holds nearly half of the border.
    """
    edge = sorted(border(grey)[::2].tobytes())  # quicker than numpy for so few
    lowest, low, ground, high, highest = (edge[(len(edge) - 1) * k // 4] for k in range(5))
    noise = min(ground - lowest, high - low, highest - ground) / 2
    if cv2.mean(grey)[0] > ground:
        grey = _u8(cv2.bitwise_not(grey))
        ground = 255 - ground
    above = cv2.reduce(grey[:_EDGE_ROWS], 0, cv2.REDUCE_AVG)
    below = cv2.reduce(grey[-_EDGE_ROWS:], 0, cv2.REDUCE_AVG)
    column = cv2.max(above, below)
    column = cv2.min(cv2.max(column, max(ground - _STRIPE, 0)), min(ground + _STRIPE, 255))  # type: ignore[call-overload]
    return _u8(cv2.subtract(cv2.repeat(column, grey.shape[0], 1), grey)), noise


def _describe(outline: Any, grey: U8, um_per_px: float) -> Measurement | None:
    left, top, width, height = cv2.boundingRect(outline)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [outline], (1,), offset=(-left, -top))
    moments = cv2.moments(mask)
    area = moments["m00"]
    if area < MIN_AREA_PX:
        return None
    major, minor = _axes(moments)
    hull = cv2.convexHull(outline)
    filled_hull = np.zeros((height, width), np.uint8)
    cv2.fillPoly(filled_hull, [hull], (1,), offset=(-left, -top))
    inside = grey[top : top + height, left : left + width]
    frame_h, frame_w = grey.shape
    return Measurement(
        area_um2=area * um_per_px**2,
        esd_um=2 * math.sqrt(area / math.pi) * um_per_px,
        major_um=major * um_per_px,
        minor_um=minor * um_per_px,
        feret_um=(_largest_distance(hull) + 1) * um_per_px,
        perimeter_um=(_KULPA * cv2.arcLength(outline, closed=True) + math.pi) * um_per_px,
        solidity=area / cv2.countNonZero(filled_hull),
        mean_grey=cv2.sumElems(cv2.multiply(inside, mask))[0] / area,
        touches_border=left == 0 or top == 0 or left + width == frame_w or top + height == frame_h,
    )


def _axes(moments: Any) -> tuple[float, float]:
    """Axes, px, of the ellipse with the same second central moments."""
    area = moments["m00"]
    xx, yy, xy = moments["mu20"] / area, moments["mu02"] / area, moments["mu11"] / area
    spread = math.hypot(xx - yy, 2 * xy)
    return math.sqrt(8 * (xx + yy + spread)), math.sqrt(8 * max(xx + yy - spread, 0.0))


def _largest_distance(hull: Any) -> float:
    """Largest distance, px, between vertices of a hull (n, 1, 2) int32."""
    x, y = hull[:, 0, 0], hull[:, 0, 1]
    dx, dy = np.subtract.outer(x, x), np.subtract.outer(y, y)
    return math.sqrt((dx * dx + dy * dy).max())


def _u8(array: Any) -> U8:
    """OpenCV's annotations allow any dtype; these calls keep uint8."""
    typed: U8 = array
    return typed
