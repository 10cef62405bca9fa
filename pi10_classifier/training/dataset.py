"""The splits decoded into memory, as the training loop takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.preprocess import Preprocessing, prepare

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

CACHE_SIDE = 128
UNKNOWN = -1  # a drawn particle has a class, but no source's label


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Levelled grey images (H, W) uint8, class indices (N,), class x source strata (N,).

    finer: places (N,) among the sources' own labels, -1 where there is none; may be left empty.
    """

    images: Sequence[U8]
    truth: I64
    strata: I64
    finer: I64 = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Prepared images (N, C, S, S) uint8, class indices (N,)."""

    images: U8
    truth: I64


def spread(images: U8, most: int) -> U8:
    """At most ``most`` images, evenly spaced."""
    return np.ascontiguousarray(images[:: max(1, -(-len(images) // most))])


def level(rgb: U8, side: int = CACHE_SIDE) -> U8:
    """RGB (H, W, 3) -> grey (h, w) uint8, dark on 255, longest side ``side`` px.

    The levelling is ``prepare``'s own; only its square margin is taken off again.
    """
    scale = side / max(rgb.shape[:2])
    height, width = (max(1, round(n * scale)) for n in rgb.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(rgb, (width, height), interpolation=method), np.uint8)
    square = prepare(small, Preprocessing(size=side))[0]
    top, left = (side - height) // 2, (side - width) // 2
    return np.ascontiguousarray(square[top : top + height, left : left + width])
