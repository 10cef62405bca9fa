"""Turns an RGB particle image into model input; training and inference share this module.

Plankton cameras differ in polarity and brightness: the Pi-10 shows dark particles on a light
background, others show light ones on black. ``prepare`` gives them one look (grey, dark on a
background of 255), so that a model trained on one camera can be used on another.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import ModelError

U8 = NDArray[np.uint8]

MIN_SIZE, MAX_SIZE = 16, 1024
MAX_GROUND_CLIP = 64  # grey levels; more would take pale particles with the ground
_PARTICLE = 224  # on a background of 255, darker pixels belong to the particle
_MIN_BOX_PX = 6  # a box with a shorter side is a speck or a hair: the image is not trimmed to it


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes a tensor; stored in ``model.json``.

    size: side of the square input, px.
    channels: 1 (grey) or 3 (RGB).
    level: invert light-on-dark images and scale the background to 255.
    trim: crop to the particle's box plus this margin, as a share of the box's longest side; 0
    keeps the crop. It evens out the margins of different cameras, from none to wider than the
    particle. Needs ``level``.
    ground_clip: pixels up to so many grey levels darker than the background become white, per
    channel, in the prepared image; 0 changes none. It takes faint stripes and noise away.
    Needs ``level``.
    mean, std: per channel, on the 0..1 scale; used only where the graph takes
    floats. A graph that takes uint8 normalises by itself.
    """

    size: int
    channels: int = 1
    level: bool = True
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    trim: float = 0.0
    ground_clip: int = 0

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ModelError(f"input size {self.size} is outside {MIN_SIZE}..{MAX_SIZE} px")
        if self.channels not in (1, 3):
            raise ModelError(f"channels is {self.channels}; it must be 1 (grey) or 3 (RGB)")
        if not 0 <= self.trim <= 1:
            raise ModelError(f"trim is {self.trim}; it must be in 0..1")
        if self.trim and not self.level:
            raise ModelError(f"trim is {self.trim}, but level is false; trim needs level")
        if not 0 <= self.ground_clip <= MAX_GROUND_CLIP:
            raise ModelError(
                f"ground_clip is {self.ground_clip} grey levels; it must be 0..{MAX_GROUND_CLIP}"
            )
        if self.ground_clip and not self.level:
            raise ModelError(
                f"ground_clip is {self.ground_clip}, but level is false; ground_clip needs level"
            )
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
            size = int(fields["size"])  # raises TypeError where ``fields`` is not a mapping
            margin = fields.get("trim", 0.0)
            if isinstance(margin, bool) or not isinstance(margin, int | float):
                raise TypeError(f"trim is {margin!r}, which is not a number")
            clip = fields.get("ground_clip", 0)
            if type(clip) is not int:
                raise TypeError(f"ground_clip is {clip!r}, which is not a whole number")
            return cls(
                size=size,
                channels=int(fields["channels"]),
                level=bool(fields["level"]),
                mean=tuple(float(v) for v in fields.get("mean", ())),
                std=tuple(float(v) for v in fields.get("std", ())),
                trim=float(margin),
                ground_clip=clip,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"model.json: preprocessing is unusable: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The inverse of ``from_dict``; trim and ground_clip are left out where they are 0.

        So the preprocessing of older packages reads as before.
        """
        fields = asdict(self)
        for name in ("trim", "ground_clip"):
            if not fields[name]:
                del fields[name]
        return fields


class Grey(NamedTuple):
    """A grey image, and the quartiles of its border, which describe its background.

    pixels: (H, W) uint8, luma of ITU-R 601. quartiles: minimum, quartiles and maximum of the
    outermost pixels (corners counted twice), 0..255.
    """

    pixels: U8
    quartiles: tuple[int, int, int, int, int]

    @classmethod
    def of(cls, rgb: U8) -> Grey:
        """From RGB (H, W, 3) uint8."""
        luma: Any = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        edge = np.concatenate((luma[0], luma[-1], luma[:, 0], luma[:, -1]))
        edge.sort(kind="stable")  # radix sort, the fastest for bytes
        values, last = edge.tobytes(), edge.size - 1
        low, high = values[last // 4], values[last * 3 // 4]
        return cls(luma, (values[0], low, values[(last + 1) // 2], high, values[last]))

    @property
    def background(self) -> int:
        """Median of the border: the grey level of the background."""
        return self.quartiles[2]


def prepare(rgb: U8, spec: Preprocessing, grey: Grey | None = None, out: U8 | None = None) -> U8:
    """RGB (H, W, 3) uint8 -> (channels, size, size) uint8. grey: of ``rgb``, if already made.

    out: an array to write to, which is returned; a new one if None.
    The aspect ratio is kept. The crop is centred on a background of 255 when levelled, else on
    the level of the image's own border.
    """
    grey = grey or Grey.of(rgb)
    image: Any = grey.pixels if spec.channels == 1 else rgb
    background = grey.background
    if spec.level:
        image, background = level(image, background), 255
    if spec.trim:
        image = trim(image, spec.trim)
    height, width = image.shape[:2]
    scale = spec.size / max(height, width)
    new_w = max(1, round(width * scale))
    new_h = max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    if out is None:
        out = np.empty((spec.channels, spec.size, spec.size), np.uint8)
    out.fill(background)
    top, left = (spec.size - new_h) // 2, (spec.size - new_w) // 2
    place = out[:, top : top + new_h, left : left + new_w]
    if spec.channels == 1:
        cv2.resize(image, (new_w, new_h), dst=place[0], interpolation=method)
    else:
        place[:] = cv2.resize(image, (new_w, new_h), interpolation=method).transpose(2, 0, 1)
    if spec.ground_clip:  # the surrounding is 255 already
        for plane in out:
            near = cv2.threshold(plane, 254 - spec.ground_clip, 255, cv2.THRESH_BINARY)[1]
            cv2.bitwise_or(plane, near, dst=plane)  # in a third of the time of a table
    return out


def level(image: Any, background: int) -> Any:
    """Grey or RGB uint8 -> dark on 255: inverted where ``background`` is dark, then scaled."""
    if background < 128:
        image = cv2.bitwise_not(image)
        background = 255 - background
    return cv2.convertScaleAbs(image, alpha=255.0 / background) if background < 255 else image


def particle_box(grey: Any) -> tuple[int, int, int, int] | None:
    """The box of all dark pixels in levelled grey (H, W) uint8.

    Top, left, bottom, right; px, half open. On a speckled background it covers the whole crop.
    None where a side is under 6 px.
    """
    dark = cv2.threshold(grey, _PARTICLE, 255, cv2.THRESH_BINARY_INV)[1]
    left, top, width, height = cv2.boundingRect(dark)
    if min(width, height) < _MIN_BOX_PX:
        return None
    return top, left, top + height, left + width


def trim(image: Any, margin: float) -> Any:
    """Crop a levelled image (H, W) or (H, W, 3) uint8 to its particle's box plus ``margin``."""
    box = particle_box(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    if box is None:
        return image
    top, left, bottom, right = box
    pad = math.ceil(margin * max(bottom - top, right - left))
    return image[
        max(0, top - pad) : bottom + pad,
        max(0, left - pad) : right + pad,
    ]


def normalise(batch: U8, spec: Preprocessing) -> NDArray[np.float32]:
    """uint8 (N, C, S, S) -> float32, for graphs that do not normalise by themselves."""
    scaled = batch.astype(np.float32) / 255.0
    if spec.mean:
        scaled -= np.asarray(spec.mean, np.float32)[:, None, None]
    if spec.std:
        scaled /= np.asarray(spec.std, np.float32)[:, None, None]
    return scaled
