"""Fine-tunes an int8 graph: it learns to answer as its float graph does, rounding in the loop.

The loss is the distance of the int8 graph's answers from the float graph's on the same pixels
(distillation; Hinton et al. 2015), so no label is used. Half of the images are drawn in the look of
the Pi-10, as in training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.concurrency import ordered_map, usable_cores
from pi10_classifier.imaging.preprocess import U8, prepare
from pi10_classifier.model.package import Package
from pi10_classifier.model.session import Model
from pi10_classifier.training.data.augment_pi10 import augment
from pi10_classifier.training.data.in_memory import level
from pi10_classifier.training.distillation import distillation
from pi10_classifier.training.quantised.graph_network import GraphNetwork

_TINY = 1e-7
Progress = Callable[[int, int, float], None]
KINDS = ("own", "own", "generic", "linescan")  # of the look; each image draws one of them


def _silent(done: int, of: int, loss: float) -> None:
    """Tell nothing."""


@dataclass(frozen=True, slots=True)
class FineTuning:
    """How long and how fast.

    epochs: times that the training images are seen; may be a fraction, and 0 corrects the biases
    alone. minutes: ends earlier after this time, with the rate brought down all the same; 0 for no
    limit. The weights then depend on the machine's speed. progress: called after each step with
    the images seen, all to be seen, and the loss (nats).
    """

    epochs: float = 1.0
    minutes: float = 0.0
    batch: int = 64
    rate: float = 5e-5
    seed: int = 0
    progress: Progress = _silent

    def __post_init__(self) -> None:
        if not 0 <= self.epochs <= 100:
            raise SettingError(f"--finetune is {self.epochs:g}; it must be 0 to 100 epochs")

    @property
    def words(self) -> str:
        """What is done to a graph, for its record and card."""
        if not self.epochs:
            return "biases corrected"
        limit = f" or {self.minutes:g} minutes" * bool(self.minutes)
        return f"fine-tuned for {self.epochs:g} epochs{limit} with the rounding in the loop"

    def __call__(
        self,
        model: Model,
        quantised: bytes,
        original: bytes,
        scan: Scan,
        samples: Sequence[Sample],
        weight_bits: int,
    ) -> bytes:
        """The int8 graph ``quantised`` with weights trained on ``samples``, to answer as ``model``.

        original: the float graph that it was made of. Raises SettingError where the graph has an
        operator that cannot be trained, or where the package takes measured numbers.
        """
        package = model.package
        if package.measured:
            raise SettingError(
                f"{package.name} takes measured numbers beside the image, which drawn views of an"
                " image do not have; leave --finetune out"
            )
        target = package.groups.output if package.groups else package.output_name
        network = GraphNetwork(quantised, original, target, weight_bits)
        cool = 1.0 if package.groups else package.temperature
        torch.manual_seed(self.seed)
        wanted = max(self.batch, round(self.epochs * len(samples)))
        steps = -(-wanted // self.batch)
        if wanted < len(samples):  # the others need not be read
            chosen = np.random.default_rng(self.seed).choice(len(samples), wanted, replace=False)
            samples = [samples[place] for place in np.sort(chosen)]
        drawn = _batches(model, scan, samples, steps, self)
        first = next(drawn)
        network.correct_biases(_given(package, first[0]))
        if self.epochs == 0:
            return network.exported()
        optimiser = torch.optim.Adam(network.parameters(), self.rate)
        began, done = time.monotonic(), 0
        for images, told in chain([first], drawn):
            spent = (time.monotonic() - began) / (60 * self.minutes) if self.minutes else 0.0
            if spent >= 1:
                break
            rate = self.rate * _share_of_rate(max(done / (steps * self.batch), spent))
            for group in optimiser.param_groups:
                group["lr"] = rate
            answers = network(_given(package, images)) / cool
            loss = distillation(answers, torch.from_numpy(told), 1.0)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            done += len(images)
            self.progress(done, steps * self.batch, float(loss.detach()))
        return network.exported()


def _given(package: Package, images: U8) -> torch.Tensor:
    return torch.from_numpy(package.feed(images)[package.input_name])


def _share_of_rate(passed: float) -> float:
    """Of the highest rate: a short rise, then down a cosine. passed: share of the training."""
    rise = 0.05
    return passed / rise + 0.05 if passed < 0.95 * rise else (1 + math.cos(math.pi * passed)) / 2


def _batches(
    model: Model, scan: Scan, samples: Sequence[Sample], steps: int, plan: FineTuning
) -> Iterator[tuple[U8, NDArray[np.float32]]]:
    """Drawn images (n, C, S, S) uint8, and the float graph's logits (n, groups or classes)."""
    spec = model.package.preprocessing
    crops = [(level(rgb), prepare(rgb, spec)) for _, rgb in read_rgb(scan, samples)]
    order = np.random.default_rng(plan.seed)
    turns: list[int] = []

    def drawn(step: int) -> tuple[U8, NDArray[np.float32]]:
        images = []
        for place in turns[step * plan.batch : (step + 1) * plan.batch]:
            rng = np.random.default_rng((plan.seed, step, place))
            kind = KINDS[rng.integers(len(KINDS))]
            levelled, plain = crops[place]
            if kind == "own":
                images.append(
                    plain if rng.random() < 0.5 else augment(levelled, rng, spec, look=0.0)
                )
            else:
                images.append(augment(levelled, rng, spec, look=1.0, kind=kind))
        batch = np.stack(images)
        answer = model.answer(batch)
        told = answer.groups
        if told is None:
            told = np.log(np.maximum(answer.scores, _TINY))
        return batch, np.asarray(told, np.float32)

    while len(turns) < steps * plan.batch:
        turns += order.permutation(len(crops)).tolist()
    yield from ordered_map(drawn, range(steps), usable_cores(), 2)
