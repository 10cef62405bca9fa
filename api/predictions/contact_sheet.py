"""Draws a contact sheet: one PNG of a request's first images with their results."""

from __future__ import annotations

import cv2
import numpy as np

from pi10_classifier.errors import Code, OutputError
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.results.gallery import PICTURE_PX, Picture

COLUMNS = 8
TEXT_PX = 44
GAP = 8
_GROUND, _INK, _PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def contact_sheet(pictures: list[Picture], total: int) -> bytes:
    """A PNG of the pictures with label, score and size. Its first line says how many of ``total``.

    ``total``: the number of images with a result. Text is ASCII: other characters become ``?``.
    """
    columns = max(4, min(COLUMNS, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    cell = PICTURE_PX + GAP
    height = 28 + rows * (cell + TEXT_PX) + GAP
    page: U8 = np.full((height, GAP + columns * cell, 3), 255, np.uint8)
    _write(page, f"{len(pictures)} of {total} images", GAP, 19, _INK, 0.5)
    for number, (label, score, _, esd, rgb) in enumerate(pictures):
        left = GAP + number % columns * cell
        top = 28 + number // columns * (cell + TEXT_PX)
        high, wide = rgb.shape[:2]
        up, over = top + (PICTURE_PX - high) // 2, left + (PICTURE_PX - wide) // 2
        page[up : up + high, over : over + wide] = rgb
        size = f"ESD {esd:,.0f} um" if esd is not None else "no size"
        sure = f" {score:.2f}" if score is not None else ""  # a blank image has no score
        _write(page, f"{label[:16]}{sure}", left, top + PICTURE_PX + 16, _INK, 0.4)
        _write(page, size, left, top + PICTURE_PX + 33, _PALE, 0.4)
    done, data = cv2.imencode(".png", page[:, :, ::-1])
    if not done:
        raise OutputError(Code.INTERNAL, "the contact sheet cannot be drawn; please report")
    return data.tobytes()


def _write(page: U8, text: str, x: int, y: int, ink: tuple[int, int, int], scale: float) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(page, plain, (x, y), _FONT, scale, ink, 1, cv2.LINE_AA)
