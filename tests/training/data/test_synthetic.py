"""Drawn particles among the training images."""

from __future__ import annotations

import numpy as np
import pytest

from pi10_classifier.training.data.in_memory import CACHE_SIDE, TrainingSet
from pi10_classifier.training.data.synthetic import add_synthetic

CLASSES = ("copepod", "detritus", "noncopepod")


@pytest.fixture
def training() -> TrainingSet:
    images = [np.full((8, 9), 200, np.uint8)] * 4
    return TrainingSet(images, np.array([0, 1, 2, 2]), np.array([0, 1, 5, 5]))


def test_each_class_gets_so_many_in_strata_of_their_own(training: TrainingSet) -> None:
    more = add_synthetic(training, CLASSES, 3)
    assert more.truth.tolist() == [0, 1, 2, 2, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert more.strata.tolist() == [0, 1, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8]
    assert len(more.images) == 13
    for image in more.images[4:]:
        assert image.ndim == 2
        assert max(image.shape) == CACHE_SIDE
        assert image.min() < np.median(image) - 20  # a dark particle on a light ground


def test_drawings_depend_on_the_seed_alone_and_differ(training: TrainingSet) -> None:
    one, again, other = (add_synthetic(training, CLASSES, 4, seed).images[4:] for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert len({image.tobytes() for image in one}) == len(one)


def test_none_asked_for_changes_nothing(training: TrainingSet) -> None:
    assert add_synthetic(training, CLASSES, 0) is training


def test_linescan_particles_come_without_ground_and_at_their_own_size(
    training: TrainingSet,
) -> None:
    more = add_synthetic(training, CLASSES, 5, kind="linescan")
    assert more.drawn == 15
    assert more.strata.tolist()[4:] == [6] * 5 + [7] * 5 + [8] * 5
    for image in more.images[4:]:
        assert image.ndim == 2
        edge = np.concatenate((image[0], image[-1], image[:, 0], image[:, -1]))
        assert edge.min() == 255  # clear water: the augmentation gives the ground
        assert image.min() < 150
    assert len({image.shape for image in more.images[4:]}) > 5
