"""An auxiliary head that learns the sources' own labels; it is not exported.

For example, 121 taxa of one camera and 35 of another are merged into three classes. Learning to
separate the taxa helps with the classes too (an auxiliary task, Caruana 1997).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.training.data.in_memory import UNKNOWN, TrainingSet
from pi10_classifier.training.networks.base import Output
from pi10_classifier.training.recipe import Recipe

_DROPOUT = 0.2


class AuxiliaryHeadNetwork(nn.Module):
    """A network with an auxiliary linear head (N, D) -> (N, L) on its features, for L labels."""

    def __init__(self, network: nn.Module, features: int, labels: int) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Linear(features, labels)
        self.attention = getattr(network, "attention", False)

    def forward(self, image: Tensor, *numbers: Tensor) -> Output:
        output = Output(*self.network(image, *numbers))
        seen = functional.dropout(output.features, _DROPOUT, self.training)
        return output._replace(finer=self.head(seen))


def with_auxiliary_head(network: nn.Module, training: TrainingSet, recipe: Recipe) -> nn.Module:
    """``network``, with the auxiliary head if the recipe gives it a weight.

    Raises SettingError if the training images do not have more labels than classes.
    """
    if not recipe.finer:
        return network
    labels = int(training.finer.max(initial=UNKNOWN)) + 1
    if labels <= len(set(training.truth.tolist())):
        raise SettingError(
            f"finer is {recipe.finer}, but the images have {labels} labels of their own, no"
            " more than classes; give labels that a label map merges, or set finer to 0"
        )
    device = next(network.parameters()).device
    blank = torch.zeros(
        (1, recipe.channels, recipe.size, recipe.size), dtype=torch.uint8, device=device
    )
    was = network.training
    with torch.no_grad():
        features = Output(*network.eval()(blank)).features.shape[1]
    network.train(was)
    return AuxiliaryHeadNetwork(network, features, labels).to(device)


def without_auxiliary_head(network: nn.Module) -> nn.Module:
    """The network without its auxiliary head, as kept and exported."""
    return network.network if isinstance(network, AuxiliaryHeadNetwork) else network


def auxiliary_loss(logits: Tensor | None, labels: Tensor) -> Tensor:
    """Mean cross-entropy, nats, over the images with a known label (N,); 0 if there are none.

    logits: (N, L) of the labels; the network must have given them.
    """
    known = cast(Tensor, logits).float()
    total = functional.cross_entropy(known, labels, ignore_index=UNKNOWN, reduction="sum")
    return total / (labels != UNKNOWN).sum().clamp(min=1)
