"""Wraps ViT, BEiT and ResNet of transformers as networks of this project.

The head is our own, so that the features are available and LDAM can use its normalised head.
transformers is imported only when such a network is built.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.training.networks.base import (
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Network,
    Output,
    grey_stem,
    make_head,
    one_size,
)

_BEIT_EXTRA = 3  # rows of BEiT's bias tables that stand for pairs with the CLS token


class TransformerNetwork(Network):
    """A ViT or BEiT; ``config`` is that of transformers, for the input size of the training.

    Images of another size also work if it is a multiple of the patch; position embeddings are then
    interpolated. attention=True uses transformers' eager attention and returns that of the last
    block; this is slower, so use it only for losses that need it.
    """

    def __init__(
        self, config: Any, classes: int, *, attention: bool = False, head: str = "linear"
    ) -> None:
        from transformers import BeitModel, ViTModel

        super().__init__(config.num_channels, HALF, HALF)
        check_size(config.image_size, config.patch_size)
        self.size, self.resizes = int(config.image_size), config.model_type == "beit"
        if self.resizes:
            self.trunk: Any = BeitModel(config)
        else:
            self.trunk = ViTModel(config, add_pooling_layer=False)
        self.attention = attention
        if attention:
            self.trunk.set_attn_implementation("eager")
        self.classifier = make_head(head, config.hidden_size, classes)

    def forward(self, image: Tensor) -> Output:
        with one_size():
            # BEiT resizes its bias tables by itself; its flag would resize them a second time.
            other = not self.resizes and int(image.shape[-1]) != self.size
            seen = self.trunk(
                self.normalise(image),
                interpolate_pos_encoding=other,
                output_attentions=self.attention,
            )
        pool = seen.pooler_output
        features = cast(Tensor, seen.last_hidden_state[:, 0] if pool is None else pool)
        attention = seen.attentions[-1][:, :, 0, 1:] if self.attention else None
        return Output(self.classifier(features), features, attention)


class ResNetNetwork(Network):
    """A ResNet of transformers; its features are the pooled last maps."""

    def __init__(self, config: Any, classes: int, *, head: str = "linear") -> None:
        from transformers import ResNetModel

        super().__init__(config.num_channels, IMAGENET_MEAN, IMAGENET_STD)
        self.trunk: Any = ResNetModel(config)
        self.classifier = make_head(head, config.hidden_sizes[-1], classes)

    def forward(self, image: Tensor) -> Output:
        with one_size():
            features = cast(Tensor, self.trunk(self.normalise(image)).pooler_output).flatten(1)
        return Output(self.classifier(features), features)


def check_size(size: int, patch: int) -> None:
    """Refuse an input size that is not a whole number of patches."""
    if size % patch or size < 2 * patch:
        raise SettingError(
            f"input size {size} px does not suit patches of {patch} px; give a multiple of"
            f" {patch}, {2 * patch} or more"
        )


def adopt(network: TransformerNetwork | ResNetNetwork, pretrained: nn.Module) -> None:
    """Copy a pretrained trunk into the network, for any input size and channels.

    Grey stems get the sum of the colours' filters. ViT's position embeddings (bicubic) and BEiT's
    tables of relative position bias (bilinear) are interpolated once, as transformers would do at
    every call.
    """
    own = network.trunk.state_dict()
    state = pretrained.state_dict()
    for key, value in state.items():
        wanted = own.get(key)
        if wanted is None or wanted.shape == value.shape:
            continue
        if value.ndim == 4:
            state[key] = grey_stem(value, wanted.shape[1])
        elif key.endswith("position_embeddings"):
            state[key] = _resize_positions(value, wanted.shape[1])
        elif key.endswith("relative_position_bias_table"):
            state[key] = _resize_bias(value, len(wanted))
    missing, unexpected = network.trunk.load_state_dict(state, strict=False)
    if missing or any(not key.startswith(("pooler.", "embeddings.mask")) for key in unexpected):
        raise SettingError(
            f"the pretrained weights do not fit: missing {list(missing)[:3]}, unexpected"
            f" {list(unexpected)[:3]}"
        )


def _resize_positions(value: Tensor, tokens: int) -> Tensor:
    """(1, 1 + g*g, D) -> (1, tokens, D); the CLS token's stays."""
    old, new = _side(value.shape[1] - 1), _side(tokens - 1)
    grid = value[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, (new, new), mode="bicubic", align_corners=False)
    return torch.cat((value[:, :1], grid.flatten(2).transpose(1, 2)), dim=1)


def _resize_bias(value: Tensor, rows: int) -> Tensor:
    """(d*d + 3, heads) -> (rows, heads), d distances a side."""
    old, new = _side(len(value) - _BEIT_EXTRA), _side(rows - _BEIT_EXTRA)
    grid = value[:-_BEIT_EXTRA].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, (new, new), mode="bilinear", align_corners=False)
    return torch.cat((grid[0].flatten(1).T, value[-_BEIT_EXTRA:]))


def _side(area: int) -> int:
    return math.isqrt(area)
