"""The long-tail losses of Eftekhari et al. (ECCV 2024 workshops), by name.

K classes, N_y training images of class y, p = softmax(logits). Every loss is called
with a network's ``Output`` and a target: class indices (N,) int64, or shares (N, K)
float that sum to one (mixup), and returns the mean over the N images, in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.training.losses.base import Loss, class_counts
from pi10_classifier.training.losses.cross_entropy import (
    BalancedCE,
    BinaryCE,
    ClassBalancedCE,
    SoftTargetCE,
    effective_weights,
)
from pi10_classifier.training.losses.label_aware_smoothing import DynamicLAS, LabelAwareSmoothing
from pi10_classifier.training.losses.ldam import LDAM

__all__ = ["LDAM", "LOSSES", "Loss", "build_loss", "effective_weights"]


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
