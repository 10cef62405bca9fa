"""Cross-entropy and its balanced forms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.training.losses.base import Loss, class_counts, cross_entropy
from pi10_classifier.training.networks.base import Output


def effective_weights(counts: Sequence[int], beta: float = 0.9999) -> Tensor:
    """Class weights (K,) float32: (1 - beta)/(1 - beta^N_y), scaled to sum to K (Cui 2019)."""
    if not 0 <= beta < 1:
        raise SettingError(f"beta is {beta}; it must be at least 0 and below 1")
    n = class_counts(counts).double()
    weight = (1 - beta) / (1 - torch.pow(torch.tensor(beta, dtype=torch.float64), n))
    return (weight * len(n) / weight.sum()).float()


class SoftTargetCE(Loss):
    """ST_CE: cross-entropy against shares, with optional smoothing over the K classes."""

    def __init__(self, counts: Sequence[int], smoothing: float = 0.0) -> None:
        super().__init__(len(counts))
        self.smoothing = _share(smoothing)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        shares = _smooth(self.shares(target), self.smoothing)
        return cross_entropy(output.logits, shares).mean()


class BinaryCE(Loss):
    """BCE: K times the mean binary cross-entropy against the smoothed one-hot target."""

    def __init__(self, counts: Sequence[int], smoothing: float = 0.1) -> None:
        super().__init__(len(counts))
        self.smoothing = _share(smoothing)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        shares = _smooth(self.shares(target), self.smoothing)
        loss = functional.binary_cross_entropy_with_logits(output.logits.float(), shares)
        return self.classes * loss


class BalancedCE(Loss):
    """Bal_CE: cross-entropy of logits + tau log prior (balanced softmax, Ren 2020)."""

    offset: Tensor

    def __init__(self, counts: Sequence[int], tau: float = 1.0) -> None:
        super().__init__(len(counts))
        n = class_counts(counts).double()
        self.register_buffer("offset", (tau * torch.log(n / n.sum())).float(), persistent=False)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        return cross_entropy(output.logits.float() + self.offset, self.shares(target)).mean()


class ClassBalancedCE(Loss):
    """CB_CE: each class's term is weighted by ``effective_weights``; the mean is over images."""

    weight: Tensor

    def __init__(self, counts: Sequence[int], beta: float = 0.9999) -> None:
        super().__init__(len(counts))
        self.register_buffer("weight", effective_weights(counts, beta), persistent=False)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        return cross_entropy(output.logits, self.shares(target) * self.weight).mean()


def _share(smoothing: float) -> float:
    if not 0 <= smoothing < 1:
        raise SettingError(f"smoothing is {smoothing}; it must be at least 0 and below 1")
    return smoothing


def _smooth(shares: Tensor, smoothing: float) -> Tensor:
    return shares * (1 - smoothing) + smoothing / shares.shape[1]
