"""The long-tail losses of Eftekhari et al. (ECCV 2024 workshops) by name, without torch.

K classes, N_y training images of class y, p = softmax(logits). Every loss is called
with a network's ``Output`` and a target: class indices (N,) int64, or shares (N, K)
float that sum to one (mixup), and returns the mean over the N images, in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pi10_classifier.errors import SettingError

if TYPE_CHECKING:
    from pi10_classifier.training.losses.base import Loss

_LAS_OPTIONS = ("form", "shape", "head", "tail", "power")


@dataclass(frozen=True, slots=True)
class LossSpec:
    """A loss's class, options and requirements, for the command line, the plan and the search.

    module, name: its class, below ``training.losses``. options: what ``--loss-option`` takes.
    needs_attention: reads the network's attention. needs_cosine: wants a cosine head.
    """

    module: str
    name: str
    meaning: str
    options: tuple[str, ...] = ()
    needs_attention: bool = False
    needs_cosine: bool = False

    def load(self) -> Callable[..., Loss]:
        """Import the class, and with it torch."""
        module = import_module(f"pi10_classifier.training.losses.{self.module}")
        loss: Callable[..., Loss] = getattr(module, self.name)
        return loss


LOSSES: Mapping[str, LossSpec] = {
    "st_ce": LossSpec("cross_entropy", "SoftTargetCE", "cross-entropy", ("smoothing",)),
    "bce": LossSpec("cross_entropy", "BinaryCE", "binary cross-entropy a class", ("smoothing",)),
    "bal_ce": LossSpec("cross_entropy", "BalancedCE", "logits shifted by log frequency", ("tau",)),
    "cb_ce": LossSpec(
        "cross_entropy", "ClassBalancedCE", "weights by effective numbers (Cui et al. 2019)",
        ("beta",),
    ),
    "ldam": LossSpec(
        "ldam", "LDAM", "margins by class size (Cao et al. 2019)",
        ("margin", "scale", "defer", "beta"), needs_cosine=True,
    ),
    "las": LossSpec(
        "label_aware_smoothing", "LabelAwareSmoothing", "label-aware smoothing (equations 2 to 4)",
        _LAS_OPTIONS,
    ),
    "dynamic_las": LossSpec(
        "label_aware_smoothing", "DynamicLAS", "the same, by the network's attention (equation 7)",
        ("reading", *_LAS_OPTIONS), needs_attention=True,
    ),
}  # fmt: skip


def build_loss(name: str, counts: Sequence[int], **options: Any) -> Loss:
    """Build a loss by name for ``counts`` (K,), the training images per class.

    Raises SettingError where the name, an option or a count is unusable.
    """
    key = name.lower().replace("-", "_")
    if key not in LOSSES:
        raise SettingError(f"unknown loss {name!r}; known: {', '.join(LOSSES)}")
    spec = LOSSES[key]
    for option in options:
        if option not in spec.options:
            raise SettingError(
                f"loss {key} has no option {option!r}; it takes {', '.join(spec.options)}"
            )
    if len(counts) < 2 or min(counts) < 1:
        raise SettingError(
            f"counts are {list(counts)}; at least two classes are needed, each with at least"
            " one training image"
        )
    try:
        return spec.load()(counts, **options)
    except TypeError as error:
        raise SettingError(f"loss {key}: an option has the wrong type ({error})") from error
