"""Outlines of particles against their own background, a sheet of images at a time.

On a crop of 80 px a call costs more than the work it does, so images of about the same
width are laid below one another on a sheet, a margin around each, and most steps are
done once for the whole sheet. An image's outline does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.imaging.preprocess import Grey

U8 = NDArray[np.uint8]
Integers = NDArray[np.int64]

MIN_SIDE_PX = 3  # below it an image has no inside to tell from its border
MARGIN = 2  # px around an image: closing would bridge a gap of two pixels to the next one

_EDGE = 0.75  # of Otsu's threshold: keeps antennae that are paler than the body
_MIN_CONTRAST = 12.0  # grey levels
_NOISE = 4 * 1.4826  # four standard deviations, from the half width of the middle half
_STRIPE = 24  # how far a column's own background may lie from the border's median
_RIVAL = 0.25  # of the largest outline's area: an antenna or speck is far below it
_RIVAL_PX = 4.0  # anything smaller is no rival
_EDGE_ROWS = np.arange(3)
_SHEET_PX = 2**18


@dataclass(frozen=True, slots=True)
class Sheet:
    """Images one below the other; they begin in column ``MARGIN``.

    paper: (rows, columns) uint8, particles dark; 255 where no image lies.
    turned: (n,) bool, images that were light on dark. tops, heights, widths: (n,) px.
    """

    paper: U8
    turned: NDArray[np.bool_]
    tops: Integers
    heights: Integers
    widths: Integers

    @classmethod
    def of(cls, greys: Sequence[Grey]) -> Sheet:
        """Lay n images, sides of ``MIN_SIDE_PX`` px or more, on one sheet."""
        heights, widths = np.array([grey.pixels.shape for grey in greys], np.int64).T
        spans = heights + 2 * MARGIN
        tops = np.cumsum(spans) - spans + MARGIN
        paper: U8 = np.full((spans.sum(), widths.max() + 2 * MARGIN), 255, np.uint8)
        turned = np.zeros(len(greys), np.bool_)
        for number, (grey, top) in enumerate(zip(greys, tops.tolist(), strict=True)):
            pixels = grey.pixels
            if cv2.mean(pixels)[0] > grey.quarters[2]:
                turned[number] = True
                pixels = ~pixels
            height, width = pixels.shape
            paper[top : top + height, MARGIN : MARGIN + width] = pixels
        return cls(paper, turned, tops, heights, widths)

    @property
    def spans(self) -> Integers:
        """Rows of each image, its margins included: (n,)."""
        return self.heights + 2 * MARGIN

    def views(self, canvas: U8) -> Iterator[U8]:
        """The part of a canvas as large as the sheet that each image covers."""
        for top, height, width in zip(
            self.tops.tolist(), self.heights.tolist(), self.widths.tolist(), strict=True
        ):
            yield canvas[top : top + height, MARGIN : MARGIN + width]


def deal(greys: Sequence[Grey]) -> list[list[int]]:
    """The indices of images to lay on each sheet: of similar width, not too many."""
    hands: list[list[int]] = []
    narrowest = pixels = 0
    for index in sorted(range(len(greys)), key=lambda i: greys[i].pixels.shape[1]):
        height, width = greys[index].pixels.shape
        if not hands or width > 2 * narrowest + 40 or pixels + height * width > _SHEET_PX:
            hands.append([])
            narrowest, pixels = width, 0
        hands[-1].append(index)
        pixels += height * width
    return hands


def outlines(sheet: Sheet, greys: Sequence[Grey]) -> list[Any]:
    """The outline of the particle in each of a sheet's images; None where nothing stands out."""
    return pieces(sheet, greys)[0]


