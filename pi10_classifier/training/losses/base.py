"""The base class of all losses, and their targets, counts and cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.training.networks.base import Output


class Loss(nn.Module):
    """Base class: what a loss needs from the network, and the progress of the training.

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
                f"{type(self).__name__} is defined for one class per image, not for mixed"
                " images; switch mixup off or choose another loss"
            )
        return target.float()

    def forward(self, output: Output, target: Tensor) -> Tensor:
        """Mean loss, a scalar float32."""
        raise NotImplementedError


def class_counts(counts: Sequence[int]) -> Tensor:
    """Check and return the number of training images per class (K,)."""
    return torch.as_tensor(list(counts))


def cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy per image (N,), in float32 whatever the network's precision."""
    return -(shares * torch.log_softmax(logits.float(), dim=1)).sum(dim=1)
