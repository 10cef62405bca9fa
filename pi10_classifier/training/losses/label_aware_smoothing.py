"""Label-aware smoothing: LAS, its MiSLAS form, and dynamic LAS (equations 2 to 4 and 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pi10_classifier.errors import SettingError
from pi10_classifier.training.losses.attention import READINGS, alpha
from pi10_classifier.training.losses.base import Loss, class_counts, cross_entropy
from pi10_classifier.training.networks.base import Output

SHAPES = ("concave", "linear", "convex", "exponential")


def epsilon(
    counts: Sequence[int],
    shape: str = "concave",
    head: float = 0.3,
    tail: float = 0.0,
    power: float = 2.0,
) -> Tensor:
    """Smoothing per class (K,) float32: equation 4, and MiSLAS's other shapes (Zhong 2021).

    head: epsilon_1, of the largest class; tail: epsilon_K, of the smallest. The equation smooths
    the head most, although the paper's prose says the opposite; to follow the prose, set head
    below tail. With equal counts the equation divides by zero; then all classes get tail.
    power: only for shape "exponential".
    """
    if shape not in SHAPES:
        raise SettingError(f"smoothing shape is {shape!r}; it must be one of {', '.join(SHAPES)}")
    for name, value in (("head", head), ("tail", tail)):
        if not 0 <= value < 1:
            raise SettingError(
                f"smoothing at the {name} is {value}; it must be at least 0 and below 1"
            )
    if power <= 0:
        raise SettingError(f"power is {power}; it must be positive")
    n = class_counts(counts).double()
    span = n.max() - n.min()
    place = (n - n.min()) / span if span > 0 else torch.zeros_like(n)
    rise = {
        "concave": torch.sin(place * math.pi / 2),
        "linear": place,
        "convex": 1 - torch.cos(place * math.pi / 2),
        "exponential": place**power,
    }[shape]
    return (tail + (head - tail) * rise).float()


class LabelAwareSmoothing(Loss):
    """LAS, equations 2 and 3: q_y = 1 - eps_y, the rest of the mass evenly on the others.

    form "mislas": the mass is spread evenly over all K, (1 - eps) NLL + eps mean_k(-log p_k).
    A mixed image gets the mixture of the targets of its classes.
    """

    change: Tensor

    def __init__(self, counts: Sequence[int], form: str = "paper", **smoothing: Any) -> None:
        super().__init__(len(counts))
        k = len(counts)
        one = torch.eye(k)
        if form == "paper":
            spread = (1 - one) / (k - 1)
        elif form == "mislas":
            spread = torch.full((k, k), 1 / k)
        else:
            raise SettingError(f"form of LAS is {form!r}; it must be 'paper' or 'mislas'")
        # what smoothing adds to the one-hot target of each class, (K, K)
        change = epsilon(counts, **smoothing)[:, None] * (spread - one)
        self.register_buffer("change", change, persistent=False)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        shares = self.shares(target)
        return cross_entropy(output.logits, shares + shares @ self.change).mean()


class DynamicLAS(LabelAwareSmoothing):
    """Equation 7: LAS with eps_y times alpha, alpha from the image's own attention map.

    reading: "bounded" or "literal", see ``attention``.
    """

    def __init__(self, counts: Sequence[int], reading: str = "bounded", **options: Any) -> None:
        if reading not in READINGS:
            raise SettingError(f"reading is {reading!r}; it must be one of {', '.join(READINGS)}")
        super().__init__(counts, **options)
        self.reading = reading

    def image_epsilon(self, output: Output, target: Tensor) -> Tensor:
        """Epsilon (N,): the mass that is moved away from each image's own class."""
        lost = -(self.shares(target) * self.change.diagonal()).sum(dim=1)
        return alpha(output.attention, self.reading) * lost

    def forward(self, output: Output, target: Tensor) -> Tensor:
        shares = self.shares(target)
        weight = alpha(output.attention, self.reading)[:, None]
        return cross_entropy(output.logits, shares + weight * (shares @ self.change)).mean()
