"""Finds the outlines of particles, for a whole mosaic of images at once.

On a crop of 80 px a call costs more than its work. So images of similar width are placed below
one another in a mosaic, with a margin around each, and most steps run once for the whole
mosaic. An image's outline does not depend on its neighbours.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.imaging.preprocess import Grey

U8 = NDArray[np.uint8]
Integers = NDArray[np.int64]

MIN_SIDE_PX = 3  # a smaller image has no inside, only a border
MARGIN = 2  # px around an image, so that closing does not bridge the gap to the next one

_EDGE = 0.75  # factor on Otsu's threshold: keeps antennae that are paler than the body
_MIN_CONTRAST = 12.0  # grey levels
_NOISE = 4 * 1.4826  # four standard deviations, from the half width of the middle half
_STRIPE = 24  # how far a column's own background may lie from the border's median
_COMPARABLE = 0.25  # of the largest outline's area: an antenna or speck is far below it
_COMPARABLE_PX = 4.0  # a smaller outline is never comparable
_EDGE_ROWS = np.arange(3)
_OTSU = cv2.THRESH_OTSU | getattr(cv2, "THRESH_DRYRUN", 0)  # the threshold alone, if OpenCV can
_MOSAIC_PX = 2**18


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Images one below the other; they begin in column ``MARGIN``.

    canvas: (rows, columns) uint8, particles dark; 255 outside the images.
    inverted: (n,) bool, images that were light on dark. tops, heights, widths: (n,) px.
    """

    canvas: U8
    inverted: NDArray[np.bool_]
    tops: Integers
    heights: Integers
    widths: Integers

    @classmethod
    def of(cls, greys: Sequence[Grey]) -> Mosaic:
        """Place n images, with sides of ``MIN_SIDE_PX`` px or more, in one mosaic."""
        heights, widths = np.array([grey.pixels.shape for grey in greys], np.int64).T
        spans = heights + 2 * MARGIN
        tops = np.cumsum(spans) - spans + MARGIN
        canvas: U8 = np.full((spans.sum(), widths.max() + 2 * MARGIN), 255, np.uint8)
        inverted = np.zeros(len(greys), np.bool_)
        for number, (grey, top) in enumerate(zip(greys, tops.tolist(), strict=True)):
            pixels = grey.pixels
            if cv2.mean(pixels)[0] > grey.quartiles[2]:
                inverted[number] = True
                pixels = ~pixels
            height, width = pixels.shape
            canvas[top : top + height, MARGIN : MARGIN + width] = pixels
        return cls(canvas, inverted, tops, heights, widths)

    @property
    def spans(self) -> Integers:
        """Rows of each image including its margins: (n,)."""
        return self.heights + 2 * MARGIN

    def views(self, canvas: U8) -> Iterator[U8]:
        """Each image's part of a canvas of the mosaic's size."""
        for top, height, width in zip(
            self.tops.tolist(), self.heights.tolist(), self.widths.tolist(), strict=True
        ):
            yield canvas[top : top + height, MARGIN : MARGIN + width]


def group_by_width(greys: Sequence[Grey]) -> list[list[int]]:
    """The indices of the images for each mosaic: of similar width, bounded in pixels."""
    groups: list[list[int]] = []
    narrowest = pixels = 0
    for index in sorted(range(len(greys)), key=lambda i: greys[i].pixels.shape[1]):
        height, width = greys[index].pixels.shape
        if not groups or width > 2 * narrowest + 40 or pixels + height * width > _MOSAIC_PX:
            groups.append([])
            narrowest, pixels = width, 0
        groups[-1].append(index)
        pixels += height * width
    return groups


def outlines(mosaic: Mosaic, greys: Sequence[Grey]) -> list[Any]:
    """The outline of the particle in each of a mosaic's images; None where nothing stands out."""
    return find_outlines(mosaic, greys)[0]


