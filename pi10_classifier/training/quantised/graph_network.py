"""Runs a quantised ONNX graph in torch, so that its weights can be trained as they will be rounded.

A pair of QuantizeLinear and DequantizeLinear rounds in the forward pass and lets gradients through
where nothing is clipped (straight-through estimator; Bengio et al. 2013, arXiv 1308.3432; Jacob et
al. 2018, arXiv 1712.05877). Scales and zero points stay those of the graph, so what is trained is
what is served. ``torch.ao`` is not used: it quantises a torch network, and packages have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.model.graphs.entries import MOST_BITS

_LARGEST = {7: 64, 8: 127}  # of a weight's absolute value, by its bits
_QUANTISED = "_quantized"  # how ONNX Runtime's quantiser calls what it made of an initialiser


class GraphNetwork(nn.Module):
    """A QDQ graph as a torch network; its weights and biases are parameters, in float.

    Raises SettingError where the graph has an operator that is not known here.
    """

    def __init__(self, quantised: bytes, original: bytes, output: str, weight_bits: int) -> None:
        """original: the float graph that ``quantised`` was made of. output: the value to compute.

        weight_bits: of the int8 weights.
        """
        super().__init__()
        self._model = onnx.load_from_string(quantised)
        self._original = original
        self._output, self._most = output, _LARGEST[weight_bits]
        self._nodes = _needed(self._model.graph, output)
        unknown = sorted({node.op_type for node in self._nodes} - {*_OPERATORS, *_ROUNDING})
        if unknown:
            raise SettingError(
                f"the graph cannot be trained in int8: it has {', '.join(unknown)}, which is not"
                " known here; leave --finetune out"
            )
        values = {t.name: numpy_helper.to_array(t) for t in self._model.graph.initializer}
        stored = frozenset(values)
        for node in self._model.graph.node:
            if node.op_type == "Constant":
                values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        floats = {
            t.name: numpy_helper.to_array(t)
            for t in onnx.load_from_string(original).graph.initializer
        }
        self._values = {name: torch.tensor(value) for name, value in values.items()}
        self._channels: dict[str, tuple[str, int]] = {}  # weight or bias -> its scale and axis
        self._places: dict[str, int] = {}
        self.trained = nn.ParameterList()
        for node in self._nodes:
            if node.op_type == "DequantizeLinear" and node.input[0] in stored:
                self._add(node, values, floats)
            elif node.op_type in ("Conv", "Gemm", "MatMul"):
                for name in node.input[1:]:
                    if name in stored:
                        self._parameter(name, values[name])

    def _parameter(self, name: str, value: NDArray[Any]) -> None:
        if name not in self._places:
            self._places[name] = len(self.trained)
            self.trained.append(nn.Parameter(torch.tensor(value, dtype=torch.float32)))

    def _add(
        self,
        node: onnx.NodeProto,
        values: Mapping[str, NDArray[Any]],
        floats: Mapping[str, NDArray[Any]],
    ) -> None:
        """Make a parameter of what a DequantizeLinear reads, from the float graph's own value."""
        name, scale = node.input[0], values[node.input[1]]
        axis = _options(node).get("axis", 1) if scale.ndim else 0
        stored = values[name]
        shape = [-1 if place == axis else 1 for place in range(stored.ndim)]
        spread = scale.reshape(shape) if scale.ndim else scale
        value = floats.get(name.removesuffix(_QUANTISED))
        if value is None or value.shape != stored.shape:
            value = stored.astype(np.float32) * spread
        self._parameter(name, value)
        self._channels[name] = (node.input[1], axis)

    @torch.no_grad()
    def correct_biases(self, images: Tensor) -> None:
        """Give each layer the mean outputs that the float graph has for images (N, C, S, S).

        Layer by layer, so that each gets the inputs that those before it give once corrected
        (bias correction; Nagel et al. 2019, arXiv 1906.04721, section 4.2).
        """
        wanted: dict[str, Tensor] = {}

        def note(node: onnx.NodeProto, answer: Tensor) -> Tensor:
            wanted[node.name] = _channel_means(answer)
            return answer

        makers = {name: node for node in self._nodes for name in node.output}

        def correct(node: onnx.NodeProto, answer: Tensor) -> Tensor:
            stored = node.input[2] if len(node.input) > 2 else ""
            if stored in makers:
                stored = makers[stored].input[0]
            if stored not in self._places or node.name not in wanted:
                return answer
            gap = wanted[node.name] - _channel_means(answer)
            self.trained[self._places[stored]] += gap
            return answer + gap.reshape([1, -1] + [1] * (answer.ndim - 2))

        GraphNetwork(self._original, self._original, self._output, MOST_BITS)._run(images, note)
        self._run(images, correct)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, S, S) uint8 or float32, as the graph's input wants them -> its output."""
        return self._run(images, lambda node, answer: answer)

    def _run(self, images: Tensor, after: Callable[[onnx.NodeProto, Tensor], Tensor]) -> Tensor:
        """after: called with each layer and its answer, and gives what goes on."""
        values: dict[str, Any] = dict(self._values)
        for name, place in self._places.items():
            values[name] = self.trained[place]
        values[self._model.graph.input[0].name] = images
        for node in self._nodes:
            inputs = [values[name] if name else None for name in node.input]
            answer: Any
            if node.op_type == "QuantizeLinear":
                answer = self._rounded(node, inputs)
            elif node.op_type == "DequantizeLinear":
                answer = self._weight(node) if node.input[0] in self._places else inputs[0]
            else:
                answer = _OPERATORS[node.op_type](_options(node), *inputs)
                if node.op_type in ("Conv", "Gemm"):
                    answer = after(node, answer)
            values[node.output[0]] = answer
        result: Tensor = values[self._output]
        return result

    def _rounded(self, node: onnx.NodeProto, inputs: list[Any]) -> Tensor:
        scale, zero = inputs[1], inputs[2]
        low, high = (0, 255) if zero.dtype == torch.uint8 else (-128, 127)
        return torch.fake_quantize_per_tensor_affine(inputs[0], float(scale), int(zero), low, high)

    def _weight(self, node: onnx.NodeProto) -> Tensor:
        name = node.input[0]
        value: Tensor = self.trained[self._places[name]]
        scale, axis = self._channels[name]
        if self._values[name].dtype == torch.int32:  # a bias: its steps are too fine to matter
            return value
        steps = self._values[scale]
        if steps.ndim == 0:
            return torch.fake_quantize_per_tensor_affine(
                value, float(steps), 0, -self._most, self._most
            )
        zeros = torch.zeros(len(steps), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            value, steps, zeros, axis, -self._most, self._most
        )

    def exported(self) -> bytes:
        """The graph with the trained weights and biases, rounded."""
        tensors = {tensor.name: tensor for tensor in self._model.graph.initializer}
        for name, place in self._places.items():
            value = self.trained[place].detach().numpy()
            old = self._values[name].numpy()
            if name in self._channels:
                scale, axis = self._channels[name]
                steps = self._values[scale].numpy()
                if steps.ndim:
                    steps = steps.reshape([-1 if i == axis else 1 for i in range(value.ndim)])
                most = self._most if old.dtype == np.int8 else np.iinfo(old.dtype).max
                value = np.clip(np.rint(value / steps.astype(np.float64)), -most, most)
            tensors[name].CopyFrom(numpy_helper.from_array(value.astype(old.dtype), name))
        return bytes(self._model.SerializeToString())


