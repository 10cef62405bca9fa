"""The splits decoded into memory, as the training loop takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.preprocess import Preprocessing, prepare
from pi10_classifier.training.data import Sample, Scan, read_rgb
from pi10_classifier.training.manifest import manifest
from pi10_classifier.training.metrics import macro_f1
from pi10_classifier.training.split import split

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

CACHE_SIDE = 128


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Levelled grey images (H, W) uint8, class indices (N,), class x source strata (N,)."""

    images: Sequence[U8]
    truth: I64
    strata: I64


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Prepared images (N, C, S, S) uint8, class indices (N,), source indices (N,)."""

    images: U8
    truth: I64
    sources: I64

    def macro_f1(self, guess: I64, classes: int) -> float:
        """Macro-F1 averaged over the sources, each weighing the same."""
        per_source = [
            macro_f1(self.truth[self.sources == s], guess[self.sources == s], classes)
            for s in np.unique(self.sources)
        ]
        return float(np.mean(per_source))


@dataclass(frozen=True, slots=True)
class Loaded:
    """The decoded splits and what identifies them."""

    training: TrainingSet
    validation: HeldOut
    manifest: str
    samples: list[Sample]


def load(scan: Scan, classes: Sequence[str], size: int, seed: int = 0) -> Loaded:
    """Split a scan and decode the training and validation images of ``classes``.

    Samples of other groups are split too, but none of them is read.
    """
    samples = split(scan.samples, seed=seed)
    place = {name: i for i, name in enumerate(classes)}
    origin = {source: i for i, source in enumerate(scan.origins)}
    used = [s for s in samples if s.group in place and s.split in ("train", "validation")]
    spec = Preprocessing(size=size)
    train_images: list[U8] = []
    held_images: list[U8] = []
    train_keys: list[tuple[int, int]] = []
    held_keys: list[tuple[int, int]] = []
    for sample, rgb in read_rgb(scan, used):
        key = (place[sample.group], origin[sample.source])
        if sample.split == "train":
            train_images.append(level(rgb))
            train_keys.append(key)
        else:
            held_images.append(prepare(rgb, spec))
            held_keys.append(key)
    fit, held = np.asarray(train_keys, np.int64), np.asarray(held_keys, np.int64)
    return Loaded(
        TrainingSet(train_images, fit[:, 0], fit[:, 1] * len(place) + fit[:, 0]),
        HeldOut(np.stack(held_images), held[:, 0], held[:, 1]),
        manifest(samples),
        samples,
    )


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
