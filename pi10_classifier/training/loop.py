"""The training loop: balanced sampling, augmentation ahead of use, the best kept.

Sampling and augmentation depend on (seed, epoch, draw) alone, not on threads.
"""

from __future__ import annotations

import copy
import json
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.preprocess import Preprocessing
from pi10_classifier.training.augment import augment
from pi10_classifier.training.dataset import HeldOut, TrainingSet

U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides a training besides the data.

    epochs: passes over the training images; the learning rate ends at zero.
    minutes: if set, training ends after this long at the latest, and the rate
    falls with the clock, so a slow machine still ends at zero.
    warm_size, warm_share: side of the input in px during that first share.
    balance: an image is drawn with weight (images of its class and source)^-balance.
    """

    epochs: int = 16
    minutes: float | None = None
    size: int = 96
    warm_size: int = 64
    warm_share: float = 0.4
    batch: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_steps: int = 150
    smoothing: float = 0.05
    balance: float = 0.5
    ema: float = 0.997
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise SettingError(f"epochs {self.epochs} must be >= 1 and batch {self.batch} >= 2")
        if self.minutes is not None and self.minutes <= 0:
            raise SettingError(f"minutes is {self.minutes}; it must be positive")
        for size in (self.size, self.warm_size):
            if not 32 <= size <= 512:
                raise SettingError(f"input size {size} px is outside 32..512")


def train(
    network: nn.Module,
    training: TrainingSet,
    validation: HeldOut,
    recipe: Recipe,
    keep: Callable[[nn.Module, dict[str, Any]], None],
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Train ``network``; ``keep`` receives the averaged weights at each new best epoch.

    Returns one record per epoch: input size, images seen, loss, validation macro-F1,
    seconds. Raises SettingError where the loss is no longer a number.
    """
    torch.manual_seed(recipe.seed)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(_groups(network, recipe.weight_decay), lr=recipe.rate)
    clock = _Clock(recipe, steps=recipe.epochs * max(1, len(training.truth) // recipe.batch))
    history: list[dict[str, Any]] = []
    best = -1.0
    while not clock.over:
        network.train()
        size = recipe.warm_size if clock.progress < recipe.warm_share else recipe.size
        began, total, seen = time.monotonic(), 0.0, 0
        for images, truth in _batches(training, recipe, len(history), size):
            for group in optimiser.param_groups:
                group["lr"] = clock.rate()
            logits = network(images).logits
            loss = functional.cross_entropy(logits, truth, label_smoothing=recipe.smoothing)
            if not math.isfinite(value := loss.item()):
                raise SettingError(
                    f"loss is {value} in epoch {len(history) + 1}; lower the learning rate"
                )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            clock.step += 1
            _follow(average, network, recipe.ema, clock.step)
            total, seen = total + value * len(truth), seen + len(truth)
            if clock.step % 50 == 0:
                pace = seen / (time.monotonic() - began)
                say(f"  {clock} {size} px loss {total / seen:.4f} {pace:.0f} images/s")
            if clock.over:
                break
        guess = predict(average, validation.images).argmax(axis=1)
        classes = int(validation.truth.max()) + 1
        record = {
            "epoch": len(history) + 1,
            "size": size,
            "images": seen,
            "loss": round(total / seen, 5),
            "validation_macro_f1": round(validation.macro_f1(guess, classes), 5),
            "seconds": round(time.monotonic() - began, 1),
        }
        history.append(record)
        say(f"{clock} {json.dumps(record)}")
        if record["validation_macro_f1"] > best:
            best = float(record["validation_macro_f1"])
            keep(average, {"best": record, "history": history})
    return history


class _Clock:
    """Where a training stands, by steps or by minutes, whichever is further on."""

    def __init__(self, recipe: Recipe, steps: int) -> None:
        self.recipe, self.steps, self.step = recipe, steps, 0
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def progress(self) -> float:
        spent = self.seconds / (60 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return min(1.0, max(self.step / self.steps, spent))

    @property
    def over(self) -> bool:
        return self.progress >= 1.0

    def rate(self) -> float:
        """Learning rate: linear warm-up, then a cosine to zero."""
        rise = min(1.0, (self.step + 1) / self.recipe.warmup_steps)
        return self.recipe.rate * rise * 0.5 * (1 + math.cos(math.pi * self.progress))

    def __str__(self) -> str:
        done = self.progress
        left = self.seconds * (1 - done) / done / 60 if done else math.inf
        return f"step {self.step} {done:4.0%} rate {self.rate():.1e} ETA {left:.0f} min"


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and norms."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the exponential average of weights and norm statistics by one step."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    target, source = average.state_dict(), network.state_dict()
    for key, value in target.items():
        if value.is_floating_point():
            value.lerp_(source[key], weight)
        else:
            value.copy_(source[key])


def _batches(
    training: TrainingSet, recipe: Recipe, epoch: int, size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch's batches, made by a thread while the network works.

    Image ``i`` of draw ``d`` is varied by a generator seeded with (seed, epoch, d):
    the same whatever the threads do.
    """
    rng = np.random.default_rng((recipe.seed, epoch))
    sizes = np.bincount(training.strata).astype(np.float64)
    weight = sizes[training.strata] ** -recipe.balance
    n = len(training.truth)
    batch = min(recipe.batch, n)
    order = rng.choice(n, n // batch * batch, p=weight / weight.sum())
    spec = Preprocessing(size=size)
    ready: queue.Queue[tuple[Tensor, Tensor] | BaseException | None] = queue.Queue(maxsize=4)
    stop = threading.Event()

    def offer(item: tuple[Tensor, Tensor] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.5)
            except queue.Full:
                continue

    def fill() -> None:
        try:
            for start in range(0, len(order), batch):
                if stop.is_set():
                    return
                chosen = order[start : start + batch]
                images = [
                    augment(
                        training.images[i],
                        np.random.default_rng((recipe.seed, epoch, start + place)),
                        spec,
                    )
                    for place, i in enumerate(chosen)
                ]
                offer(
                    (torch.from_numpy(np.stack(images)), torch.from_numpy(training.truth[chosen]))
                )
            offer(None)
        except BaseException as error:  # handed to the consumer, who raises it
            offer(error)

    cv2.setNumThreads(1)
    worker = threading.Thread(target=fill, name="augment", daemon=True)
    worker.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        worker.join()


@torch.no_grad()
def predict(network: nn.Module, images: U8, batch: int = 128) -> NDArray[np.float32]:
    """Prepared images (N, C, S, S) uint8 -> logits (N, K) float32, in eval mode."""
    network.eval()
    parts = [
        network(torch.from_numpy(images[i : i + batch])).logits.numpy()
        for i in range(0, len(images), batch)
    ]
    return np.concatenate(parts)
