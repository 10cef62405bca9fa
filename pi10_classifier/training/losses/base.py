"""What all losses share: the target as shares, counts per class, cross-entropy per image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.training.networks.base import Output


class Loss(nn.Module):
    """Common to all: what a loss asks of the network, and how far training is.

    ``progress`` (0..1) is set by the loop at the start of each epoch.
    """

    soft = True

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.progress = 0.0

    def shares(self, target: Tensor) -> Tensor:
        """The target as shares (N, K) float32."""
        if target.ndim == 1:
            return functional.one_hot(target, self.classes).float()
        if not self.soft:
            raise SettingError(
                f"{type(self).__name__} is defined for one class an image, not for mixed ones;"
                " switch mixup off or choose another loss"
            )
        return target.float()

    def forward(self, output: Output, target: Tensor) -> Tensor:
        """Mean loss, a scalar float32."""
        raise NotImplementedError


def class_counts(counts: Sequence[int]) -> Tensor:
    """The training images of each class (K,)."""
    return torch.as_tensor(list(counts))


def cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Per image (N,): in float32, whatever precision the network ran in."""
    return -(shares * torch.log_softmax(logits.float(), dim=1)).sum(dim=1)
