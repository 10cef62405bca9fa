"""The images of a batch: photographs in the recipe's look, drawn particles always in it."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from toy_networks import recipe

from pi10_classifier.training.data.batches import Batches
from pi10_classifier.training.data.in_memory import TrainingSet
from pi10_classifier.training.data.synthetic import add_synthetic

CLASSES = ("copepod", "detritus", "noncopepod")
_LINESCAN = {
    "augmentation": "pi10", "look": 0.0, "drawn": 4, "drawn_kind": "linescan", "level": True,
    "channels": 1, "size": 64, "batch": 16, "balance": 0.0,
}  # fmt: skip


@pytest.fixture
def training() -> TrainingSet:
    blank = np.full((60, 60), 255, np.uint8)
    blank[20:40, 25:35] = 100  # a grey particle on clear water
    images = TrainingSet([blank] * 3, np.arange(3), np.arange(3))
    return add_synthetic(images, CLASSES, 4, kind="linescan")


def shown(training: TrainingSet, **changes: object) -> np.ndarray:
    """The drawn particles of one epoch, (12, 64, 64) uint8."""
    batches = Batches(training, recipe(**{**_LINESCAN, **changes}), 3)
    try:
        made = [batches.make(place)["image"] for place in range(len(batches))]
        order = batches.order[: sum(len(part) for part in made)]
    finally:
        batches.close()
    return np.concatenate(made)[:, 0][order >= 3]


def test_drawn_particles_get_specks_and_noise_whatever_the_share_of_the_look(training):
    drawn = shown(training)
    assert len(drawn) == 12
    uneven = [np.mean((image > 150) & (image < 255)) for image in drawn]
    assert np.mean(np.array(uneven) > 0.05) > 0.6


def test_effects_that_the_recipe_leaves_out_are_not_in_the_images(training):
    names = "specks,stripes,noise,exposure"
    with_all, without = shown(training), shown(training, look_without=names)
    assert np.mean(without == 255) > np.mean(with_all == 255) + 0.05
