"""Outlines of land for the map, from the grid that the package ships."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from pi10_classifier.abundance.coastline import DEGREES, near_land

MOST_CELLS = 700  # of a side of the grid that is outlined; wider maps are coarser

Outline = list[tuple[float, float]]


@lru_cache(maxsize=32)
def outlines(west: int, south: int, east: int, north: int) -> list[Outline]:
    """Closed outlines of land, (longitude, latitude), within whole degrees.

    Outlines of water inside land run the other way round, as fills by winding number expect.
    The grid has 0.05 degrees and is of cells near land, so the outlines lie up to about 5 km
    off the shore; a lagoon or strait of that width is closed.
    """
    window = near_land(west, south, east, north)
    # the grid's cells are land and their neighbours: back by one cell, which keeps small islands
    land = cv2.erode(window.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    coarse = max(1, -(-max(land.shape) // MOST_CELLS))
    if coarse > 1:
        rows, columns = (side // coarse * coarse for side in land.shape)
        blocks = land[:rows, :columns].reshape(rows // coarse, coarse, columns // coarse, coarse)
        land = (blocks.mean(axis=(1, 3)) >= 0.5).astype(np.uint8)
    # twice as fine and with a rim, so that cells get area and land at the rim is closed
    large = cv2.copyMakeBorder(land.repeat(2, 0).repeat(2, 1), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    found: tuple[Any, Any] = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cell = DEGREES * coarse / 2
    out = []
    for contour in found[0]:
        smooth = cv2.approxPolyDP(contour, 0.9, closed=True)[:, 0, :]
        if len(smooth) < 3:
            smooth = contour[:, 0, :]
        points = [
            (round(west + (x - 0.5) * cell, 3), round(north - (y - 0.5) * cell, 3))
            for x, y in smooth.tolist()
        ]
        out.append([*points, points[0]])
    return out
