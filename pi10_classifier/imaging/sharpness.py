"""How sharp an image is, in a number that its particle's size and contrast do not affect."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_STEP_PX = 2  # a sharp edge rises within two pixels


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """The steepest rise over two pixels, as a share of the image's range; 0..1.

    pixels: grey (H, W) uint8. 1 where black and white lie two pixels apart, 0 where all is alike.
    """
    lowest, highest, _, _ = cv2.minMaxLoc(pixels)
    if highest <= lowest:
        return 0.0
    steepest = 0.0
    for ahead, behind in (
        (pixels[_STEP_PX:], pixels[:-_STEP_PX]),
        (pixels[:, _STEP_PX:], pixels[:, :-_STEP_PX]),
    ):
        if ahead.size:
            steepest = max(steepest, cv2.minMaxLoc(cv2.absdiff(ahead, behind))[1])
    return steepest / (highest - lowest)
