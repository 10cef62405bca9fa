"""Holds the training and validation images, decoded, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.imaging import preprocess
from pi10_classifier.imaging.preprocess import Grey, trim
from pi10_classifier.training.recipe import MARGIN

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
Kind = TypeVar("Kind", bound=np.generic)

CACHE_SIDE = 144
UNKNOWN = -1  # a synthetic particle has a class, but no label of a source


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Levelled grey images (H, W) uint8, class indices (N,), class x source strata (N,).

    finer: indices (N,) of the sources' own labels, -1 for none; may be empty. groups: indices (N,)
    of the finer groups, -1 where the group is not known; empty without groups.
    drawn: the last so many images are drawn particles without ground, at the Pi-10's scale.
    measured: numbers (N, M) of the images as recorded, NaN where one is missing; M = 0 for none.
    """

    images: Sequence[U8]
    truth: I64
    strata: I64
    finer: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    groups: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    drawn: int = 0
    measured: F32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Prepared images (N, C, S, S) uint8, class indices (N,), measured numbers (N, M) or none."""

    images: U8
    truth: I64
    measured: F32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))


def spread(images: NDArray[Kind], most: int) -> NDArray[Kind]:
    """Choose at most ``most`` images, or rows of numbers, evenly spaced."""
    return np.ascontiguousarray(images[:: max(1, -(-len(images) // most))])


def level(rgb: U8, side: int = CACHE_SIDE) -> U8:
    """Level RGB (H, W, 3) -> grey (h, w) uint8, dark on 255, longest side ``side`` px.

    It is levelled as in ``prepare``, and cropped to the particle with the widest margin that
    ``augment`` leaves, so that the particle gets as many pixels as possible.
    """
    grey = Grey.of(rgb)
    image = trim(preprocess.level(grey.pixels, grey.background), MARGIN)
    scale = side / max(image.shape)
    height, width = (max(1, round(n * scale)) for n in image.shape)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
