"""Synthetic particles as training images with the look of the Pi-10.

The labelled sources show other cameras' framing: long antennae, wide margins. The Pi-10
shows bodies that fill the crop, antennae folded or broken. ``pi10 simulate`` draws both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError
from pi10_classifier.simulate.particles import KINDS
from pi10_classifier.simulate.scene import POOL, Studio
from pi10_classifier.training.data.in_memory import UNKNOWN, TrainingSet, level

U8 = NDArray[np.uint8]

# far from the seeds of demonstrations: nothing shown there was trained on
FIRST_STUDIO = 1_000_000


def add_synthetic(
    training: TrainingSet, classes: Sequence[str], count: int, seed: int = 0
) -> TrainingSet:
    """Add ``count`` synthetic images per class to the training set, as strata of their own.

    classes: those of the training set, in its order, each one that ``pi10 simulate`` draws.
    """
    if not count:
        return training
    unknown = sorted(set(classes) - set(KINDS))
    if unknown:
        raise SettingError(
            f"particles of class {unknown[0]!r} cannot be drawn, only those of"
            f" {', '.join(KINDS)}; set drawn to 0"
        )
    images, truth = list(training.images), list(training.truth)
    strata, first = list(training.strata), int(training.strata.max()) + 1
    for place, label in enumerate(classes):
        for number in range(count):
            if number % POOL == 0:  # a studio knows so many particles a class
                studio = Studio(FIRST_STUDIO + seed * 1000 + number // POOL, {label: 1.0})
            rng = np.random.default_rng((FIRST_STUDIO, seed, place, number))
            images.append(level(studio.image(number, rng).rgb))
            truth.append(place)
            strata.append(first + place)
    known = training.finer
    if len(known):
        known = np.append(known, np.full(len(truth) - len(known), UNKNOWN, np.int64))
    return TrainingSet(images, np.asarray(truth, np.int64), np.asarray(strata, np.int64), known)
