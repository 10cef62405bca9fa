"""Prepares the batches of an epoch in threads or processes while the network computes.

The content of a batch depends only on seed, epoch and its place in the epoch. It does not depend
on which worker makes it, when it is requested, or whether the training was resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from time import monotonic

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.preprocess import Preprocessing, prepare
from pi10_classifier.simulate.linescan import Effects
from pi10_classifier.training.data.augment_paper import paper_augment
from pi10_classifier.training.data.augment_pi10 import View, view, view_drawn
from pi10_classifier.training.data.in_memory import TrainingSet
from pi10_classifier.training.data.loading import measured_of
from pi10_classifier.training.data.sampling import (
    epoch_order,
    epoch_size,
    sample_weights,
    weighted_order,
)
from pi10_classifier.training.data.worker_processes import Made, Processes
from pi10_classifier.training.distillation import Teacher
from pi10_classifier.training.recipe import Recipe

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
Vary = Callable[[U8, np.random.Generator, Preprocessing], View]

_AHEAD = 3  # batches in flight in addition to one per thread
_MIX, _HIDE = 1, 2  # more streams of the same seed


def plain(image: U8, rng: np.random.Generator, spec: Preprocessing) -> View:
    """No augmentation: prepare the image as serving does."""
    return View(prepare(_rgb(image), spec))


def paper(image: U8, rng: np.random.Generator, spec: Preprocessing) -> View:
    """The paper's augmentation."""
    return View(paper_augment(image, rng, spec))


VARIATIONS: dict[str, Vary] = {"pi10": view, "paper": paper, "none": plain}


