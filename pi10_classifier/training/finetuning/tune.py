"""Trains a package's network and its new head together, a little, from the fitted linear head on.

Strongly regularised, as there are few crops: it starts from the linear head (Kumar et al. 2022,
https://arxiv.org/abs/2202.10054), the rate is low, every step pulls the weights back to the start
(L2-SP, Li et al. 2018, https://arxiv.org/abs/1802.01483), norms keep their statistics, and source
images count too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.training.finetuning.graph_network import GraphNetwork

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

RATE = 2e-4
PULL = 20.0  # of L2-SP: the share RATE * PULL of the way back to the start in every step
EPOCHS = 30
BATCH = 20
SHOWN = 3000  # most images shown in one fit, so that the time is bounded
REPLAYED = 64  # source features in a step
_DROPOUT = 0.2
_TURN, _GROW = math.pi, 0.1  # any angle; up to so much larger or smaller
_AGREE = 1e-3  # of features, between the graph and torch, relative to the largest


class Fit(Protocol):
    """What is trained on, as ``packaging.adaptation.finetune.Fit`` has it."""

    @property
    def images(self) -> U8: ...
    @property
    def numbers(self) -> F32: ...
    @property
    def truth(self) -> I64: ...
    @property
    def weight(self) -> F64: ...
    @property
    def head_weight(self) -> F64: ...
    @property
    def head_bias(self) -> F64: ...
    @property
    def source(self) -> tuple[F32, I64, F64]: ...


@dataclass(frozen=True, slots=True)
class Tuned:
    """The graph with its weights as trained, from image to features, and the head on them.

    weight: (D + M, K). bias: (K,). settings: of the training, for the record.
    """

    graph: onnx.ModelProto
    weight: F64
    bias: F64
    settings: Mapping[str, float] = field(default_factory=dict)


def tune(graph: onnx.ModelProto, fit: Fit, seed: int) -> Tuned:
    """Train ``graph`` (image uint8 to features) and the head together.

    Raises SettingError if the graph cannot be trained, ModelError if torch and the graph differ, or
    the loss is no number.
    """
    network = GraphNetwork(onnx.ModelProto.FromString(graph.SerializeToString()))
    _check_same(network, graph, fit.images[:8])
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = nn.Linear(*fit.head_weight.shape)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(fit.head_weight.T.astype(np.float32)))
        head.bias.copy_(torch.from_numpy(fit.head_bias.astype(np.float32)))
    parameters = [*network.parameters(), *head.parameters()]
    start = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    count, steps = len(fit.truth), steps_of(len(fit.truth))
    share = fit.weight / fit.weight.sum()
    for step in range(steps):
        rate = rate_at(step, steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        chosen = rng.choice(count, min(BATCH, count), p=share)
        features = network(varied(torch.from_numpy(fit.images[chosen]), rng))
        features = functional.dropout(features, _DROPOUT)
        logits = head(torch.cat((features, torch.from_numpy(fit.numbers[chosen])), dim=1))
        loss = functional.cross_entropy(logits, torch.from_numpy(fit.truth[chosen]))
        if len(fit.source[1]):
            loss = loss + _replayed(head, fit.source, rng)
        if not torch.isfinite(loss):
            raise ModelError(f"fine-tuning reached a loss of {loss.item()}; leave --finetune out")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        with torch.no_grad():
            for parameter, origin in zip(parameters, start, strict=True):
                parameter.add_(origin - parameter, alpha=min(1.0, rate * PULL))
    trained = network.trained()
    _check_same(network, trained, fit.images[:8])
    weight, bias = (x.detach().numpy().astype(np.float64) for x in (head.weight.T, head.bias))
    settings = {"rate": RATE, "pull": PULL, "steps": steps, "batch": min(BATCH, count)}
    return Tuned(trained, weight, bias, settings)


def rate_at(step: int, steps: int) -> float:
    """The learning rate: up over a tenth of the steps, then down to 0 as a cosine."""
    risen = min(1.0, (step + 1) / max(1.0, 0.1 * steps))
    return RATE * risen * 0.5 * (1 + math.cos(math.pi * step / steps))


def steps_of(count: int) -> int:
    """Optimiser steps for so many crops."""
    batch = min(BATCH, count)
    return max(1, min(EPOCHS * count, SHOWN) // batch)


def varied(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Prepared images (n, C, S, S) uint8, mirrored, turned and scaled a little -> float32.

    What comes in from outside is the edge's grey.
    """
    count = len(images)
    angle = torch.from_numpy(rng.uniform(-_TURN, _TURN, count)).float()
    scale = torch.from_numpy(np.exp(rng.uniform(-_GROW, _GROW, count))).float()
    mirror = torch.from_numpy(np.where(rng.random(count) < 0.5, -1.0, 1.0)).float()
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    zero = torch.zeros(count)
    rows = torch.stack((cos * mirror, -sin, zero, sin * mirror, cos, zero), dim=1).view(count, 2, 3)
    shape = list(images.shape)
    grid = functional.affine_grid(rows, shape, align_corners=False)
    return functional.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _replayed(head: nn.Linear, source: tuple[F32, I64, F64], rng: np.random.Generator) -> Tensor:
    """The loss of some source features, drawn by their weight, at its share of the crops' loss."""
    joined, truth, weight = source
    drawn = rng.choice(len(weight), min(REPLAYED, len(weight)), p=weight / weight.sum())
    logits = head(torch.from_numpy(joined[drawn]))
    loss = functional.cross_entropy(logits, torch.from_numpy(truth[drawn]))
    return loss * float(weight.sum())


def _check_same(network: GraphNetwork, graph: onnx.ModelProto, images: U8) -> None:
    """Raise if torch and ONNX Runtime give other features of some images."""
    import onnxruntime as ort

    try:
        session = ort.InferenceSession(
            graph.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        wanted = session.run(None, {network.input: images})[0]
        with torch.no_grad():
            ours = network(torch.from_numpy(images)).numpy()
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
        raise SettingError(
            f"the graph cannot be trained: {str(error)[:200]}; leave --finetune out, or give"
            " starter or fast"
        ) from error
    gap = float(np.abs(ours - wanted).max())
    if not gap <= _AGREE * max(1.0, float(np.abs(wanted).max())):
        raise ModelError(
            f"torch and ONNX Runtime differ by {gap:.2e} in a feature, so the graph cannot be"
            " trained; leave --finetune out"
        )
