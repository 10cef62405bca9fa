"""The graph of a package, from image to features, as a torch module whose layers can be trained.

It runs the graph's own nodes, so it needs no name of a network, and its weights go back into the
same graph. Batch norms are part of the convolutions in a graph, so their statistics do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError

_TYPES = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.INT64: torch.int64}
_TRAINED = ("Conv", "Gemm")


class GraphNetwork(nn.Module):
    """A graph with one input and one output; weights of convolutions and Gemm are parameters.

    Raises SettingError if the graph has an operator that is not known here.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.model: onnx.ModelProto = model
        self.nodes = [(node, _attributes(node)) for node in model.graph.node]
        unknown = sorted({node.op_type for node, _ in self.nodes} - _OPERATORS.keys())
        if unknown:
            raise SettingError(
                f"the graph has the operator {unknown[0]}, which cannot be fine-tuned; give a"
                " package of a convolutional network in float, such as starter or fast"
            )
        self.input, self.output = model.graph.input[0].name, model.graph.output[0].name
        trained = {
            name for node, _ in self.nodes if node.op_type in _TRAINED for name in node.input[1:3]
        }
        self.constants: dict[str, Tensor] = {}
        self.places: dict[str, int] = {}
        weights: list[nn.Parameter] = []
        for tensor in model.graph.initializer:
            value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            if tensor.name in trained:
                self.places[tensor.name] = len(weights)
                weights.append(nn.Parameter(value))
            else:
                self.constants[tensor.name] = value
        self.weights = nn.ParameterList(weights)

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, C, S, S) -> features (N, D)."""
        values: dict[str, Tensor] = {self.input: image, **self.constants}
        values |= {name: self.weights[place] for name, place in self.places.items()}
        for node, options in self.nodes:
            given = [values[name] if name else None for name in node.input]
            values[node.output[0]] = _OPERATORS[node.op_type](given, options)
        return values[self.output]

    def trained(self) -> onnx.ModelProto:
        """A copy of the graph with the weights as they are now."""
        copy: onnx.ModelProto = onnx.ModelProto.FromString(self.model.SerializeToString())
        for tensor in copy.graph.initializer:
            if tensor.name in self.places:
                value = self.weights[self.places[tensor.name]].detach().numpy()
                tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))
        return copy


Given = list[Any]
Options = Mapping[str, Any]


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Constant":
        found["value"] = torch.from_numpy(numpy_helper.to_array(found["value"]).copy())
    return found


def _cast(given: Given, options: Options) -> Tensor:
    return torch.as_tensor(given[0]).to(_TYPES.get(options["to"], torch.float32))


def _conv(given: Given, options: Options) -> Tensor:
    image = _padded(given[0], options.get("pads", [0, 0, 0, 0]))
    bias = given[2] if len(given) > 2 else None
    return functional.conv2d(
        image, given[1], bias, options.get("strides", [1, 1]), 0,
        options.get("dilations", [1, 1]), options.get("group", 1),
    )  # fmt: skip


def _pool(given: Given, options: Options) -> Tensor:
    image = _padded(given[0], options.get("pads", [0, 0, 0, 0]), -torch.inf)
    return torch.max_pool2d(image, options["kernel_shape"], options.get("strides", [1, 1]))


def _padded(image: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    top, left, bottom, right = pads
    return functional.pad(image, (left, right, top, bottom), value=value) if any(pads) else image


def _clip(given: Given, options: Options) -> Tensor:
    low, high = ([*given, None, None])[1:3]
    return torch.clamp(given[0], low, high)


def _mean(given: Given, options: Options) -> Tensor:
    axes = given[1].tolist() if len(given) > 1 else options["axes"]
    return torch.mean(given[0], list(axes), keepdim=bool(options.get("keepdims", 1)))


def _gemm(given: Given, options: Options) -> Tensor:
    weight = given[1].T if options.get("transB") else given[1]
    out: Tensor = torch.as_tensor(given[0]) @ weight
    return out + torch.as_tensor(given[2]) if len(given) > 2 else out


def _flatten(given: Given, options: Options) -> Tensor:
    return torch.flatten(given[0], options.get("axis", 1))


def _squeeze(given: Given, options: Options) -> Tensor:
    axes = given[1].tolist() if len(given) > 1 else options["axes"]
    return torch.squeeze(given[0], tuple(axes))


_OPERATORS: Mapping[str, Callable[[Given, Options], Tensor]] = {
    "Add": lambda given, options: given[0] + given[1],
    "Cast": _cast,
    "Clip": _clip,
    "Constant": lambda given, options: torch.as_tensor(options["value"]),
    "Conv": _conv,
    "Div": lambda given, options: given[0] / given[1],
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda given, options: torch.mean(given[0], (2, 3), keepdim=True),
    "Identity": lambda given, options: torch.as_tensor(given[0]),
    "MaxPool": _pool,
    "Mul": lambda given, options: given[0] * given[1],
    "ReduceMean": _mean,
    "Relu": lambda given, options: functional.relu(given[0]),
    "Sigmoid": lambda given, options: torch.sigmoid(given[0]),
    "Squeeze": _squeeze,
    "Sub": lambda given, options: given[0] - given[1],
}
