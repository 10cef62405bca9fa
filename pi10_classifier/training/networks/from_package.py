"""Loads the weights of a network from a model package's graph, to continue training.

In an exported graph, each batch norm is folded into the convolution before it: w' = w g / s and
b' = b - m g / s, with s = sqrt(v + eps). To continue training, each norm must exist again without
changing the output. So it gets the mean m and variance v of the convolution's output on real
images, and g = s, b = b' + m.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from pi10_classifier.errors import SettingError
from pi10_classifier.model.package import read_package
from pi10_classifier.training.networks.base import Network
from pi10_classifier.training.networks.head_rows import HeadRows
from pi10_classifier.training.networks.measured import PART

_LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)


@dataclass(frozen=True, slots=True)
class _Folded:
    """One convolution or linear layer of a graph."""

    weight: Tensor
    bias: Tensor


def load_package(network: Network, folder: Path, rows: HeadRows | None = None) -> None:
    """Load a package's weights into a convolutional network; a head of another shape is kept.

    rows: those of the head that have a counterpart in the package's; None if the two heads tell the
    same.

    The norms have mean 0 and variance 1 at first, so in eval mode the output is the package's. Call
    ``settle`` before training. Raises ModelError for a damaged package, and SettingError if the
    graph is that of another network.
    """
    package, graph = read_package(folder)
    spec = package.preprocessing
    folded = _layers_of(onnx.load_from_string(graph))
    called = _called(network, spec.size)
    heavy = [module for module in called if not isinstance(module, nn.BatchNorm2d)]
    misfit = f"{folder} does not fit {type(network).__name__}"
    if len(heavy) != len(folded):
        raise SettingError(
            f"{misfit}: its graph has {len(folded)} convolutions and linear layers, but the"
            f" network has {len(heavy)}; name the package's own network (only convolutional"
            " ones can be continued)"
        )
    followers = dict(pairwise(called))
    with torch.no_grad():
        for place, (module, layer) in enumerate(zip(heavy, folded, strict=True)):
            own: Any = module
            last = place == len(heavy) - 1
            if last and rows is not None:
                if not rows.fill(own.weight, layer.weight):
                    raise SettingError(
                        f"{misfit}: its last layer is {list(layer.weight.shape)}, but model.json"
                        f" describes {rows.count} rows of {own.weight.shape[1]} features; give the"
                        " package that it was made from"
                    )
                rows.fill(own.bias, layer.bias)
                return
            if own.weight.shape != layer.weight.shape:
                if last:
                    return
                raise SettingError(
                    f"{misfit}: its layer {place + 1} is {list(layer.weight.shape)}, but the"
                    f" network's is {list(own.weight.shape)}; name the package's own network"
                    " and channels"
                )
            own.weight.copy_(layer.weight)
            follower = followers.get(module)
            if isinstance(follower, nn.BatchNorm2d):
                norm: Any = follower
                norm.running_mean.zero_()
                norm.running_var.fill_(1 - norm.eps)
                norm.weight.fill_(1)
                norm.bias.copy_(layer.bias)
            elif own.bias is not None:
                own.bias.copy_(layer.bias)
            elif layer.bias.any():
                raise SettingError(
                    f"{misfit}: its layer {place + 1} has a bias, but the network's has none;"
                    " name the package's own network"
                )


@torch.no_grad()
def settle(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give each norm the statistics of images (N, C, S, S) uint8, without changing the output."""
    sums: dict[nn.BatchNorm2d, list[Any]] = {}

    def note(module: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        seen = inputs[0].double()
        moments = sums.setdefault(module, [0, 0.0, 0.0])
        moments[0] += seen.numel() // seen.shape[1]
        moments[1] = moments[1] + seen.sum((0, 2, 3))
        moments[2] = moments[2] + seen.square().sum((0, 2, 3))

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    was = network.training
    network.eval()
    for images in batches:
        network(images)
    network.train(was)
    for hook in hooks:
        hook.remove()
    for norm, (count, total, squares) in sums.items():
        bare: Any = norm
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        scale = (variance + norm.eps).sqrt()
        # the norm's former effect, expressed with the new statistics
        slope = bare.weight / (bare.running_var + norm.eps).sqrt()
        shift = bare.bias - bare.running_mean * slope
        bare.weight.copy_(slope * scale)
        bare.bias.copy_(shift + mean * slope)
        bare.running_mean.copy_(mean)
        bare.running_var.copy_(variance)


def _layers_of(model: onnx.ModelProto) -> list[_Folded]:
    """The graph's convolutions and linear layers in the order they are run."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in weights:
            continue
        if f".{PART}." in node.input[1]:  # the part that takes measured numbers
            continue
        weight = torch.tensor(numpy_helper.to_array(weights[node.input[1]]))
        options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Gemm" and not options.get("transB"):
            weight = weight.T
        bias = torch.zeros(len(weight))
        if len(node.input) > 2 and node.input[2] in weights:
            bias = torch.tensor(numpy_helper.to_array(weights[node.input[2]]))
        layers.append(_Folded(weight, bias))
    return layers


@torch.no_grad()
def _called(network: Network, size: int) -> list[nn.Module]:
    """The network's layers in the order it calls them."""
    called: list[nn.Module] = []

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        called.append(module)

    layers = [module for module in network.modules() if isinstance(module, _LAYERS)]
    hooks = [module.register_forward_hook(note) for module in layers]
    was = network.training
    network.eval()(torch.zeros((1, network.channels, size, size), dtype=torch.uint8))
    network.train(was)
    for hook in hooks:
        hook.remove()
    return called
