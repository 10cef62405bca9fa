"""A pen that draws a particle as opacity on a canvas measured in body lengths.

The body lies along x from -0.5 (head) to 0.5; y grows downwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Points = NDArray[np.float64]
Rng = np.random.Generator

REACH = 1.3  # half the canvas, in body lengths: room for antennae and tentacles
_SHIFT = 4  # fixed-point bits of cv2's coordinates


@dataclass(frozen=True, slots=True)
class Particle:
    """One drawn particle.

    label: copepod, noncopepod or detritus. kind: its name in ``particles.KINDS``. levels: opacity,
    uint8 (H, W), from 0 clear to 255 opaque; each level is half as large as the one before. hull:
    convex hull of the visible part, float32 (N, 2), px of the first level. extent: diameter of the
    hull, px. tint: factor on the opacity per channel, RGB.
    """

    label: str
    kind: str
    levels: tuple[U8, ...]
    hull: NDArray[np.float32]
    extent: float
    tint: tuple[float, float, float]


def curve(
    start: Sequence[float] | Points, angle: float, length: float, bend: float, points: int = 16
) -> Points:
    """A line of ``length`` that starts at ``angle`` and turns by ``bend`` radians: (points, 2)."""
    turns = angle + bend * np.linspace(0.0, 1.0, points - 1)
    steps = np.stack((np.cos(turns), np.sin(turns)), axis=1) * (length / (points - 1))
    path: Points = np.vstack(((0.0, 0.0), np.cumsum(steps, axis=0))) + start
    return path


def rough(outline: Points, amount: float, rng: Rng) -> Points:
    """An outline with bumps of about ``amount``, smoothed over three neighbours."""
    bumps = rng.normal(0, amount, outline.shape)
    return outline + (np.roll(bumps, 1, axis=0) + bumps + np.roll(bumps, -1, axis=0)) / 2


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Points:
    """Outline of an ellipse turned by ``turn`` radians: (48, 2)."""
    t = np.linspace(0.0, 2 * np.pi, 48, endpoint=False)
    along, across = rx * np.cos(t), ry * np.sin(t)
    c, s = np.cos(turn), np.sin(turn)
    return np.stack((x + along * c - across * s, y + along * s + across * c), axis=1)


def spindle(axis: Points, widths: Points | float) -> Points:
    """Outline of a band about ``axis`` (N, 2) with half-widths (N,): (2N, 2)."""
    ahead = np.gradient(axis, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    side = np.stack((-ahead[:, 1], ahead[:, 0]), axis=1) * np.reshape(widths, (-1, 1))
    return np.vstack((axis + side, (axis - side)[::-1]))


class Pen:
    """A canvas of opacity; ``length`` px are one body length."""

    def __init__(self, length: int, rng: Rng) -> None:
        self.length = length
        self.rng = rng
        side = round(2 * REACH * length)
        self.canvas: U8 = np.zeros((side, side), np.uint8)
        cells = rng.random((48, 48), dtype=np.float32)
        grown = cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC)
        self.grain: NDArray[np.float32] = np.clip(np.asarray(grown, np.float32), 0, 1)

    def _lay(
        self,
        points: Points,
        thick: int,
        paint: Callable[[U8, NDArray[np.int32]], None],
        texture: float = 0.0,
        *,
        erase: bool = False,
    ) -> None:
        """Paint one shape on a separate layer, then add its opacity to the canvas, or erase it."""
        px = (points + REACH) * self.length
        side = self.canvas.shape[0]
        x0, y0 = (max(0, int(low) - thick - 2) for low in px.min(axis=0))
        x1, y1 = (min(side, int(high) + thick + 3) for high in px.max(axis=0))
        if x0 >= x1 or y0 >= y1:
            return
        layer: U8 = np.zeros((y1 - y0, x1 - x0), np.uint8)
        paint(layer, np.round((px - (x0, y0)) * (1 << _SHIFT)).astype(np.int32))
        if texture:
            layer = (layer * (1 - np.float32(texture) * self.grain[y0:y1, x0:x1])).astype(np.uint8)
        spot = self.canvas[y0:y1, x0:x1]
        if erase:
            spot[...] = cv2.multiply(spot, 255 - layer, scale=1 / 255)
            return
        spot[...] = 255 - np.asarray(cv2.multiply(255 - spot, 255 - layer, scale=1 / 255), np.uint8)

    def fill(self, outline: Points, opacity: float, *, texture: float = 0.0) -> None:
        """Fill a polygon; ``texture`` 0..1 thins it in irregular patches."""

        def paint(layer: U8, px: NDArray[np.int32]) -> None:
            cv2.fillPoly(layer, [px], (float(opacity),), cv2.LINE_AA, _SHIFT)

        self._lay(outline, 0, paint, texture)

    def clear(self, outline: Points, share: float) -> None:
        """Take a polygon's opacity away; ``share`` 0..255 of it."""

        def paint(layer: U8, px: NDArray[np.int32]) -> None:
            cv2.fillPoly(layer, [px], (float(share),), cv2.LINE_AA, _SHIFT)

        self._lay(outline, 0, paint, erase=True)

    def line(self, path: Points, width: float, opacity: float, *, closed: bool = False) -> None:
        """Draw a line of constant width, at least one pixel."""
        thick = max(1, round(width * self.length))

        def paint(layer: U8, px: NDArray[np.int32]) -> None:
            cv2.polylines(layer, [px], closed, (float(opacity),), thick, cv2.LINE_AA, _SHIFT)

        self._lay(path, thick, paint)

    def limb(self, path: Points, base: float, tip: float, opacity: float) -> None:
        """Draw a tapering limb, from ``base`` to ``tip`` wide but at least one pixel."""
        least = 1.0 / self.length
        widths = np.maximum(np.linspace(base, tip, len(path)), least) / 2
        self.fill(spindle(path, widths), opacity)

    def finish(self, label: str, kind: str, blur: float, tint: tuple[float, ...]) -> Particle:
        """Crop the canvas to the visible part and make the smaller levels.

        blur: standard deviation, body lengths. tint: factor on the opacity, RGB. Raises ValueError
        where nothing is visible.
        """
        canvas = self.canvas
        if blur > 0:
            canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), blur * self.length), np.uint8)
        x, y, w, h = cv2.boundingRect((canvas > 12).astype(np.uint8))
        canvas = canvas[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2]
        visible = cv2.findNonZero((canvas > 12).astype(np.uint8))
        if visible is None:
            raise ValueError(f"the drawn {kind} has no visible pixel")
        hull = np.asarray(cv2.convexHull(visible), np.float32).reshape(-1, 2)
        levels = [np.ascontiguousarray(canvas)]
        while min(levels[-1].shape) >= 16 and len(levels) < 5:
            half = (levels[-1].shape[1] // 2, levels[-1].shape[0] // 2)
            smaller = cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA)
            levels.append(np.asarray(smaller, np.uint8))
        spans = hull[:, None] - hull[None]
        extent = float(np.sqrt((spans**2).sum(axis=2).max()))
        red, green, blue = tint
        return Particle(label, kind, tuple(levels), hull, extent, (red, green, blue))
