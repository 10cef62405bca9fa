"""A network that takes what is measured of a particle beside its image.

A hidden layer sees the image's features and the numbers together, and what it gives is added to the
image's logits. It begins at zero, so that a training starts from the network without numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.imaging.measured_vector import CLIP, F32, centre_and_scale
from pi10_classifier.training.networks.base import Output

HIDDEN = 64
PART = "numbers"  # in the names of the weights, by which they are told from the image's
_DROPOUT = 0.2


@dataclass(frozen=True, slots=True)
class Standard:
    """Names of the numbers (M,), and the centre and scale (M,) float32 that standardise them."""

    names: tuple[str, ...]
    centre: F32
    scale: F32

    @classmethod
    def of(cls, names: tuple[str, ...], measured: F32) -> Standard:
        """From the training images' numbers (N, M)."""
        return cls(names, *centre_and_scale(measured))

    @classmethod
    def unknown(cls, names: tuple[str, ...]) -> Standard:
        """Before there are images, or for weights that bring their own."""
        count = len(names)
        return cls(names, np.zeros(count, np.float32), np.ones(count, np.float32))


class MeasuredNetwork(nn.Module):
    """``network`` with a second input: numbers float32 (N, M), NaN where one is missing.

    features: the width D of the network's features. rows: of its logits.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, standard: Standard, features: int, rows: int) -> None:
        super().__init__()
        self.network, self.names = network, standard.names
        self.attention = getattr(network, "attention", False)
        self.register_buffer("centre", torch.from_numpy(standard.centre.copy()))
        self.register_buffer("scale", torch.from_numpy(standard.scale.copy()))
        last = nn.Linear(HIDDEN, rows)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        inputs = features + 2 * len(standard.names)
        self.numbers = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), last)

    def forward(self, image: Tensor, measured: Tensor | None = None) -> Output:
        """measured: None where nothing was measured of any image."""
        output = Output(*self.network(image))
        if measured is None:
            measured = self.centre.new_full((len(image), len(self.names)), float("nan"))
        lacking = torch.isnan(measured)
        filled = torch.where(lacking, self.centre, measured)
        standard = ((filled - self.centre) / self.scale).clamp(-CLIP, CLIP)
        seen = functional.dropout(output.features.float(), _DROPOUT, self.training)
        joined = torch.cat((seen, standard, (~lacking).to(standard.dtype)), dim=1)
        return output._replace(logits=output.logits + self.numbers(joined))


def with_numbers(
    network: nn.Module, standard: Standard | None, channels: int, size: int
) -> nn.Module:
    """The network with an input for the numbers of ``standard``; as it is for None."""
    if standard is None or not standard.names:
        return network
    blank = torch.zeros((1, channels, size, size), dtype=torch.uint8)
    was = network.training
    with torch.no_grad():
        output = Output(*network.eval()(blank))
    network.train(was)
    return MeasuredNetwork(network, standard, output.features.shape[1], output.logits.shape[1])


def taking_numbers(network: nn.Module) -> MeasuredNetwork | None:
    """The part of a network, perhaps of a grouped one, that takes numbers; None if none does."""
    found = (module for module in network.modules() if isinstance(module, MeasuredNetwork))
    return next(found, None)
