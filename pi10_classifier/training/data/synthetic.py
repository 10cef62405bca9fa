"""Adds synthetic particles with the look of the Pi-10 to the training images.

The labelled sources come from other cameras and show long antennae and wide margins. On the Pi-10,
bodies fill the crop, and antennae are folded or broken. ``pi10 simulate`` draws both (generic);
``simulate.pi10`` draws what the labelled particles of the Pi-10 are, without ground (linescan):
``augment_pi10`` gives them another ground and exposure in each epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError
from pi10_classifier.simulate.linescan import NONE
from pi10_classifier.simulate.particles import KINDS
from pi10_classifier.simulate.pen import Rng
from pi10_classifier.simulate.pi10 import LineScanStudio
from pi10_classifier.simulate.scene import POOL, Studio
from pi10_classifier.training.data.in_memory import UNKNOWN, TrainingSet, level
from pi10_classifier.training.data.loading import measured_of

U8 = NDArray[np.uint8]

# far from the seeds of demonstrations, so that no image shown there was used in training
FIRST_STUDIO = 1_000_000


def add_synthetic(
    training: TrainingSet,
    classes: Sequence[str],
    count: int,
    seed: int = 0,
    *,
    kind: str = "generic",
    names: tuple[str, ...] = (),
) -> TrainingSet:
    """Add ``count`` synthetic images per class to the training set, as separate strata.

    classes: those of the training set, in its order; ``pi10 simulate`` must be able to draw each.
    kind: generic or linescan. names: what to measure of them, as the training set has it.
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
    numbers = list(training.measured)
    strata, first = list(training.strata), int(training.strata.max()) + 1
    for place, label in enumerate(classes):
        for number in range(count):
            if number % POOL == 0:  # a studio draws only so many particles per class
                draw = _drawer(kind, FIRST_STUDIO + seed * 1000 + number // POOL, label)
            rng = np.random.default_rng((FIRST_STUDIO, seed, place, number))
            image, recorded = draw(number, rng)
            images.append(image)
            numbers.append(measured_of(recorded, names))
            truth.append(place)
            strata.append(first + place)
    known = training.finer
    if len(known):
        known = np.append(known, np.full(len(truth) - len(known), UNKNOWN, np.int64))
    groups = training.groups
    if len(groups):
        more = [_sole(groups[training.truth == place]) for place in range(len(classes))]
        groups = np.append(groups, np.repeat(np.array(more, np.int64), count))
    clean = len(images) - len(training.images) if kind == "linescan" else 0
    return TrainingSet(
        images, np.asarray(truth, np.int64), np.asarray(strata, np.int64), known, groups, clean,
        np.stack(numbers) if names else training.measured,
    )  # fmt: skip


def _sole(groups: NDArray[np.int64]) -> int:
    """The only group of a class's images; unknown if there are several, or none is known."""
    return int(groups[0]) if len(set(groups.tolist())) == 1 else UNKNOWN


def _drawer(kind: str, seed: int, label: str) -> Callable[[int, Rng], tuple[U8, U8]]:
    """A function that draws image ``number`` with ``rng``.

    It gives grey (H, W), dark on 255, and the RGB image (H, W, 3) that is measured.
    """
    studio = LineScanStudio(seed, label, NONE) if kind == "linescan" else Studio(seed, {label: 1.0})

    def draw(number: int, rng: Rng) -> tuple[U8, U8]:
        rgb = studio.image(number, rng).rgb
        if kind != "linescan":
            return level(rgb), rgb
        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8), rgb

    return draw
