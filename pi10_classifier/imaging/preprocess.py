"""RGB particle image -> model input: the one definition training and serving share.

Plankton cameras differ in polarity and brightness: the Pi-10 draws dark particles
on a light ground, others light ones on black. ``prepare`` brings them to one look
(grey, dark on a ground of 255) so that a model trained on one serves the other.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import ModelError

U8 = NDArray[np.uint8]

MIN_SIZE, MAX_SIZE = 16, 1024
_PARTICLE = 224  # grey at most this dark, on a ground of 255, is particle
_LEAST_PX = 6  # a box with a shorter side is a speck, or a hair: nothing to frame by


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes a tensor; stored in ``model.json``.

    size: side of the square input, px.
    channels: 1 (grey) or 3 (RGB).
    level: turn light-on-dark images over and scale the ground to 255.
    trim: cut the crop to the particle's box and this margin about it, as a share of the box's
    longest side; 0 leaves the crop as it came. Cameras frame differently: the margin that one
    leaves is wider than the particle, another's is nil. Needs ``level``.
    mean, std: per channel, on the 0..1 scale; used only where the graph takes
    floats. A graph that takes uint8 normalises by itself.
    """

    size: int
    channels: int = 1
    level: bool = True
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    trim: float = 0.0

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ModelError(f"input size {self.size} is outside {MIN_SIZE}..{MAX_SIZE} px")
        if self.channels not in (1, 3):
            raise ModelError(f"channels is {self.channels}; it must be 1 (grey) or 3 (RGB)")
        if not 0 <= self.trim <= 1:
            raise ModelError(f"trim is {self.trim}; it must be in 0..1")
        if self.trim and not self.level:
            raise ModelError(f"trim is {self.trim}, but level is false; trim needs level")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values and len(values) != self.channels:
                raise ModelError(f"{name} has {len(values)} values for {self.channels} channels")
        if any(value <= 0 for value in self.std):
            raise ModelError(f"std {self.std} must be positive")

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Preprocessing:
        """Read the ``preprocessing`` object of ``model.json``."""
        try:
            size = int(fields["size"])  # what is no mapping ends here
            margin = fields.get("trim", 0.0)
            if isinstance(margin, bool) or not isinstance(margin, int | float):
                raise TypeError(f"trim is {margin!r}, which is no number")
            return cls(
                size=size,
                channels=int(fields["channels"]),
                level=bool(fields["level"]),
                mean=tuple(float(v) for v in fields.get("mean", ())),
                std=tuple(float(v) for v in fields.get("std", ())),
                trim=float(margin),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"model.json: preprocessing is incomplete: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """As ``from_dict`` reads it; no trim is left out, so older packages stay the same."""
        fields = asdict(self)
        if not self.trim:
            del fields["trim"]
        return fields


@dataclass(frozen=True, slots=True)
class Grey:
    """An image in grey, and what its border says of its background.

    pixels: (H, W) uint8, luma of ITU-R 601. quarters: least value, quartiles and greatest
    value of the outermost pixels (corners counted twice), 0..255.
    """

    pixels: U8
    quarters: tuple[int, int, int, int, int]

    @classmethod
    def of(cls, rgb: U8) -> Grey:
        """From RGB (H, W, 3) uint8."""
        luma: Any = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        edge = np.concatenate((luma[0], luma[-1], luma[:, 0], luma[:, -1]))
        edge.sort(kind="stable")  # by radix: the quickest for bytes
        values, last = edge.tobytes(), edge.size - 1
        low, high = values[last // 4], values[last * 3 // 4]
        return cls(luma, (values[0], low, values[(last + 1) // 2], high, values[last]))

    @property
    def ground(self) -> int:
        """Median of the border: the level of the background."""
        return self.quarters[2]


def prepare(rgb: U8, spec: Preprocessing, grey: Grey | None = None) -> U8:
    """RGB (H, W, 3) uint8 -> (channels, size, size) uint8; ``grey`` where it is at hand.

    The aspect ratio is kept; the crop is centred on a ground of 255 when levelled,
    else on the image's own border level.
    """
    grey = grey or Grey.of(rgb)
    image: Any = grey.pixels if spec.channels == 1 else rgb
    ground = grey.ground
    if spec.level:
        image, ground = level(image, ground), 255
    if spec.trim:
        image = trim(image, spec.trim)
    height, width = image.shape[:2]
    scale = spec.size / max(height, width)
    new_w = max(1, round(width * scale))
    new_h = max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, (new_w, new_h), interpolation=method)
    shape = (spec.size, spec.size) if spec.channels == 1 else (spec.size, spec.size, 3)
    canvas: U8 = np.full(shape, ground, np.uint8)
    top, left = (spec.size - new_h) // 2, (spec.size - new_w) // 2
    canvas[top : top + new_h, left : left + new_w] = small
    return canvas[None] if spec.channels == 1 else np.ascontiguousarray(canvas.transpose(2, 0, 1))


def level(image: Any, ground: int) -> Any:
    """Grey or RGB uint8 -> dark on 255: turned over where ``ground`` is dark, and scaled."""
    if ground < 128:
        image = cv2.bitwise_not(image)
        ground = 255 - ground
    return cv2.convertScaleAbs(image, alpha=255.0 / ground) if ground < 255 else image


def particle_box(grey: Any) -> tuple[int, int, int, int] | None:
    """Top, left, bottom, right (px, half open) of what is dark in levelled grey (H, W) uint8.

    All of it: on a speckled ground that is the whole crop. None where it is shorter than 6 px
    on a side.
    """
    dark = cv2.threshold(grey, _PARTICLE, 255, cv2.THRESH_BINARY_INV)[1]
    left, top, width, height = cv2.boundingRect(dark)
    if min(width, height) < _LEAST_PX:
        return None
    return top, left, top + height, left + width


def trim(image: Any, margin: float) -> Any:
    """A levelled image (H, W) or (H, W, 3) uint8, cut to its particle's box and ``margin``."""
    box = particle_box(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    if box is None:
        return image
    top, left, bottom, right = box
    about = math.ceil(margin * max(bottom - top, right - left))
    return image[
        max(0, top - about) : bottom + about,
        max(0, left - about) : right + about,
    ]


def normalise(batch: U8, spec: Preprocessing) -> NDArray[np.float32]:
    """uint8 (N, C, S, S) -> float32, for graphs that do not normalise by themselves."""
    scaled = batch.astype(np.float32) / 255.0
    if spec.mean:
        scaled -= np.asarray(spec.mean, np.float32)[:, None, None]
    if spec.std:
        scaled /= np.asarray(spec.std, np.float32)[:, None, None]
    return scaled