class Batches(Dataset[dict[str, Tensor]]):
    """The batches of one epoch at a time, for one of the training's processes.

    Item ``b`` holds image (n, C, S, S) uint8 and target (n,) int64, or (n, K) float32 with mixup,
    and with measured numbers those (n, M) float32, some hidden.
    With a teacher it also has teacher (n, K) float32 or teacher_image uint8, with an auxiliary head
    finer (n,) int64, and with groups those (n,) int64.

    loaders: the number of threads or processes that make the batches.
    """

    def __init__(
        self,
        training: TrainingSet,
        recipe: Recipe,
        classes: int,
        *,
        teacher: Teacher | None = None,
        loaders: int = 1,
        processes: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.training, self.recipe, self.classes = training, recipe, classes
        self.teacher, self.rank, self.world = teacher, rank, world
        shown = epoch_size(training.truth, recipe.class_minimum, recipe.class_maximum or None)
        self.batch = min(recipe.batch, max(1, shown // world))
        self.count = max(1, shown // (self.batch * world))
        self.vary = self.vary_drawn = VARIATIONS[recipe.augmentation]
        if self.vary is view:
            effects = Effects.without(recipe.look_without.split(","))
            self.vary = partial(view, look=recipe.look, kind=recipe.look_kind, effects=effects)
            self.vary_drawn = partial(view_drawn, effects=effects)
        if recipe.augmentation == "pi10" and np.ndim(training.images[0]) != 2:
            raise SettingError(
                "augmentation 'pi10' needs grey images; set channels to 1, or augmentation to"
                " 'paper'"
            )
        self.waited = 0.0  # seconds that the network has waited for data, in total
        self._ahead = loaders + _AHEAD + recipe.accumulate
        self._coming: dict[int, Future[Made]] = {}
        self.set_epoch(0, recipe.size)
        self._processes = Processes(loaders, self) if processes else None
        self._threads = ThreadPoolExecutor(loaders, thread_name_prefix="augment")

    def begin(self, epoch: int, size: int) -> None:
        """Start an epoch with images of ``size`` px; batches prepared ahead are dropped."""
        self._drop()
        self.set_epoch(epoch, size)

    def set_epoch(self, epoch: int, size: int) -> None:
        """Start an epoch in a worker process, which holds no batches prepared ahead."""
        cv2.setNumThreads(1)
        self.epoch = epoch
        self.spec = replace(self.recipe.spec, size=size)
        self.order = self._draw(epoch)

    def _draw(self, epoch: int) -> I64:
        """Indices of the images of an epoch, over all processes."""
        recipe, shown = self.recipe, self.count * self.batch * self.world
        truth, strata = self.training.truth, self.training.strata
        if recipe.balance:
            weights = sample_weights(strata, recipe.balance)
            return weighted_order(weights, shown, seed=recipe.seed, epoch=epoch)
        order = epoch_order(
            truth,
            seed=recipe.seed,
            epoch=epoch,
            minimum=recipe.class_minimum,
            maximum=recipe.class_maximum or None,
        )
        return np.resize(order, shown)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, b: int) -> dict[str, Tensor]:
        began = monotonic()
        try:
            for ahead in range(b, min(b + self._ahead, self.count)):
                if ahead not in self._coming:
                    self._coming[ahead] = self._ask(ahead)
            made = self._coming.pop(b).result()
        except BrokenProcessPool as error:
            raise SettingError(
                "a process that prepares images was killed, perhaps for lack of memory;"
                " continue with --resume and fewer --loaders"
            ) from error
        self.waited += monotonic() - began
        return {name: torch.from_numpy(value) for name, value in made.items()}

    def _ask(self, b: int) -> Future[Made]:
        if self._processes:
            return self._processes.submit(self.epoch, self.spec.size, b)
        return self._threads.submit(self.make, b)

    def make(self, b: int) -> Made:
        """Batch ``b`` of the epoch, as arrays."""
        first = (b * self.world + self.rank) * self.batch
        chosen = self.order[first : first + self.batch]
        views = self._views(chosen, first, self.vary, self.spec)
        images = np.stack([made.image for made in views])
        truth = self.training.truth[chosen]
        item: Made = {"image": images, "target": np.asarray(truth, np.int64)}
        if self.recipe.finer:
            item["finer"] = self.training.finer[chosen]
        if self.recipe.groups:
            item["groups"] = self.training.groups[chosen]
        share, partner = 1.0, np.arange(len(chosen))
        if self.recipe.mixup:
            rng = np.random.default_rng((self.recipe.seed, self.epoch, first, _MIX))
            share = float(rng.beta(self.recipe.mixup, self.recipe.mixup))
            partner = rng.permutation(len(chosen))
            one = np.eye(self.classes, dtype=np.float32)[truth]
            item["image"] = _mix(images, share, partner)
            item["target"] = (share * one + (1 - share) * one[partner]).astype(np.float32)
        if self.recipe.numbers:
            rows = self._numbers(views, chosen, first)
            mixed = rows if share == 1 else share * rows + (1 - share) * rows[partner]
            item["measured"] = np.asarray(mixed, np.float32)
        if self.teacher is not None:
            item |= self._teacher_input(chosen, first, images, share, partner)
        return item

    def _views(self, chosen: I64, first: int, vary: Vary, spec: Preprocessing) -> list[View]:
        photographs = len(self.training.images) - self.training.drawn
        drawn = self.vary_drawn if vary is self.vary and self.training.drawn else vary
        return [
            (vary if i < photographs else drawn)(
                self.training.images[i],
                np.random.default_rng((self.recipe.seed, self.epoch, first + place)),
                spec,
            )
            for place, i in enumerate(chosen.tolist())
        ]

    def _numbers(self, views: Sequence[View], chosen: I64, first: int) -> F32:
        """What is measured of each view, (n, M); some of it hidden, so that a lack is learnt too.

        A view that was made as a recording of the Pi-10 is measured itself, by serving's way. All
        others keep the numbers of the original: they are of the particle, not of the view.
        """
        names, share = self.recipe.numbers, self.recipe.measured_missing
        rows = self.training.measured[chosen]
        for place, made in enumerate(views):
            if made.recorded is not None:
                rows[place] = measured_of(_rgb(made.recorded), names)
        rng = np.random.default_rng((self.recipe.seed, self.epoch, first, _HIDE))
        hidden = (rng.random((len(rows), 1)) < share) | (rng.random(rows.shape) < share)
        rows[hidden] = np.nan
        return rows

    def _teacher_input(
        self, chosen: I64, first: int, images: U8, share: float, partner: I64
    ) -> dict[str, NDArray[np.generic]]:
        """The teacher's part of the batch, mixed like the student's images."""
        teacher = self.teacher
        assert teacher is not None  # noqa: S101  narrows the type

        def draw(spec: Preprocessing, augmented: bool) -> U8:
            # the same random draw at the teacher's size: the augmentation depends only on the draw
            vary = self.vary if augmented else plain
            same = vary is self.vary and spec == self.spec
            if same:
                return _mix(images, share, partner)
            views = self._views(chosen, first, vary, spec)
            return _mix(np.stack([view.image for view in views]), share, partner)

        logits = teacher.logits(draw, chosen)
        if logits is not None:
            return {"teacher": logits}
        if teacher.network_spec is None:
            raise TypeError("a torch teacher needs the description of its images")
        return {"teacher_image": draw(teacher.network_spec, True)}

    def loader(self) -> DataLoader[dict[str, Tensor]]:
        """The loader for Trainer; it can start in mid-epoch without preparing skipped batches."""
        places = BatchSampler(SequentialSampler(self), 1, drop_last=False)
        # a separate generator, so that the global one serves only the network's dropout
        return DataLoader(self, batch_sampler=places, collate_fn=_only, generator=torch.Generator())

    def close(self) -> None:
        """Stop the threads or processes."""
        self._drop()
        if self._processes:
            self._processes.shutdown()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _drop(self) -> None:
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()


def _rgb(image: U8) -> U8:
    grey = image.ndim == 2
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if grey else image, np.uint8)


def _only(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return items[0]


def _mix(images: U8, share: float, partner: I64) -> U8:
    """Mixup (Zhang 2018) of uint8 images, rounded."""
    if share == 1.0:
        return images
    return np.asarray(
        images * np.float32(share) + images[partner] * np.float32(1 - share) + np.float32(0.5),
        np.uint8,
    )