def find_outlines(mosaic: Mosaic, greys: Sequence[Grey]) -> tuple[list[Any], dict[int, list[Any]]]:
    """``outlines``, and by the image's number the outlines of comparable pieces.

    Pieces are comparable that enclose at least ``_COMPARABLE`` of the largest one's area.
    Outlines are OpenCV's: int32 (m, 1, 2), x and y in the mosaic of the outermost pixels'
    centres, straight runs shortened to their ends; holes are left out.
    """
    contours, _ = cv2.findContours(
        _closed(_mask(mosaic, greys)), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    starts: list[int] = (mosaic.tops - MARGIN).tolist()
    largest: list[Any] = [None] * len(greys)
    areas = [-1.0] * len(greys)
    candidates: list[tuple[int, float, Any]] = []
    for outline in contours:
        number = bisect_right(starts, outline.item(1)) - 1
        # specks of up to three corners enclose almost nothing: any other outline is preferred
        area = cv2.contourArea(outline) if len(outline) > 3 else -0.5
        if area > areas[number]:
            largest[number], areas[number] = outline, area
        if area >= _COMPARABLE_PX:
            candidates.append((number, area, outline))
    others: dict[int, list[Any]] = {}
    for number, area, outline in candidates:
        if area >= _COMPARABLE * areas[number] and outline is not largest[number]:
            others.setdefault(number, []).append(outline)
    return largest, others


def _mask(mosaic: Mosaic, greys: Sequence[Grey]) -> U8:
    """The pixels that stand out from their background: (rows, columns) uint8, 0 or 255.

    The camera is a line scan: a dirty pixel makes a vertical stripe. So the background is taken
    per column, from the image's first and last rows, within ``_STRIPE`` of the border's median.
    The lighter of the two means is used, as a particle or speck may lie on the other. The noise
    is half the width of the narrowest half of the border's values (lower, middle or upper). For
    normal values that is two thirds of a standard deviation, and it stays small even where the
    particle covers nearly half of the border.
    """
    quartiles = np.array([grey.quartiles for grey in greys], np.int16)
    noise = (quartiles[:, (2, 3, 4)] - quartiles[:, (0, 1, 2)]).min(axis=1) / 2
    border = np.where(mosaic.inverted, 255 - quartiles[:, 2], quartiles[:, 2])[:, None]
    above = mosaic.canvas[mosaic.tops[:, None] + _EDGE_ROWS].sum(axis=1, dtype=np.int16)
    bottoms = mosaic.tops + mosaic.heights
    below = mosaic.canvas[bottoms[:, None] - 1 - _EDGE_ROWS].sum(axis=1, dtype=np.int16)
    column = (np.maximum(above, below) + 1) // 3  # the mean, rounded
    column = np.maximum(column, np.maximum(border - _STRIPE, 0))
    column = np.minimum(column, np.minimum(border + _STRIPE, 255))
    background = np.repeat(column.astype(np.uint8), mosaic.spans, axis=0)
    contrast: Any = cv2.subtract(background, mosaic.canvas)
    otsu = [cv2.threshold(view, 0, 255, _OTSU)[0] for view in mosaic.views(contrast)]
    level = np.maximum(np.maximum(_EDGE * np.array(otsu), _MIN_CONTRAST), _NOISE * noise)
    # contrast > level means grey < background - level
    limit = np.maximum(column - level.astype(np.int16)[:, None], 0).astype(np.uint8)
    mask: Any = cv2.compare(mosaic.canvas, np.repeat(limit, mosaic.spans, axis=0), cv2.CMP_LT)
    out: U8 = mask
    return out


def _closed(mask: U8) -> U8:
    """Morphological closing by 3 x 3, with an empty surrounding.

    Made from shifted copies of the whole array, in a third of the time of ``cv2.morphologyEx``.
    """
    rows, columns = mask.shape
    # an empty frame: the end of a row must not touch the start of the next, and the outermost
    # rows are not processed
    framed = np.zeros((rows + 4, columns + 2), np.uint8)
    framed[2:-2, 1:-1] = mask
    flat, wide = framed.ravel(), columns + 2
    for combine in (np.bitwise_or, np.bitwise_and):
        for step in (1, wide):
            out = np.empty_like(flat)
            out[:step] = out[-step:] = 0
            inner = out[step:-step]
            combine(flat[: -2 * step], flat[2 * step :], out=inner)
            combine(inner, flat[step:-step], out=inner)
            flat = out
    return flat.reshape(framed.shape)[2:-2, 1:-1]
