"""The focus of a network's attention on an image: the alpha of dynamic LAS.

Both readings turn the last block's attention from the CLS token to the patches into one number per
image. The number is a property of the image, not of its class. The published code gathers at
*token index = class id* instead; then alpha is about 0.003 for every image, and the loss is plain
cross-entropy.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pi10_classifier.errors import SettingError


def literal(attention: Tensor) -> Tensor:
    """The largest patch's weight after a softmax over patches, head-averaged.

    attention: (N, heads, P), P >= 2. Returns (N,) in [1/P, e/(P - 1 + e)]. With the 196 patches of
    a 16 px ViT at 224 px this is 0.005 to 0.014, so epsilon is almost zero.
    """
    return torch.softmax(_mean_over_heads(attention), dim=1).amax(dim=1)


def bounded(attention: Tensor) -> Tensor:
    """One minus the normalised entropy of the head-averaged attention over patches.

    attention: (N, heads, P), P >= 2. Returns (N,) in [0, 1]: 0 if all patches have the same weight,
    1 if one patch has all the weight. So epsilon keeps its scale.
    """
    weight = _mean_over_heads(attention)
    weight = weight / weight.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
    entropy = torch.special.entr(weight).sum(dim=1)
    return torch.clamp(1 - entropy / math.log(weight.shape[1]), 0, 1)


READINGS: dict[str, Callable[[Tensor], Tensor]] = {"literal": literal, "bounded": bounded}


def alpha(attention: Tensor | None, reading: str) -> Tensor:
    """Alpha (N,) float32 in either reading; no gradient flows through it."""
    if attention is None:
        raise SettingError(
            "dynamic LAS needs the network's attention; use vit or beit (or a smaller vit),"
            " built with attention=True"
        )
    return READINGS[reading](attention.detach().float())


def _mean_over_heads(attention: Tensor) -> Tensor:
    if attention.ndim != 3 or attention.shape[2] < 2:
        raise SettingError(
            f"attention has shape {tuple(attention.shape)}; it must be (images, heads, patches)"
            " with at least two patches"
        )
    return attention.mean(dim=1)
