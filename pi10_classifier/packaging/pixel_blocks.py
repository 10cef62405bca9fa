"""Gives the first convolution of an int8 graph blocks of 2 x 2 pixels as four channels.

A convolution of one channel copies nine single bytes for each of its outputs before it multiplies.
Of four channels it copies four runs of four, so it takes half the time. Each product and each sum
stays, with zeros as additional weights, so the answers stay the same to the last bit.

The normalisation before it goes as well where it is undone by the rounding that follows: the image
itself, of 256 greys, is then what the convolution is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pi10_classifier.packaging.adaptation.features import prune

PREFIX = "blocks/"
_GREYS = 256
_OF_EACH_PIXEL = frozenset(
    {"Cast", "Sub", "Div", "Mul", "Add", "Identity", "Clip", "QuantizeLinear", "DequantizeLinear"}
)


def with_pixel_blocks(graph: bytes) -> bytes:
    """The int8 graph, in QDQ form, with its first convolution on blocks of pixels.

    The same bytes where that convolution is not of 3 x 3, stride 2 and padding 1 on images of one
    channel and an even side, in uint8, or where its rounded input is not the image: so for packages
    that take measured numbers as well, and for a convolution that was left in float.
    """
    model = onnx.load_from_string(graph)
    stem = _Stem.of(model)
    if stem is None:
        return graph
    stem.rewrite()
    prune(model, *[value.name for value in model.graph.output])
    return bytes(model.SerializeToString())


@dataclass(frozen=True, slots=True)
class _Stem:
    """What a graph's first convolution is given.

    given, kernel: the DequantizeLinear of its input and of its weights.
    """

    graph: onnx.GraphProto
    convolution: onnx.NodeProto
    given: onnx.NodeProto
    kernel: onnx.NodeProto
    weights: NDArray[Any]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> _Stem | None:
        """None where the graph does not begin as described above."""
        graph = model.graph
        maker = {name: node for node in graph.node for name in node.output}
        values = {value.name: value for value in graph.initializer}
        convolution = next((node for node in graph.node if node.op_type == "Conv"), None)
        if convolution is None or not _can_be_read(model) or not _strides_by_two(convolution):
            return None
        chain = _chain(convolution.input[0], maker, graph.input[0].name)
        kernel = maker.get(convolution.input[1])
        if chain is None or kernel is None or kernel.op_type != "DequantizeLinear":
            return None
        weights = values.get(kernel.input[0])
        if weights is None or weights.dims[1:] != [1, 3, 3]:
            return None
        # blocks have zeros among their weights, and so must zero be stored
        zeros = [values.get(name) for name in kernel.input[2:] if name]
        if any(zero is None or numpy_helper.to_array(zero).any() for zero in zeros):
            return None
        *before, given = chain
        if given.op_type != "DequantizeLinear" or not _gives_the_image(before, values):
            return None
        return cls(graph, convolution, given, kernel, numpy_helper.to_array(weights))

    def rewrite(self) -> None:
        """Nodes and values of its own: what else uses the present ones keeps them."""
        graph, convolution = self.graph, self.convolution
        pads = numpy_helper.from_array(np.array([0, 0, 1, 1] * 2, np.int64), f"{PREFIX}pads")
        weights = numpy_helper.from_array(_blocks(self.weights), f"{PREFIX}weights")
        # the convolution pads with the grey that its input has for zero, 0 where it names none
        grey = list(self.given.input[2:])
        steps = [
            _node("Pad", [graph.input[0].name, pads.name, *grey], "padded"),
            _node("SpaceToDepth", [f"{PREFIX}padded"], "image", blocksize=2),
            self._as(self.given, f"{PREFIX}image", "given"),
            self._as(self.kernel, weights.name, "kernel"),
        ]
        convolution.input[0], convolution.input[1] = f"{PREFIX}given", f"{PREFIX}kernel"
        del convolution.attribute[:]
        convolution.attribute.extend(
            helper.make_attribute(name, value)
            for name, value in (("kernel_shape", [2, 2]), ("strides", [1, 1]))
        )
        graph.initializer.extend([pads, weights])
        nodes = [*steps, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)

    @staticmethod
    def _as(node: onnx.NodeProto, given: str, name: str) -> onnx.NodeProto:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = copy.output[0] = f"{PREFIX}{name}"
        copy.input[0] = given
        return copy


def _node(kind: str, inputs: list[str], name: str, **options: Any) -> onnx.NodeProto:
    output = f"{PREFIX}{name}"
    return helper.make_node(kind, inputs, [output], name=output, **options)


def _can_be_read(model: onnx.ModelProto) -> bool:
    """Whether the graph has one input, square grey images of an even side, and no inner graphs."""
    graph = model.graph
    opset = next((x.version for x in model.opset_import if x.domain in ("", "ai.onnx")), 0)
    if len(graph.input) != 1 or opset < 11:  # before, Pad took its widths as an attribute
        return False
    if any(part.HasField("g") or part.graphs for node in graph.node for part in node.attribute):
        return False  # what these use is not followed
    tensor = graph.input[0].type.tensor_type
    channels, *sides = [x.dim_value for x in tensor.shape.dim][1:] or [0]
    return (
        tensor.elem_type == onnx.TensorProto.UINT8
        and channels == 1
        and len(sides) == 2
        and sides[0] == sides[1] >= 2
        and sides[0] % 2 == 0
    )


def _chain(name: str, maker: dict[str, onnx.NodeProto], image: str) -> list[onnx.NodeProto] | None:
    """The nodes that make ``name`` of the image alone, in order; None for others."""
    nodes: list[onnx.NodeProto] = []
    while name != image:
        node = maker.get(name)
        if node is None or node.op_type not in _OF_EACH_PIXEL:
            return None
        nodes.insert(0, node)
        name = node.input[0]
    return nodes or None


def _strides_by_two(convolution: onnx.NodeProto) -> bool:
    told = {x.name: helper.get_attribute_value(x) for x in convolution.attribute}
    return (
        told.get("strides") == [2, 2]
        and told.get("pads") == [1, 1, 1, 1]
        and told.get("dilations", [1, 1]) == [1, 1]
        and told.get("group", 1) == 1
        and told.get("auto_pad", b"NOTSET") == b"NOTSET"
    )


def _gives_the_image(chain: list[onnx.NodeProto], values: dict[str, onnx.TensorProto]) -> bool:
    """Whether the nodes, of which the last rounds to uint8, give each of the 256 greys itself."""
    if not chain or chain[-1].op_type != "QuantizeLinear":
        return False
    taken = [name for node in chain for name in node.input if name in values]
    if any(np.prod(values[name].dims, dtype=int) != 1 for name in taken):
        return False
    told = _computed(chain, [values[name] for name in dict.fromkeys(taken)])
    return told is not None and np.array_equal(told.ravel(), np.arange(_GREYS))


def _computed(chain: list[onnx.NodeProto], values: list[onnx.TensorProto]) -> NDArray[Any] | None:
    """What ONNX Runtime makes of all greys by the nodes; None where it refuses them."""
    import onnxruntime as ort

    greys = np.arange(_GREYS, dtype=np.uint8).reshape(1, 1, 16, 16)
    first, last = chain[0].input[0], chain[-1].output[0]
    alone = helper.make_graph(
        chain,
        "greys",
        [helper.make_tensor_value_info(first, onnx.TensorProto.UINT8, greys.shape)],
        [helper.make_tensor_value_info(last, onnx.TensorProto.UINT8, None)],
        values,
    )
    small = helper.make_model(alone, opset_imports=[helper.make_opsetid("", 17)])
    small.ir_version = 8
    try:
        session = ort.InferenceSession(
            small.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return np.asarray(session.run(None, {first: greys})[0])
    except Exception:  # ONNX Runtime raises types of its own; then the graph stays as it is
        return None


def _blocks(weights: NDArray[Any]) -> NDArray[Any]:
    """Weights (O, 1, 3, 3) for blocks of 2 x 2 pixels: (O, 4, 2, 2), the others zero."""
    wide = np.zeros((len(weights), 1, 4, 4), weights.dtype)
    wide[:, :, :3, :3] = weights
    # rows are (block, row in the block), columns alike
    split = wide.reshape(len(weights), 2, 2, 2, 2)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 1, 3).reshape(len(weights), 4, 2, 2))
