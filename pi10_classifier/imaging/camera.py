"""What an image tells of the camera, whatever its particle: the ground, and how sharp it is."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.imaging.preprocess import Grey

_END_PX = 6  # rows of a column's end, whose mean has little noise
_STRIPE_PX = 3  # narrower stripes are averaged with their neighbours
_STEP_PX = 2  # a sharp edge rises within two pixels


class Camera(NamedTuple):
    """ground_grey, ground_spread: median and interquartile range of the border, grey levels.

        ground_stripe: of ``stripe``. sharpness: of ``sharpness``. All are None where they are not
    wanted.
    """

    ground_grey: int | None = None
    ground_spread: int | None = None
    ground_stripe: float | None = None
    sharpness: float | None = None

    @classmethod
    def of(cls, grey: Grey) -> Camera:
        _, low, middle, high, _ = grey.quartiles
        return cls(middle, high - low, stripe(grey), sharpness(grey.pixels))


def stripe(grey: Grey) -> float:
    """How much darker than the ground the darkest column is, in grey levels; below 0 if it is not.

    The camera is a line scan: dirt makes a dark stripe down the whole image. So a column counts by
    the lighter of its upper and lower end, as a particle or speck may lie on one of them.
    """
    pixels = grey.pixels
    ends = cv2.max(
        cv2.reduce(pixels[:_END_PX], 0, cv2.REDUCE_AVG),
        cv2.reduce(pixels[-_END_PX:], 0, cv2.REDUCE_AVG),
    )
    return grey.background - cv2.minMaxLoc(cv2.blur(ends, (_STRIPE_PX, 1)))[0]


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """The steepest rise over two pixels, as a share of the image's range; 0..1.

    pixels: grey (H, W) uint8. 1 where black and white lie two pixels apart, 0 where all is alike.
    The particle's size and contrast hardly affect it.
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
