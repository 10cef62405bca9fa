"""The splits decoded into memory, as the training loop takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.preprocess import Preprocessing, prepare
from pi10_classifier.training import data as labelled
from pi10_classifier.training.metrics import macro_f1

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]


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
    samples: list[labelled.Sample]


def load(
    data: Path, size: int, seed: int = 0, sources: Sequence[labelled.Source] = labelled.SOURCES
) -> Loaded:
    """Scan, split and decode the training and validation images of folder ``data``."""
    samples = labelled.split(labelled.scan(data, sources), seed)
    place = {name: i for i, name in enumerate(labelled.CLASSES)}
    origin = {source.name: i for i, source in enumerate(sources)}
    used = [s for s in samples if s.group in place and s.split in ("train", "validation")]
    spec = Preprocessing(size=size)
    train_images: list[U8] = []
    held_images: list[U8] = []
    train_keys: list[tuple[int, int]] = []
    held_keys: list[tuple[int, int]] = []
    for sample, rgb in labelled.read_rgb(data, used, sources):
        key = (place[sample.group], origin[sample.source])
        if sample.split == "train":
            train_images.append(labelled.level(rgb))
            train_keys.append(key)
        else:
            held_images.append(prepare(rgb, spec))
            held_keys.append(key)
    fit, held = np.asarray(train_keys, np.int64), np.asarray(held_keys, np.int64)
    return Loaded(
        TrainingSet(train_images, fit[:, 0], fit[:, 1] * len(place) + fit[:, 0]),
        HeldOut(np.stack(held_images), held[:, 0], held[:, 1]),
        labelled.manifest(samples),
        samples,
    )


def spread(images: U8, most: int) -> U8:
    """At most ``most`` images, evenly spaced."""
    return np.ascontiguousarray(images[:: max(1, -(-len(images) // most))])