def _channel_means(answer: Tensor) -> Tensor:
    return answer.mean(dim=[axis for axis in range(answer.ndim) if axis != 1])


def _needed(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that a value needs, in order, without constants."""
    wanted, nodes = {output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    return [node for node in reversed(nodes) if node.op_type != "Constant"]


def _options(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _conv(options: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    pads = options.get("pads", [0, 0, 0, 0])
    if len(pads) != 4 or options.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise SettingError("the graph cannot be trained in int8: its padding is not known here")
    if pads[:2] != pads[2:]:
        x, pads = functional.pad(x, (pads[1], pads[3], pads[0], pads[2])), [0, 0]
    return functional.conv2d(
        x, weight, bias, tuple(options.get("strides", [1, 1])), tuple(pads[:2]),
        tuple(options.get("dilations", [1, 1])), options.get("group", 1),
    )  # fmt: skip


def _gemm(options: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    product: Tensor = (
        x @ (weight.T if options.get("transB") else weight) * options.get("alpha", 1.0)
    )
    return product if bias is None else product + bias * options.get("beta", 1.0)


def _clip(options: Mapping[str, Any], x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    return torch.clamp(x, low, high)


def _cast(options: Mapping[str, Any], x: Tensor) -> Tensor:
    kind = onnx.helper.tensor_dtype_to_np_dtype(options["to"])
    return x.to(torch.from_numpy(np.empty(0, kind)).dtype)


def _mean(options: Mapping[str, Any], x: Tensor, axes: Any = None) -> Tensor:
    over = options.get("axes") if axes is None else axes.tolist()
    return x.mean(dim=tuple(over or range(x.ndim)), keepdim=bool(options.get("keepdims", 1)))


def _reshape(options: Mapping[str, Any], x: Tensor, shape: Tensor) -> Tensor:
    sides = [x.shape[i] if side == 0 else side for i, side in enumerate(shape.tolist())]
    return x.reshape(sides)


_ROUNDING = ("QuantizeLinear", "DequantizeLinear")
_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Add": lambda options, x, y: x + y,
    "Cast": _cast,
    "Clip": _clip,
    "Conv": _conv,
    "Div": lambda options, x, y: x / y,
    "Flatten": lambda options, x: x.flatten(options.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda options, x: x.mean(dim=(2, 3), keepdim=True),
    "HardSigmoid": lambda options, x: torch.clamp(
        x * options.get("alpha", 0.2) + options.get("beta", 0.5), 0, 1
    ),
    "HardSwish": lambda options, x: functional.hardswish(x),
    "Identity": lambda options, x: x,
    "MatMul": lambda options, x, y: x @ y,
    "Mul": lambda options, x, y: x * y,
    "ReduceMean": _mean,
    "Relu": lambda options, x: functional.relu(x),
    "Reshape": _reshape,
    "Sigmoid": lambda options, x: torch.sigmoid(x),
    "Sub": lambda options, x, y: x - y,
}
