"""The base of all networks: output, heads and normalisation."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError

COSINE_SCALE = 30.0
HEADS = ("linear", "cosine")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


class Output(NamedTuple):
    """The output for N images; a tuple, because tracing and data-parallel training need one.

    logits: (N, K). features: (N, D), the input of the head. attention: (N, heads, P), from the last
    block's CLS token to the P patches, or None if it was not requested. finer: (N, L), logits of
    the sources' own labels, during a training with an auxiliary head. groups: (N, G), of
    which the logits are the log-sum-exp, or None if the network predicts the classes alone.
    """

    logits: Tensor
    features: Tensor
    attention: Tensor | None = None
    finer: Tensor | None = None
    groups: Tensor | None = None


class CosineHead(nn.Module):
    """Normalised classifier: s cos(feature, class weight), (N, D) -> (N, K), as LDAM needs."""

    def __init__(self, features: int, classes: int, scale: float = COSINE_SCALE) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        self.scale = scale
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        unit = functional.normalize(features.float(), dim=1)
        return self.scale * functional.linear(unit, functional.normalize(self.weight, dim=1))


def make_head(kind: str, features: int, classes: int) -> nn.Module:
    """A classifier of one layer: "linear" or "cosine"."""
    if kind not in HEADS:
        raise SettingError(f"head is {kind!r}; it must be one of {', '.join(HEADS)}")
    return nn.Linear(features, classes) if kind == "linear" else CosineHead(features, classes)


class Network(nn.Module):
    """A network that normalises its input: uint8 (N, channels, S, S) -> ``Output``.

    Grey networks subtract the mean over the colours. With ``grey_stem``, which sums the colours'
    filters, a grey network gives almost the same answer as the colour network does for the same
    picture in three equal channels; only the differences between the colours' means are lost.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise SettingError(f"channels is {channels}; it must be 1 (grey) or 3 (RGB)")
        self.channels = channels
        for name, values in (("mean", mean), ("std", std)):
            kept = list(values) if channels == 3 else [sum(values) / len(values)]
            buffer = torch.tensor(kept).view(1, channels, 1, 1) * 255
            self.register_buffer(name, buffer, persistent=False)

    def normalise(self, image: Tensor) -> Tensor:
        """Scale uint8 (N, C, S, S) to float32 per channel, as in the pretraining."""
        return (image.to(torch.float32) - self.mean) / self.std

    def forward(self, image: Tensor) -> Output:
        """Logits and features of uint8 images."""
        raise NotImplementedError


class Logits(nn.Module):
    """A network that returns only its logits, and those of its groups, as a graph does.

    features: whether to return those of the image too, as the last.
    """

    def __init__(self, network: nn.Module, features: bool = False) -> None:
        super().__init__()
        self.network, self.features = network, features

    def forward(self, image: Tensor, *numbers: Tensor) -> Tensor | tuple[Tensor, ...]:
        output = Output(*self.network(image, *numbers))
        told = [output.logits.float()]
        if output.groups is not None:
            told.append(output.groups.float())
        if self.features:
            told.append(output.features.float())
        return told[0] if len(told) == 1 else tuple(told)


def grey_stem(weight: Tensor, channels: int) -> Tensor:
    """A stem's filters (F, 3, k, k) for ``channels`` inputs; for one, the sum over the colours."""
    grey = channels == 1 and weight.ndim == 4 and weight.shape[1] == 3
    return weight.sum(dim=1, keepdim=True) if grey else weight


def pooled(maps: Tensor) -> Tensor:
    """Mean over the picture: (N, D, h, w) -> (N, D)."""
    return maps.mean((2, 3))


@contextlib.contextmanager
def one_size() -> Iterator[None]:
    """Make the sides constants during an export, without warnings.

    An exported graph has one fixed input size by design, but the tracer warns about each constant.
    """
    if not torch.onnx.is_in_onnx_export():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
