"""The networks MobileNetV2 and MobileNetV4-conv-small.

They are defined here because torchvision, and timm which needs it, have no CPU build for every
torch that this project supports. The keys of the state dicts are theirs, so their weights can be
loaded.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from pi10_classifier.training.networks.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Network,
    Output,
    make_head,
    pooled,
)

# expansion, output channels, blocks, stride of the first block: Sandler et al. 2018, table 2
_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# Means over the colours of torchvision's ImageNet normalisation, as the first starter had them.
_GREY_MEAN, _GREY_STD = (0.449,) * 3, (0.226,) * 3


def _unit(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class _InvertedResidual(nn.Module):
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


class MobileNetV2(Network):
    """Sandler et al. 2018; 2.2 million weights, features of 1,280."""

    def __init__(
        self, classes: int, channels: int = 1, dropout: float = 0.2, head: str = "linear"
    ) -> None:
        grey = channels == 1
        mean, std = (_GREY_MEAN, _GREY_STD) if grey else (IMAGENET_MEAN, IMAGENET_STD)
        super().__init__(channels, mean, std)
        layers: list[nn.Module] = [_unit(channels, 32, 3, 2)]
        width = 32
        for expansion, outputs, blocks, stride in _V2_STAGES:
            for block in range(blocks):
                first = stride if block == 0 else 1
                layers.append(_InvertedResidual(width, outputs, first, expansion))
                width = outputs
        layers.append(_unit(width, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), make_head(head, 1280, classes))

    def forward(self, image: Tensor) -> Output:
        features = pooled(self.features(self.normalise(image)))
        return Output(self.classifier(features), features)


# Qin et al. 2024, table of MNv4-Conv-S. A number is the kernel of a plain convolution; a pair
# the kernels of a universal inverted bottleneck's depthwise layers, before and after it widens.
_V4_STAGES: tuple[tuple[tuple[int | tuple[int, int], int, float, int], ...], ...] = (
    ((3, 2, 1, 32), (1, 1, 1, 32)),
    ((3, 2, 1, 96), (1, 1, 1, 64)),
    (((5, 5), 2, 3, 96), *[((0, 3), 1, 2.0, 96)] * 4, ((3, 0), 1, 4, 96)),
    (
        ((3, 3), 2, 6, 128),
        ((5, 5), 1, 4, 128),
        ((0, 5), 1, 4, 128),
        ((0, 5), 1, 3, 128),
        *[((0, 3), 1, 4.0, 128)] * 2,
    ),
    ((1, 1, 1, 960),),
)


class _ConvNorm(nn.Module):
    """Convolution, batch norm and perhaps ReLU; the norm under the name timm gives it."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
        norm: str = "bn",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.norm = norm
        self.add_module(norm, nn.BatchNorm2d(outputs))
        self.act: nn.Module = nn.ReLU(inplace=True) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.act(getattr(self, self.norm)(self.conv(x))))


class _Universal(nn.Module):
    """Universal inverted bottleneck: depthwise, widen, depthwise, project; each depthwise optional.

    The stride is that of the inner depthwise layer, or of the outer where there is no inner.
    """

    def __init__(
        self, inputs: int, outputs: int, kernels: tuple[int, int], stride: int, expansion: float
    ) -> None:
        super().__init__()
        before, inner = kernels
        hidden = round(inputs * expansion / 8) * 8
        outer = 1 if inner else stride
        self.dw_start: nn.Module = (
            _ConvNorm(inputs, inputs, before, outer, inputs, active=False)
            if before
            else nn.Identity()
        )
        self.pw_exp = _ConvNorm(inputs, hidden, 1)
        self.dw_mid: nn.Module = (
            _ConvNorm(hidden, hidden, inner, stride, hidden) if inner else nn.Identity()
        )
        self.pw_proj = _ConvNorm(hidden, outputs, 1, active=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = cast(Tensor, self.pw_proj(self.dw_mid(self.pw_exp(self.dw_start(x)))))
        return x + y if self.residual else y


class MobileNetV4ConvSmall(Network):
    """Qin et al. 2024, MNv4-Conv-S; 2.5 million weights, features of 1,280."""

    def __init__(
        self, classes: int, channels: int = 1, dropout: float = 0.2, head: str = "linear"
    ) -> None:
        super().__init__(channels, IMAGENET_MEAN, IMAGENET_STD)
        self.conv_stem = nn.Conv2d(channels, 32, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.act = nn.ReLU(inplace=True)
        stages: list[nn.Module] = []
        width = 32
        for blocks in _V4_STAGES:
            stage: list[nn.Module] = []
            for kernel, stride, expansion, outputs in blocks:
                if isinstance(kernel, tuple):
                    stage.append(_Universal(width, outputs, kernel, stride, expansion))
                else:
                    stage.append(_ConvNorm(width, outputs, kernel, stride, norm="bn1"))
                width = outputs
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(width, 1280, 1, bias=False)
        self.norm_head = nn.BatchNorm2d(1280)
        self.dropout = nn.Dropout(dropout)
        self.classifier = make_head(head, 1280, classes)

    def forward(self, image: Tensor) -> Output:
        x = self.act(self.bn1(self.conv_stem(self.normalise(image))))
        # pooled before the last 1x1 layer, so that this layer costs almost nothing
        x = self.blocks(x).mean((2, 3), keepdim=True)
        features = self.act(self.norm_head(self.conv_head(x))).flatten(1)
        return Output(self.classifier(self.dropout(features)), features)
