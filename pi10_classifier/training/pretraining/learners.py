"""The methods of pretraining: what a network is trained with, and left without afterwards."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from pi10_classifier.errors import SettingError
from pi10_classifier.training.networks.base import Network, Output
from pi10_classifier.training.pretraining.losses import (
    CentredCrossEntropy,
    SymmetricContrastive,
    negative_cosine,
    spread,
    two_views,
    unit,
)
from pi10_classifier.training.pretraining.profile_encoders import WIDTH, profile_encoder

_TYPICAL_SIDE_PX = 80.0  # of a crop, where the numbers that stand for its sides are 0
_BOTTLENECK, _ANSWERS = 256, 1024
_FIRST_MOMENTUM = 0.99


class Learned(NamedTuple):
    """Of one batch: the loss, the ``spread`` of the embeddings, and the share that is matched.

    matched: of the images, whose nearest embedding is that of their own partner; NaN where a method
    compares none.
    """

    loss: Tensor
    spread: Tensor
    matched: Tensor


class Learner(nn.Module):
    """A network and what it is trained with. ``keys`` are the fields of a batch that it takes."""

    keys: tuple[str, ...] = ("image", "other")

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def features(self, image: Tensor) -> Tensor:
        return Output(*self.network(image)).features

    def after_step(self, progress: float) -> None:
        """What follows an optimiser step. progress: of the training, 0 to 1."""

    @property
    def kept(self) -> Network:
        """The network that is kept."""
        return self.network


class SimCLR(Learner):
    """Two views of an image are to be told from those of all other images (Chen et al. 2020)."""

    def __init__(self, network: Network, width: int) -> None:
        super().__init__(network)
        self.projection = _projection(width, WIDTH, 128)

    def forward(self, image: Tensor, other: Tensor) -> Learned:
        embedded = self.projection(self.features(torch.cat((image, other))))
        one, two = embedded.chunk(2)
        loss, matched = two_views(one, two)
        return Learned(loss, spread(embedded), matched)


class SimSiam(Learner):
    """A view is to predict the other view's embedding (Chen and He 2021); no negatives."""

    def __init__(self, network: Network, width: int) -> None:
        super().__init__(network)
        self.projection = _projection(width, WIDTH, WIDTH)
        self.prediction = _projection(WIDTH, WIDTH // 4, WIDTH, last_norm=False)

    def forward(self, image: Tensor, other: Tensor) -> Learned:
        one, two = (self.projection(self.features(view)) for view in (image, other))
        loss = negative_cosine(self.prediction(one), two) + negative_cosine(
            self.prediction(two), one
        )
        return Learned(loss / 2, spread(one), loss.new_tensor(math.nan))


class DINO(Learner):
    """A view is to give the answer that the running mean of the network gives on the other view.

    Caron et al. 2021, with two views of the whole particle and no smaller crops.
    """

    def __init__(self, network: Network, width: int) -> None:
        super().__init__(network)
        self.head = _answering(width)
        self.teacher = copy.deepcopy(self.network)
        self.teacher_head = copy.deepcopy(self.head)
        for weight in (*self.teacher.parameters(), *self.teacher_head.parameters()):
            weight.requires_grad_(False)
        self.loss = CentredCrossEntropy(_ANSWERS)

    def forward(self, image: Tensor, other: Tensor) -> Learned:
        views = (image, other)
        answers = [self.head(self.features(view)) for view in views]
        with torch.no_grad():
            seen = [Output(*self.teacher(view)).features for view in views]
            targets = [self.teacher_head(features) for features in seen]
        loss = self.loss((answers[0], answers[1]), (targets[0], targets[1]))
        return Learned(loss, spread(seen[0]), loss.new_tensor(math.nan))

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        momentum = 1 - (1 - _FIRST_MOMENTUM) * (1 + math.cos(math.pi * progress)) / 2
        for mine, theirs in ((self.teacher, self.network), (self.teacher_head, self.head)):
            for old, new in zip(mine.parameters(), theirs.parameters(), strict=True):
                old.lerp_(new, 1 - momentum)

    @property
    def kept(self) -> Network:
        return self.teacher


class CrossModal(Learner):
    """An image and the profile of the same particle are to be told from all others' (CLIP).

    Kareinen et al. 2026 (arXiv 2603.16427): both are projected to 512 dimensions, and the crop's
    height and width stand beside the image's features, because resizing loses the size.
    """

    keys = ("image", "sides", "profile", "mask")

    def __init__(self, network: Network, width: int, encoder: nn.Module) -> None:
        super().__init__(network)
        self.encoder = encoder
        self.norm = nn.LayerNorm(width)
        self.image_projection = nn.Linear(width + 2, WIDTH)
        self.profile_projection = nn.Linear(WIDTH, WIDTH)
        self.loss = SymmetricContrastive()

    def embed(self, image: Tensor, sides: Tensor) -> Tensor:
        """Images (N, C, S, S) uint8 and their crops' height and width (N, 2), px -> (N, 512)."""
        size = (sides / _TYPICAL_SIDE_PX).log()
        return unit(self.image_projection(torch.cat((self.norm(self.features(image)), size), 1)))

    def forward(self, image: Tensor, sides: Tensor, profile: Tensor, mask: Tensor) -> Learned:
        seen = self.embed(image, sides)
        heard = self.profile_projection(functional.gelu(self.encoder(profile, mask)))
        loss, matched = self.loss(seen, heard)
        return Learned(loss, spread(seen), matched)

    def after_step(self, progress: float) -> None:
        self.loss.limit()


@dataclass(frozen=True, slots=True)
class Method:
    """A method by name. profiles: whether it needs one for each particle."""

    kind: type[Learner]
    meaning: str
    profiles: bool = False


METHODS: Mapping[str, Method] = {
    "simclr": Method(SimCLR, "two views of an image against all others"),
    "simsiam": Method(SimSiam, "a view predicts the other view"),
    "dino": Method(DINO, "a view gives the answer of the averaged network on the other"),
    "profiles": Method(CrossModal, "an image against the profiles of all particles", True),
}


def method(name: str) -> Method:
    if name not in METHODS:
        raise SettingError(f"unknown method {name!r}; it must be one of {', '.join(METHODS)}")
    return METHODS[name]


def learner(
    name: str, network: Network, size: int, encoder: str = "", channels: int = 0
) -> Learner:
    """The learner of a method. size: input side, px. encoder, channels: of the profiles."""
    width = feature_width(network, size)
    kind = method(name).kind
    if issubclass(kind, CrossModal):
        return kind(network, width, profile_encoder(encoder, channels))
    return kind(network, width)  # type: ignore[call-arg]


@torch.no_grad()
def feature_width(network: Network, size: int) -> int:
    """The number of features of a network."""
    was = network.training
    blank = torch.zeros((1, network.channels, size, size), dtype=torch.uint8)
    width = Output(*network.eval()(blank)).features.shape[1]
    network.train(was)
    return int(width)


def _projection(inputs: int, hidden: int, outputs: int, last_norm: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Linear(inputs, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs, bias=not last_norm),
    ]
    if last_norm:
        layers.append(nn.BatchNorm1d(outputs, affine=False))
    return nn.Sequential(*layers)


class _Unit(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return unit(x)


def _answering(width: int) -> nn.Sequential:
    """DINO's head: features -> unit vector -> cosine with each of the answers."""
    last = parametrizations.weight_norm(nn.Linear(_BOTTLENECK, _ANSWERS, bias=False))
    scale = last.parametrizations.weight.original0
    nn.init.ones_(scale)
    scale.requires_grad_(False)
    return nn.Sequential(
        nn.Linear(width, WIDTH), nn.GELU(), nn.Linear(WIDTH, _BOTTLENECK), _Unit(), last
    )
