"""The long-tail losses of Eftekhari et al. (ECCV 2024 workshops), by name.

K classes, N_y training images of class y, p = softmax(logits). Every loss is called
with a network's ``Output`` and a target: class indices (N,) int64, or shares (N, K)
float that sum to one (mixup), and returns the mean over the N images, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.training.attention import READINGS, alpha
from pi10_classifier.training.network_parts import COSINE_SCALE, Output

SHAPES = ("concave", "linear", "convex", "exponential")


def epsilon(
    counts: Sequence[int],
    shape: str = "concave",
    head: float = 0.3,
    tail: float = 0.0,
    power: float = 2.0,
) -> Tensor:
    """Smoothing per class (K,) float32: equation 4, and MiSLAS's other shapes (Zhong 2021).

    head: epsilon_1, of the largest class; tail: epsilon_K, of the smallest. The equation
    smooths the head most, although the paper's prose says the reverse; for the prose,
    set head below tail. Equal counts, where the equation divides by zero: tail for all.
    power: of shape "exponential" alone.
    """
    if shape not in SHAPES:
        raise SettingError(f"smoothing shape is {shape!r}; it must be one of {', '.join(SHAPES)}")
    for name, value in (("head", head), ("tail", tail)):
        if not 0 <= value < 1:
            raise SettingError(f"smoothing at the {name} is {value}; it must be in 0..1, below 1")
    if power <= 0:
        raise SettingError(f"power is {power}; it must be positive")
    n = _counts(counts).double()
    span = n.max() - n.min()
    place = (n - n.min()) / span if span > 0 else torch.zeros_like(n)
    rise = {
        "concave": torch.sin(place * math.pi / 2),
        "linear": place,
        "convex": 1 - torch.cos(place * math.pi / 2),
        "exponential": place**power,
    }[shape]
    return (tail + (head - tail) * rise).float()


def effective_weights(counts: Sequence[int], beta: float = 0.9999) -> Tensor:
    """Class weights (K,) float32: (1 - beta)/(1 - beta^N_y), scaled to sum to K (Cui 2019)."""
    if not 0 <= beta < 1:
        raise SettingError(f"beta is {beta}; it must be in 0..1, below 1")
    n = _counts(counts).double()
    weight = (1 - beta) / (1 - torch.pow(torch.tensor(beta, dtype=torch.float64), n))
    return (weight * len(n) / weight.sum()).float()


class Loss(nn.Module):
    """Common to all: what a loss asks of the network, and how far training is.

    ``progress`` (0..1) is set by the loop at the start of each epoch.
    """

    needs_attention = False
    needs_cosine = False
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


class SoftTargetCE(Loss):
    """ST_CE: cross-entropy against shares, smoothed evenly over the K classes if asked."""

    def __init__(self, counts: Sequence[int], smoothing: float = 0.0) -> None:
        super().__init__(len(counts))
        self.smoothing = _share(smoothing)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        shares = _smooth(self.shares(target), self.smoothing)
        return _cross_entropy(output.logits, shares).mean()


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
        n = _counts(counts).double()
        self.register_buffer("offset", (tau * torch.log(n / n.sum())).float(), persistent=False)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        return _cross_entropy(output.logits.float() + self.offset, self.shares(target)).mean()


class ClassBalancedCE(Loss):
    """CB_CE: each class's term weighed by ``effective_weights``; the mean is over images."""

    weight: Tensor

    def __init__(self, counts: Sequence[int], beta: float = 0.9999) -> None:
        super().__init__(len(counts))
        self.register_buffer("weight", effective_weights(counts, beta), persistent=False)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        return _cross_entropy(output.logits, self.shares(target) * self.weight).mean()


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
        quarter = _counts(counts).double() ** -0.25
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
        loss = _cross_entropy(logits - self.scale * self.margins * shares, shares)
        if self.progress < self.defer or self.defer == 1:
            return loss.mean()
        weight = self.weight[target]
        return (weight * loss).sum() / weight.sum()


class LabelAwareSmoothing(Loss):
    """LAS, equations 2 and 3: q_y = 1 - eps_y, the rest of the mass evenly on the others.

    form "mislas": the mass goes evenly on all K, (1 - eps) NLL + eps mean_k(-log p_k).
    An image that is part one class, part another gets the mixture of their targets.
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
        return _cross_entropy(output.logits, shares + shares @ self.change).mean()


class DynamicLAS(LabelAwareSmoothing):
    """Equation 7: LAS with eps_y times alpha, alpha from the image's own attention map.

    reading: "bounded" or "literal", see ``attention``.
    """

    needs_attention = True

    def __init__(self, counts: Sequence[int], reading: str = "bounded", **options: Any) -> None:
        if reading not in READINGS:
            raise SettingError(f"reading is {reading!r}; it must be one of {', '.join(READINGS)}")
        super().__init__(counts, **options)
        self.reading = reading

    def image_epsilon(self, output: Output, target: Tensor) -> Tensor:
        """Eps (N,): the mass each image's own class loses."""
        lost = -(self.shares(target) * self.change.diagonal()).sum(dim=1)
        return alpha(output.attention, self.reading) * lost

    def forward(self, output: Output, target: Tensor) -> Tensor:
        shares = self.shares(target)
        weight = alpha(output.attention, self.reading)[:, None]
        return _cross_entropy(output.logits, shares + weight * (shares @ self.change)).mean()


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
    _counts(counts)
    try:
        return make(counts, **options)
    except TypeError as error:
        raise SettingError(f"loss {key}: an option has the wrong type ({error})") from error


def _counts(counts: Sequence[int]) -> Tensor:
    n = torch.as_tensor(list(counts))
    if n.ndim != 1 or len(n) < 2 or bool((n < 1).any()):
        raise SettingError(
            f"counts are {list(counts)}; there must be two classes or more, each with at least"
            " one training image"
        )
    return n


def _share(smoothing: float) -> float:
    if not 0 <= smoothing < 1:
        raise SettingError(f"smoothing is {smoothing}; it must be in 0..1, below 1")
    return smoothing


def _smooth(shares: Tensor, smoothing: float) -> Tensor:
    return shares * (1 - smoothing) + smoothing / shares.shape[1]


def _cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Per image (N,): in float32, whatever precision the network ran in."""
    return -(shares * torch.log_softmax(logits.float(), dim=1)).sum(dim=1)
