"""Draws oscar/hub/icon.png, the icon of the OSCAR Hub crates: one of `pi10 simulate`'s copepods.

python docs/icon.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from pi10_classifier.simulate.particles import draw

ICON = Path(__file__).parents[1] / "oscar" / "hub" / "icon.png"
SIDE, FINE = 256, 4
SEA, ANIMAL = (92, 54, 12), (250, 246, 240)  # blue, green, red


def icon(out: Path) -> None:
    extent = SIDE * FINE
    opacity = draw("copepod", np.random.default_rng(2), extent // 2).levels[0]
    scale = 0.86 * extent / max(opacity.shape)
    opacity = cv2.resize(opacity, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((extent, extent), np.uint8)
    top, left = ((extent - side) // 2 for side in opacity.shape)
    canvas[top : top + opacity.shape[0], left : left + opacity.shape[1]] = opacity
    turn = cv2.getRotationMatrix2D((extent / 2, extent / 2), -35, 1)
    canvas = cv2.warpAffine(canvas, turn, (extent, extent))
    disc = np.zeros_like(canvas)
    cv2.circle(disc, (extent // 2, extent // 2), extent // 2 - FINE, 255, -1, cv2.LINE_AA)
    share = canvas[..., None] / 255.0
    colour = share * np.array(ANIMAL) + (1 - share) * np.array(SEA)
    picture = np.dstack([colour.astype(np.uint8), disc])
    picture = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    icon(Path(sys.argv[1]) if len(sys.argv) > 1 else ICON)