def pieces(sheet: Sheet, greys: Sequence[Grey]) -> tuple[list[Any], dict[int, list[Any]]]:
    """``outlines`` and, by the image's number, those of the particle's rivals.

    Rivals are further pieces that enclose at least ``_RIVAL`` of what the largest does.
    Outlines are OpenCV's: int32 (m, 1, 2), x and y on the sheet of the outermost pixels'
    centres, straight runs shortened to their ends; holes are left out.
    """
    found, _ = cv2.findContours(
        _closed(_mask(sheet, greys)), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    owner: list[int] = np.repeat(np.arange(len(greys)), sheet.spans).tolist()
    best: list[Any] = [None] * len(greys)
    areas = [-1.0] * len(greys)
    large: list[tuple[int, float, Any]] = []
    for outline in found:
        number = owner[int(outline.item(1))]
        # specks of up to three corners enclose next to nothing: any other outline is taken first
        area = cv2.contourArea(outline) if len(outline) > 3 else -0.5
        if area > areas[number]:
            best[number], areas[number] = outline, area
        if area >= _RIVAL_PX:
            large.append((number, area, outline))
    rivals: dict[int, list[Any]] = {}
    for number, area, outline in large:
        if area >= _RIVAL * areas[number] and outline is not best[number]:
            rivals.setdefault(number, []).append(outline)
    return best, rivals


def _mask(sheet: Sheet, greys: Sequence[Grey]) -> U8:
    """The pixels that stand out from their background: (rows, columns) uint8, 0 or 255.

    The camera is a line scan: a soiled pixel makes a vertical stripe. So the background
    is taken per column, from the image's first and last rows (the lighter of the two
    means, as a particle or speck may lie on one of them), within ``_STRIPE`` of the
    border's median. The noise is half the width of the narrowest half of the border's
    values (lower, middle or upper), two thirds of a standard deviation where they are
    normal, and small even where the particle holds nearly half of the border.
    """
    quarters = np.array([grey.quarters for grey in greys], np.int16)
    noise = (quarters[:, (2, 3, 4)] - quarters[:, (0, 1, 2)]).min(axis=1) / 2
    ground = np.where(sheet.turned, 255 - quarters[:, 2], quarters[:, 2])[:, None]
    above = sheet.paper[sheet.tops[:, None] + _EDGE_ROWS].sum(axis=1, dtype=np.int16)
    bottoms = sheet.tops + sheet.heights
    below = sheet.paper[bottoms[:, None] - 1 - _EDGE_ROWS].sum(axis=1, dtype=np.int16)
    column = (np.maximum(above, below) + 1) // 3  # the mean, rounded
    column = column.clip((ground - _STRIPE).clip(0), (ground + _STRIPE).clip(None, 255))
    background = np.repeat(column.astype(np.uint8), sheet.spans, axis=0)
    contrast: Any = cv2.subtract(background, sheet.paper)
    otsu = [cv2.threshold(view, 0, 255, cv2.THRESH_OTSU)[0] for view in sheet.views(contrast)]
    level = np.maximum(np.maximum(_EDGE * np.array(otsu), _MIN_CONTRAST), _NOISE * noise)
    # contrast beyond the level is grey below background less level
    limit = (column - level.astype(np.int16)[:, None]).clip(0).astype(np.uint8)
    mask: Any = cv2.compare(sheet.paper, np.repeat(limit, sheet.spans, axis=0), cv2.CMP_LT)
    out: U8 = mask
    return out


def _closed(mask: U8) -> U8:
    """Morphological closing by 3 x 3, with nothing around.

    By shifted copies of the whole, in a third of the time of ``cv2.morphologyEx``.
    """
    rows, columns = mask.shape
    # empty around: one row's end must not touch the next one's begin, and the outermost
    # rows are not worked on
    framed = np.zeros((rows + 4, columns + 2), np.uint8)
    framed[2:-2, 1:-1] = mask
    flat, wide = framed.ravel(), columns + 2
    for combine in (np.bitwise_or, np.bitwise_and):
        for step in (1, wide):
            out = np.zeros_like(flat)
            inner = out[step:-step]
            combine(flat[: -2 * step], flat[2 * step :], out=inner)
            combine(inner, flat[step:-step], out=inner)
            flat = out
    return flat.reshape(framed.shape)[2:-2, 1:-1]
