"""Measures a particle's size and shape in µm from its silhouette.

Lengths and areas are those of the silhouette, i.e. of the projection on the camera, with
appendages. The edge is drawn at about a third of the particle's contrast. Moving it between a
quarter and a half changes the area of a genuine Pi-10 crop by about 10 % either way, so that is
the accuracy of the sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import InputError
from pi10_classifier.imaging.decode import CAPS, Caps, decode
from pi10_classifier.imaging.preprocess import Grey
from pi10_classifier.imaging.segmentation import (
    MARGIN,
    MIN_SIDE_PX,
    Mosaic,
    find_outlines,
    group_by_width,
)
from pi10_classifier.instrument.names import UM_PER_PX

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

MIN_AREA_PX = 9  # smaller is a speck; the instrument's smallest particle is 18 px long
MAX_SIDE_PX = 2048  # longer images are reduced by a whole factor, to bound time and memory

STRIPE_PX = 12  # stripes of the line scan are narrower
SMALLEST_UM = 180.0  # the smallest particle that the instrument saves

_KULPA = math.pi / 8 * (1 + math.sqrt(2))


def border_grey(data: bytes, caps: Caps = CAPS) -> float | None:
    """Mean grey (0 to 255) of an image's outermost pixels; None where it cannot be decoded.

    For Background.tif this is the brightness of the empty flow cell.
    """
    try:
        grey = Grey.of(decode(data, caps).rgb).pixels
    except InputError:
        return None
    edge = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    return float(edge.mean())


class Measurement(NamedTuple):
    """Size and shape of one silhouette.

    area_um2: pixels of the silhouette, holes filled, times the pixel's area.
    esd_um: equivalent spherical diameter, 2 sqrt(area / pi).
    major_um, minor_um: axes of the ellipse with the silhouette's second moments,
        4 sqrt(eigenvalue), as scikit-image's ``regionprops`` defines them.
    eccentricity: sqrt(1 - (minor / major)²) of that ellipse: 0 for a circle, up to 1.
    angle_deg: from the rows of the image to the major axis, counterclockwise as one looks at it,
        0 up to (not including) 180 degrees.
    feret_um: maximum caliper, the largest distance of two pixel centres plus one pixel.
    perimeter_um: 0.948 (Ne + sqrt(2) No) + pi pixels: the chain code of the outline
        with Kulpa's correction (Kulpa 1977, Computer Graphics and Image Processing
        6:434, https://doi.org/10.1016/S0146-664X(77)80021-X), moved half a pixel
        outwards from the pixel centres (Steiner's formula).
    solidity: area over the area of the convex hull's pixels, 0..1.
    mean_grey: mean luma (ITU-R 601) inside the silhouette, 0..255, as recorded.
    grey_sd: standard deviation of that luma, in grey levels.
    touches_border: the frame cuts the silhouette, so its sizes are lower bounds.
    like_background: it may not be a particle: two or more sides of the frame cut it, as with a
        shadow, or it is narrow and runs down more than half of the image, as with a stripe of
        the line scan.
    objects: number of comparable silhouettes, including this one: others count that have at
        least a quarter of its area and are as long as the smallest particle.
    """

    area_um2: float
    esd_um: float
    major_um: float
    minor_um: float
    eccentricity: float
    angle_deg: float
    feret_um: float
    perimeter_um: float
    solidity: float
    mean_grey: float
    grey_sd: float
    touches_border: bool
    like_background: bool = False
    objects: int = 1


def measure(rgb: U8, um_per_px: float = UM_PER_PX) -> Measurement | None:
    """Measure the particle in an RGB image (H, W, 3) uint8; None where nothing stands out.

    Where the image shows several pieces, only the largest is measured, together with anything
    within two pixels of it (an antenna broken by noise). Other pieces, specks or neighbours, are
    ignored. Particles may be dark on light or light on dark, but the background must cover more
    than half of the image's border. Images longer than ``MAX_SIDE_PX`` are first reduced by a
    whole factor.
    """
    longest = max(rgb.shape[:2])
    if longest > MAX_SIDE_PX:
        factor = -(-longest // MAX_SIDE_PX)
        height, width = rgb.shape[0] // factor, rgb.shape[1] // factor
        if min(height, width) < MIN_SIDE_PX:
            return None
        whole = rgb[: height * factor, : width * factor]
        rgb = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        um_per_px *= factor
    return measure_greys([Grey.of(rgb)], um_per_px)[0]


def measure_greys(greys: Sequence[Grey], um_per_px: float = UM_PER_PX) -> list[Measurement | None]:
    """``measure`` for many images of up to ``MAX_SIDE_PX`` at once, which is much faster."""
    sizes: list[Measurement | None] = [None] * len(greys)
    large = [i for i, grey in enumerate(greys) if min(grey.pixels.shape) >= MIN_SIDE_PX]
    for group in group_by_width([greys[i] for i in large]):
        indices = [large[i] for i in group]
        in_mosaic = [greys[i] for i in indices]
        mosaic = Mosaic.of(in_mosaic)
        largest, others = find_outlines(mosaic, in_mosaic)
        for index, size in zip(indices, _describe(mosaic, largest, others, um_per_px), strict=True):
            sizes[index] = size
    return sizes


def _describe(
    mosaic: Mosaic, largest: list[Any], others: dict[int, list[Any]], um_per_px: float
) -> list[Measurement | None]:
    out: list[Measurement | None] = [None] * len(largest)
    seen = [number for number, outline in enumerate(largest) if outline is not None]
    if not seen:
        return out
    boxes = [cv2.boundingRect(largest[number]) for number in seen]
    cut_out = CutOut.of(mosaic, seen, [largest[number] for number in seen], boxes)
    hulls = [cv2.convexHull(outline) for outline in cut_out.outlines]
    sums = _sums(cut_out, _filled(cut_out, cut_out.outlines), _filled(cut_out, hulls))
    frames = _frames(mosaic)
    rows = zip(seen, cut_out.outlines, boxes, largest_distances(hulls), sums.tolist(), strict=True)
    for number, outline, (left, top, width, height), longest, sums_ in rows:
        area, x, xx, y, yy, xy, grey, hull_area, squares = sums_
        if area < MIN_AREA_PX:
            continue
        second = (
            xx / area - (x / area) ** 2, yy / area - (y / area) ** 2, xy / area - x * y / area**2
        )  # fmt: skip
        major, minor = _axes(*second)
        first_x, first_y, end_x, end_y = frames[number]
        cut = (
            (left == first_x) + (top == first_y) + (left + width == end_x) + (top + height == end_y)
        )
        narrow = width <= STRIPE_PX and height > max(2 * width, (end_y - first_y) / 2)
        out[number] = Measurement(
            area * um_per_px**2,
            2 * math.sqrt(area / math.pi) * um_per_px,
            major * um_per_px,
            minor * um_per_px,
            math.sqrt(1 - (minor / major) ** 2) if major else 0.0,
            _angle(*second),
            (longest + 1) * um_per_px,
            (_KULPA * cv2.arcLength(outline, closed=True) + math.pi) * um_per_px,
            area / hull_area,
            grey / area,
            math.sqrt(max(squares * area - grey**2, 0.0)) / area,
            cut > 0,
            cut > 1 or narrow,
            1 + _count_long(others[number], um_per_px) if number in others else 1,
        )
    return out


def _count_long(outlines: Sequence[Any], um_per_px: float) -> int:
    """How many outlines are as long as the smallest particle."""
    if not outlines:
        return 0
    spans = largest_distances([cv2.convexHull(outline) for outline in outlines])
    return sum((span + 1) * um_per_px >= SMALLEST_UM for span in spans)


def _frames(mosaic: Mosaic) -> list[list[int]]:
    """Each image's first column and row in the mosaic, and its end column and row (exclusive)."""
    left = np.full_like(mosaic.tops, MARGIN)
    frames = (left, mosaic.tops, left + mosaic.widths, mosaic.tops + mosaic.heights)
    rows: list[list[int]] = np.stack(frames, axis=1).tolist()
    return rows


@dataclass(frozen=True, slots=True)
class CutOut:
    """The boxes of n outlines, one below the other: half of a mosaic's pixels are outside them.

    canvas: (rows, columns) uint8, particles dark; anything right of a box. outlines: moved to it.
    tops, heights: (n,) of the boxes in it, px. x, y: (n,) of the boxes, x from the mosaic's left
    and y from the image's top. inverted: (n,) as of the mosaic.
    """

    canvas: U8
    outlines: list[Any]
    tops: I64
    heights: I64
    x: I64
    y: I64
    inverted: NDArray[np.bool_]

    @classmethod
    def of(
        cls, mosaic: Mosaic, numbers: list[int], outlines: list[Any], boxes: list[Any]
    ) -> CutOut:
        """numbers: of the images that the outlines are of. boxes: left, top, width, height."""
        x, y, widths, heights = np.array(boxes, np.int64).T
        tops = heights.cumsum() - heights
        canvas: U8 = np.empty((int(heights.sum()), int(widths.max())), np.uint8)
        for (left, top, width, height), row in zip(boxes, tops.tolist(), strict=True):
            canvas[row : row + height, :width] = (
                mosaic.canvas[top : top + height, left : left + width]
            )  # fmt: skip
        counts = [len(outline) for outline in outlines]
        moved = np.concatenate(outlines)
        shifts = np.stack((x, y - tops), axis=1).astype(np.int32)
        moved -= np.repeat(shifts, counts, axis=0)[:, None]
        ends = list(accumulate(counts))
        pieces = [moved[end - count : end] for end, count in zip(ends, counts, strict=True)]
        return cls(
            canvas, pieces, tops, heights, x, y - mosaic.tops[numbers], mosaic.inverted[numbers]
        )


def _filled(cut_out: CutOut, polygons: Sequence[Any]) -> U8:
    """A canvas of the cut-out's size: 1 inside the polygons and on their edges, else 0."""
    canvas = np.zeros_like(cut_out.canvas)
    cv2.fillPoly(canvas, polygons, (1,))
    return canvas


def _sums(cut_out: CutOut, inside: U8, hulls: U8) -> F64:
    """Sums over each silhouette: (n, 9) float64, whole numbers.

    The columns: pixels, x, x squared, y, y squared, x y, grey value, pixels of the hull, and grey
    value squared.
    x counts from the mosaic's left, y from the image's top, in px.
    """
    rows, columns = inside.shape
    middle = columns // 2
    x = np.arange(columns)
    y = np.arange(rows) - np.repeat(cut_out.tops, cut_out.heights)
    greys = inside * cut_out.canvas
    by_row = np.empty((9, rows))
    count, sum_x, sum_xx, sum_y, sum_yy, sum_xy, grey, hull_count, squares = by_row
    # without ``@`` or ``cv2.gemm``: BLAS would start threads in addition to the pipeline's
    count[:] = _row_sums(inside)
    sum_x[:] = _row_sums(inside * _smallest_dtype(x))
    sum_xx[:] = _row_sums(inside * _smallest_dtype((x - middle) ** 2))
    sum_xx += middle * (2 * sum_x - middle * count)
    np.multiply(y, count, out=sum_y)
    np.multiply(y, sum_y, out=sum_yy)
    np.multiply(y, sum_x, out=sum_xy)
    grey[:], hull_count[:], squares[:] = map(_row_sums, (greys, hulls, _squares(greys)))
    sums = np.add.reduceat(by_row, cut_out.tops, axis=1)
    count, sum_x, sum_xx, sum_y, sum_yy, sum_xy, grey, hull_count, squares = sums
    # from the box's corner to where x and y count from; whole numbers, so nothing is rounded
    left, top = cut_out.x, cut_out.y
    sum_xy += left * sum_y + top * (sum_x + left * count)
    sum_xx += left * (2 * sum_x + left * count)
    sum_yy += top * (2 * sum_y + top * count)
    sum_x += left * count
    sum_y += top * count
    # grey values as recorded: on the canvas all particles are dark
    if cut_out.inverted.any():
        dark = grey.copy()
        grey[:] = np.where(cut_out.inverted, 255 * count - dark, dark)
        squares += np.where(cut_out.inverted, 255 * (255 * count - 2 * dark), 0)
    out: F64 = sums.T
    return out


def _squares(values: U8) -> NDArray[Any]:
    """Squares in a type whose sums along a row are exact in ``_row_sums``."""
    exact = values.shape[1] * 255**2 < 2**24
    wide: NDArray[Any] = values.astype(np.uint16 if exact else np.float64)
    wide *= wide
    return wide


def _smallest_dtype(weights: NDArray[np.int64]) -> NDArray[Any]:
    """Weights in the smallest type that holds them: uint8, uint16, else float64."""
    largest = int(weights.max())
    return weights.astype(np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else float)


def _row_sums(canvas: NDArray[Any]) -> NDArray[Any]:
    """Exact sums along each row of uint8, uint16 (up to 512 columns) or float64: (rows,)."""
    kind = {1: cv2.CV_32S, 2: cv2.CV_32F, 8: cv2.CV_64F}[canvas.dtype.itemsize]
    sums: Any = cv2.reduce(canvas, 1, cv2.REDUCE_SUM, dtype=kind)
    out: NDArray[Any] = sums[:, 0]
    return out


def _axes(xx: float, yy: float, xy: float) -> tuple[float, float]:
    """Axes, px, of the ellipse with these second central moments, px squared."""
    spread = math.hypot(xx - yy, 2 * xy)
    return math.sqrt(8 * (xx + yy + spread)), math.sqrt(8 * max(xx + yy - spread, 0.0))


def _angle(xx: float, yy: float, xy: float) -> float:
    """Angle, degrees, of the major axis of these moments; y counts downwards in an image."""
    return math.degrees(math.atan2(-2 * xy, xx - yy)) / 2 % 180.0


def largest_distances(hulls: Sequence[Any]) -> list[float]:
    """Largest distance, px, between vertices of each hull (m, 1, 2) int32."""
    if not hulls:
        return []
    counts = np.array([len(hull) for hull in hulls])
    corners = np.concatenate(hulls)[:, 0]
    # each hull's own corners, the last one repeated up to the number of the longest
    place = np.minimum(np.arange(counts.max()), counts[:, None] - 1)
    place += (counts.cumsum() - counts)[:, None]
    x, y = corners[place, 0], corners[place, 1]
    squared, across = x[:, :, None] - x[:, None], y[:, :, None] - y[:, None]
    squared *= squared
    across *= across
    squared += across
    longest: list[float] = np.sqrt(squared.reshape(len(hulls), -1).max(axis=1)).tolist()
    return longest
