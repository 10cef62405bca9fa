"""The profile of a particle on a line-scan camera: its extinction in each scanned line.

The camera scans one line of pixels after another while the particle passes, and each row of the
image is one of these lines. What the particle takes from the light of a line is a pulse, like that
of a cytometer's detector. It is read from the crop as recorded, before any resizing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

CHANNELS = ("extinction_r", "extinction_g", "extinction_b")


def line_profile(rgb: U8) -> F32:
    """Extinction of each scanned line, of RGB (H, W, 3) uint8: float32 (3, H), in px.

    It is the sum over the line of (ground - pixel) / ground, so a value of 5 is the light of five
    pixels. The ground is the median of the image's border, in each colour. Where it is dark, the
    image is inverted, as ``prepare`` does. A line that is brighter than the ground is negative.
    """
    border = np.concatenate((rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]))
    ground = np.median(border, axis=0).astype(np.float32)
    light = rgb.astype(np.float32)
    if ground.mean() < 128:
        light, ground = 255 - light, 255 - ground
    return np.ascontiguousarray((1 - light / np.maximum(ground, 1)).sum(axis=1).T, np.float32)
