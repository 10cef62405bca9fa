"""Converts images from one camera's look to another's: grey, inverted, another resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.decode import CAPS
from pi10_classifier.instrument.names import UM_PER_PX

U8 = NDArray[np.uint8]


def to_grey(rgb: U8) -> U8:
    """RGB (H, W, 3) uint8 -> its luminance (ITU-R BT.601) in all three channels."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def invert(image: U8) -> U8:
    """Invert an image: light on dark -> dark on light, and back."""
    return np.asarray(255 - image, np.uint8)


def to_resolution(image: U8, um_per_px_from: float, um_per_px_to: float) -> U8:
    """Rescale (H, W[, 3]) uint8 from one pixel size to another, to at least 1 px.

    Shrinking averages pixels, as a coarser camera would; enlarging interpolates and adds no detail.
    Raises SettingError if a size is not positive or the result is too large.
    """
    for size in (um_per_px_from, um_per_px_to):
        if not (math.isfinite(size) and size > 0):
            raise SettingError(f"pixel size is {size} µm; it must be above 0")
    scale = um_per_px_from / um_per_px_to
    height, width = (max(1, round(n * scale)) for n in image.shape[:2])
    if max(height, width) > CAPS.side or height * width > CAPS.pixels:
        raise SettingError(
            f"at {um_per_px_to} µm per pixel an image becomes {width} x {height} px, but at"
            f" most {CAPS.pixels:,} px are allowed; check the pixel size of the source"
        )
    if (height, width) == image.shape[:2]:
        return image
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


@dataclass(frozen=True, slots=True)
class Device:
    """How to make the images of one source look like those of another camera.

    um_per_px: the source's own pixel size; its images are brought to ``target_um_per_px``
    (by default the Pi-10's 10 µm). None leaves the resolution as it is.
    """

    grey: bool = False
    inverted: bool = False
    um_per_px: float | None = None
    target_um_per_px: float = UM_PER_PX

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read a comma-separated list of ``grey``, ``inverted`` and µm per pixel (``5.2``)."""
        given: dict[str, bool | float] = {}
        for word in (part.strip() for part in text.split(",")):
            if word in ("grey", "inverted"):
                given[word] = True
                continue
            try:
                given["um_per_px"] = float(word)
            except ValueError:
                raise SettingError(
                    f"camera is {text!r}; it must be grey, inverted, a pixel size in µm, or"
                    " several of these separated by commas"
                ) from None
        device = cls(**given)  # type: ignore[arg-type]
        device.apply(np.zeros((1, 1, 3), np.uint8))  # refuses an invalid size now
        return device

    def apply(self, rgb: U8) -> U8:
        """Convert RGB (H, W, 3) uint8 -> RGB uint8; a ``change`` for ``scan.read_rgb``."""
        if self.um_per_px is not None:
            rgb = to_resolution(rgb, self.um_per_px, self.target_um_per_px)
        if self.grey:
            rgb = to_grey(rgb)
        return invert(rgb) if self.inverted else rgb
