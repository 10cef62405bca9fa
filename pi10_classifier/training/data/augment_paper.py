"""The paper's augmentation: crop and resize, flip, rotate by up to 10 degrees, change colours.

Written with OpenCV; the operations and their order follow torchvision's RandomResizedCrop,
RandomHorizontalFlip, RandomRotation and ColorJitter. The paper gives no numbers for its
"moderate" changes of colour; those here are ours.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.imaging.preprocess import Grey, Preprocessing, prepare

U8 = NDArray[np.uint8]

SCALE = (0.08, 1.0)  # share of the area that is cropped
RATIO = (3 / 4, 4 / 3)  # width by height of the crop
DEGREES = 10.0
BRIGHTNESS = CONTRAST = SATURATION = 0.2
HUE = 0.05  # of the full circle
_GREY = np.array((0.299, 0.587, 0.114))
_TO_YIQ = np.array([_GREY, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def paper_augment(image: U8, rng: np.random.Generator, spec: Preprocessing) -> U8:
    """Augment grey (H, W) or RGB (H, W, 3) uint8 -> (channels, size, size) uint8.

    It begins with ``prepare``, so training crops from the same input as serving uses.
    The result depends only on the image, ``spec`` and the state of ``rng``.
    """
    rgb = (
        np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8) if image.ndim == 2 else image
    )
    square = prepare(rgb, spec)
    picture = square[0] if spec.channels == 1 else np.ascontiguousarray(square.transpose(1, 2, 0))
    warped = _crop_turn_flip(picture, rng)
    varied = _colours(warped, rng)
    return varied[None] if spec.channels == 1 else np.ascontiguousarray(varied.transpose(2, 0, 1))


def _crop_turn_flip(picture: U8, rng: np.random.Generator) -> U8:
    """Crop, resize, turn and flip in one interpolation; pixels from outside are background."""
    side = picture.shape[0]
    top, left, height, width = _box(side, rng)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    angle = math.radians(rng.uniform(-DEGREES, DEGREES))
    cos, sin = math.cos(angle), math.sin(angle)
    # maps an output pixel, relative to the centre, to the crop and so to the picture
    scale = np.diag((width / side, height / side))
    turn = scale @ np.array([[cos * flip, -sin], [sin * flip, cos]])
    middle = np.array([left + width / 2, top + height / 2]) - 0.5
    shift = middle - turn @ np.full(2, (side - 1) / 2)
    rgb = picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    ground = float(Grey.of(np.asarray(rgb, np.uint8)).background)
    out = cv2.warpAffine(
        picture,
        np.concatenate((turn, shift[:, None]), axis=1),
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(ground, ground, ground),
    )
    return np.asarray(out, np.uint8)


def _box(side: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A crop of random area and shape: top, left, height, width in px."""
    for _ in range(10):
        area = side * side * rng.uniform(*SCALE)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= side and 0 < height <= side:
            top, left = (int(rng.integers(side - n + 1)) for n in (height, width))
            return top, left, height, width
    return 0, 0, side, side


def _colours(picture: U8, rng: np.random.Generator) -> U8:
    """Brightness, contrast, saturation and hue in random order; the last two only for RGB.

    All four are linear in the colours (hue is a rotation of YIQ's colour plane). So they are
    combined into one matrix, applied in one pass, and clipped at the end.
    """
    colour = picture.ndim == 3
    mean = np.asarray(cv2.mean(picture)[:3] if colour else cv2.mean(picture)[:1])
    change = np.eye(len(mean), len(mean) + 1)
    for kind in rng.permutation(4):
        draw = rng.uniform(-1, 1)
        if kind == 0:
            change *= 1 + BRIGHTNESS * draw
        elif kind == 1:
            now = change[:, :-1] @ mean + change[:, -1]
            level = float(_GREY @ now) if colour else float(now[0])
            factor = 1 + CONTRAST * draw
            change *= factor
            change[:, -1] += level * (1 - factor)
        elif kind == 2 and colour:
            factor = 1 + SATURATION * draw
            change = (factor * np.eye(3) + (1 - factor) * np.tile(_GREY, (3, 1))) @ change
        elif colour:
            cos, sin = math.cos(2 * math.pi * HUE * draw), math.sin(2 * math.pi * HUE * draw)
            turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
            change = _FROM_YIQ @ turn @ _TO_YIQ @ change
    if colour:
        return np.asarray(cv2.transform(picture, change), np.uint8)
    table = np.clip(np.arange(256) * change[0, 0] + change[0, 1] + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table), np.uint8)
