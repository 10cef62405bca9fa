"""Prepares the batches of a pretraining in a thread while the network computes.

As in ``training.data.batches``, a batch depends only on seed, epoch and its place in the epoch, so
that a resumed training sees the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from time import monotonic

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from pi10_classifier.simulate.linescan import Effects
from pi10_classifier.training.data.augment_pi10 import view
from pi10_classifier.training.data.batches import VARIATIONS, Vary
from pi10_classifier.training.pretraining.particles import Particle
from pi10_classifier.training.pretraining.profiles import padded, scaled
from pi10_classifier.training.recipe import Recipe

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Made = dict[str, NDArray[np.generic]]

# Standard deviation of the logarithm of a crop's sides, as the image's encoder gets them. Without
# it, the number of lines alone, which the profile has too, would name the particle.
SIDE_JITTER = 0.1
_AHEAD = 4  # batches in flight
_SIDES = 2  # a stream of random numbers of its own, beside those of the two views


def variation(recipe: Recipe) -> Vary:
    """The recipe's augmentation of one image."""
    if recipe.augmentation != "pi10":
        return VARIATIONS[recipe.augmentation]
    effects = Effects.without(recipe.look_without.split(","))
    return partial(view, look=recipe.look, kind=recipe.look_kind, effects=effects)


class PretrainingBatches(Dataset[dict[str, Tensor]]):
    """The batches of one epoch at a time; a remainder that fills no batch is left for another.

    Item ``b`` holds those of ``keys``: image and other, two augmented views, uint8 (n, C, S, S);
    sides, the crop's height and width in px, jittered, float32 (n, 2); profile, float32 (n, C, L),
    scaled and padded; mask, bool (n, L). Nothing touches a profile: augmentations are the image's.
    """

    def __init__(
        self,
        particles: Sequence[Particle],
        recipe: Recipe,
        keys: Sequence[str],
        typical: F32 | None = None,
    ) -> None:
        self.particles, self.recipe, self.keys, self.typical = particles, recipe, keys, typical
        self.batch = min(recipe.batch, len(particles))
        self.count = len(particles) // self.batch
        self.vary = variation(recipe)
        self.waited = 0.0  # seconds that the network has waited for data, in total
        self._coming: dict[int, Future[Made]] = {}
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="augment")
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Start an epoch; batches prepared ahead are dropped."""
        cv2.setNumThreads(1)
        self._drop()
        self.epoch = epoch
        rng = np.random.default_rng((self.recipe.seed, epoch))
        self.order = rng.permutation(len(self.particles))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, b: int) -> dict[str, Tensor]:
        began = monotonic()
        for ahead in range(b, min(b + _AHEAD, self.count)):
            if ahead not in self._coming:
                self._coming[ahead] = self._threads.submit(self.make, b=ahead)
        made = self._coming.pop(b).result()
        self.waited += monotonic() - began
        return {name: torch.from_numpy(value) for name, value in made.items()}

    def make(self, b: int) -> Made:
        """Batch ``b`` of the epoch, as arrays."""
        first = b * self.batch
        chosen = [self.particles[i] for i in self.order[first : first + self.batch].tolist()]
        made: Made = {}
        for stream, name in enumerate(("image", "other")):
            if name in self.keys:
                made[name] = np.stack(
                    [
                        self.vary(p.image, self._rng(first + place, stream), self.recipe.spec).image
                        for place, p in enumerate(chosen)
                    ]
                )
        if "sides" in self.keys:
            sides = np.array([(p.height, p.width) for p in chosen], np.float32)
            noise = self._rng(first, _SIDES).normal(0, SIDE_JITTER, sides.shape)
            made["sides"] = np.asarray(sides * np.exp(noise), np.float32)
        if "profile" in self.keys and self.typical is not None:
            rows = [scaled(p.profile, self.typical) for p in chosen if p.profile is not None]
            made["profile"], made["mask"] = padded(rows)
        return made

    def _rng(self, place: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.recipe.seed, self.epoch, place, stream))

    def loader(self) -> DataLoader[dict[str, Tensor]]:
        """The loader for Trainer; it can start in mid-epoch without preparing skipped batches."""
        places = BatchSampler(SequentialSampler(self), 1, drop_last=False)
        return DataLoader(self, batch_sampler=places, collate_fn=_only, generator=torch.Generator())

    def close(self) -> None:
        """Stop the thread."""
        self._drop()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _drop(self) -> None:
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()


def _only(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return items[0]
