"""The long-tail losses of Eftekhari et al. (ECCV 2024 workshops), by name.

K classes, N_y training images of class y, p = softmax(logits). Every loss is called
with a network's ``Output`` and a target: class indices (N,) int64, or shares (N, K)
float that sum to one (mixup), and returns the mean over the N images, in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.training.losses.base import Loss, class_counts, cross_entropy
from pi10_classifier.training.losses.label_aware_smoothing import DynamicLAS, LabelAwareSmoothing
from pi10_classifier.training.networks.base import COSINE_SCALE, Output

__all__ = ["LDAM", "LOSSES", "Loss", "build_loss", "effective_weights"]


def effective_weights(counts: Sequence[int], beta: float = 0.9999) -> Tensor:
    """Class weights (K,) float32: (1 - beta)/(1 - beta^N_y), scaled to sum to K (Cui 2019)."""
    if not 0 <= beta < 1:
        raise SettingError(f"beta is {beta}; it must be in 0..1, below 1")
    n = class_counts(counts).double()
    weight = (1 - beta) / (1 - torch.pow(torch.tensor(beta, dtype=torch.float64), n))
    return (weight * len(n) / weight.sum()).float()


class SoftTargetCE(Loss):
    """ST_CE: cross-entropy against shares, smoothed evenly over the K classes if asked."""

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
    """CB_CE: each class's term weighed by ``effective_weights``; the mean is over images."""

    weight: Tensor

    def __init__(self, counts: Sequence[int], beta: float = 0.9999) -> None:
        super().__init__(len(counts))
        self.register_buffer("weight", effective_weights(counts, beta), persistent=False)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        return cross_entropy(output.logits, self.shares(target) * self.weight).mean()


class LDAM(Loss):
    """Label-distribution-aware margins (Cao 2019), with deferred re-weighting.

    The network's head must be the cosine one: its logits are s cos(feature, class
    weight), never raw ones times s. From the true logit s m_y is taken, m_y = C/N_y^1/4
    with C such that the largest margin is ``margin``. From ``defer`` on (share of the
    training, 1 = never) classes weigh ``effective_weights``, and the mean is the weighted one.
    """

    needs_cosine = True
    soft = False
    margins: Tensor
    weight: Tensor

    def __init__(
        self,
        counts: Sequence[int],
        margin: float = 0.5,
        scale: float = COSINE_SCALE,
        defer: float = 0.8,
        beta: float = 0.9999,
    ) -> None:
        super().__init__(len(counts))
        if not 0 < margin <= 2 or scale <= 0 or not 0 <= defer <= 1:
            raise SettingError(
                f"LDAM takes a margin in 0..2, a positive scale and defer in 0..1,"
                f" not {margin}, {scale}, {defer}"
            )
        quarter = class_counts(counts).double() ** -0.25
        margins = (quarter * margin / quarter.max()).float()
        self.scale, self.defer, self.checked = scale, defer, False
        self.register_buffer("margins", margins, persistent=False)
        self.register_buffer("weight", effective_weights(counts, beta), persistent=False)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        shares = self.shares(target)
        logits = output.logits.float()
        if not self.checked:  # once: reading a value back makes a GPU wait
            if (highest := logits.detach().abs().max().item()) > 1.01 * self.scale:
                raise SettingError(
                    f"LDAM got a logit of size {highest:.3g}, above its scale {self.scale:g}; the"
                    " classifier must be normalised: build the network with head='cosine'"
                )
            self.checked = True
        loss = cross_entropy(logits - self.scale * self.margins * shares, shares)
        if self.progress < self.defer or self.defer == 1:
            return loss.mean()
        weight = self.weight[target]
        return (weight * loss).sum() / weight.sum()


_LAS_OPTIONS = ("shape", "head", "tail", "power")
LOSSES: dict[str, tuple[Callable[..., Loss], tuple[str, ...]]] = {
    "st_ce": (SoftTargetCE, ("smoothing",)),
    "bce": (BinaryCE, ("smoothing",)),
    "bal_ce": (BalancedCE, ("tau",)),
    "cb_ce": (ClassBalancedCE, ("beta",)),
    "ldam": (LDAM, ("margin", "scale", "defer", "beta")),
    "las": (LabelAwareSmoothing, ("form", *_LAS_OPTIONS)),
    "dynamic_las": (DynamicLAS, ("reading", "form", *_LAS_OPTIONS)),
}


def build_loss(name: str, counts: Sequence[int], **options: Any) -> Loss:
    """A loss by name for ``counts`` training images a class (K,).

    Raises SettingError where the name, an option or a count is unusable.
    """
    key = name.lower().replace("-", "_")
    if key not in LOSSES:
        raise SettingError(f"unknown loss {name!r}; known: {', '.join(LOSSES)}")
    make, known = LOSSES[key]
    for option in options:
        if option not in known:
            raise SettingError(f"loss {key} has no option {option!r}; it takes {', '.join(known)}")
    class_counts(counts)
    try:
        return make(counts, **options)
    except TypeError as error:
        raise SettingError(f"loss {key}: an option has the wrong type ({error})") from error


def _share(smoothing: float) -> float:
    if not 0 <= smoothing < 1:
        raise SettingError(f"smoothing is {smoothing}; it must be in 0..1, below 1")
    return smoothing


def _smooth(shares: Tensor, smoothing: float) -> Tensor:
    return shares * (1 - smoothing) + smoothing / shares.shape[1]
