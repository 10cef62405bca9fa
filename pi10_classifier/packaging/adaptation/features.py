"""Computes the features of a model package: its graph, cut before the last layer. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pi10_classifier.errors import ModelError
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.model.package import Package

F32 = NDArray[np.float32]
_LAST = ("Gemm", "MatMul")
# operations that may be between the last layer and the output
_PASSED = frozenset(
    {
        *("Softmax", "LogSoftmax", "Identity", "Cast", "Add", "Sub", "Mul", "Div"),
        *("Reshape", "Squeeze", "Flatten", "QuantizeLinear", "DequantizeLinear"),
    }
)


@dataclass(frozen=True, slots=True)
class Trunk:
    """A graph from image to features: tensor ``name``, float32 (N, size)."""

    graph: onnx.ModelProto
    name: str
    size: int
    package: Package

    def run(self, batches: Iterable[U8]) -> F32:
        """Prepared images (n, C, S, S) uint8, in batches -> features (N, size)."""
        session = _session(self.graph, default_jobs())
        parts = [session.run([self.name], self._feed(batch))[0] for batch in batches]
        return np.concatenate([np.empty((0, self.size), np.float32), *parts])

    def sha256(self) -> str:
        """Of the weights, so that the same features are known in a package with another head."""
        found = hashlib.sha256(self.name.encode())
        for tensor in sorted(self.graph.graph.initializer, key=lambda x: x.name):
            found.update(tensor.name.encode())
            found.update(numpy_helper.to_array(tensor).tobytes())
        return found.hexdigest()

    def _feed(self, batch: U8) -> dict[str, NDArray[Any]]:
        """The image alone: the features of a network are before all measured numbers."""
        return {self.package.input_name: self.package.feed(batch)[self.package.input_name]}


def cut(package: Package, graph: bytes) -> Trunk:
    """The part of the graph that ends at the input of its last layer.

    This input is the tensor that ``features`` in model.json names, else the input of the last Gemm
    or MatMul before the output. Raises ModelError if no such tensor has two dimensions.
    """
    model = onnx.load_from_string(graph)
    opset = next((x.version for x in model.opset_import if x.domain in ("", "ai.onnx")), 0)
    if opset < 13:
        raise ModelError(
            f"{package.folder}: the graph has ONNX opset {opset}, but opset 13 or later is"
            " needed; export the model again"
        )
    described = package.description.get("features")
    if isinstance(described, dict) and isinstance(described.get("name"), str):
        name = described["name"]
    else:
        # the class logits of groups are sums of theirs, which are what the last layer gives
        end = package.groups.output if package.groups else package.output_name
        name = last_input(model, end, str(package.folder))
    prune(model, name)
    spec = package.preprocessing
    two = np.zeros((2, spec.channels, spec.size, spec.size), np.uint8)
    try:
        image = {package.input_name: package.feed(two)[package.input_name]}
        features = _session(model, 1).run([name], image)[0]
    except Exception as error:  # onnxruntime raises its own private types
        raise ModelError(
            f"{package.folder}: the graph cannot be cut at {name!r}: {str(error)[:300]}"
        ) from error
    if features.ndim != 2 or features.dtype != np.float32 or len(features) != 2:
        raise ModelError(
            f"{package.folder}: the last layer's input {name!r} is {features.dtype}"
            f" {features.shape} for two images; it must be float32 (2, D)"
        )
    # its shape must be known to check and extend the graph
    value = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", features.shape[1]])
    del model.graph.output[:]
    model.graph.output.append(value)
    return Trunk(model, name, int(features.shape[1]), package)


@dataclass(frozen=True, slots=True)
class OwnHead:
    """What the package's own head makes of the features: ``weight`` (D, G), ``bias`` (G,)."""

    weight: F32
    bias: F32

    def logits(self, features: F32) -> F32:
        """Of features (N, D): (N, G), one for each class of the package, or each of its groups."""
        return np.asarray(features @ self.weight + self.bias, np.float32)


def own_head(package: Package, graph: bytes, trunk: Trunk) -> OwnHead | None:
    """The package's head after ``trunk``; None where its logits are not affine in the features."""
    end = package.groups.output if package.groups else package.output_name
    if package.activation != "softmax":
        return None
    model = onnx.load_from_string(graph)
    model.graph.value_info.extend(trunk.graph.graph.output)
    try:
        rest = onnx.utils.Extractor(model).extract_model([trunk.name], [end])
        session = _session(rest, 1)
        # unit vectors give the weights one by one, whatever the nodes are called
        weight = _run_rows(session, trunk.name, np.eye(trunk.size, dtype=np.float32))
        bias = _run_rows(session, trunk.name, np.zeros((1, trunk.size), np.float32))[0]
        probe = np.random.default_rng(0).uniform(0, 2, (8, trunk.size)).astype(np.float32)
        told = _run_rows(session, trunk.name, probe)
    except Exception:  # then the head needs more than the features, or cannot be cut out
        return None
    head = OwnHead(weight - bias, bias)
    gap = np.abs(head.logits(probe) - told).max()
    return head if gap <= 1e-3 * max(1.0, float(np.abs(told).max())) else None


def _run_rows(session: Any, name: str, rows: F32) -> F32:
    return np.asarray(session.run(None, {name: rows})[0], np.float32)


def last_input(model: onnx.ModelProto, output: str, what: str) -> str:
    """The name of the tensor that enters the last Gemm or MatMul before ``output``."""
    graph = model.graph
    moving = {value.name for value in graph.input} - {x.name for x in graph.initializer}
    maker = {}
    for node in graph.node:
        if moving.intersection(node.input):
            moving.update(node.output)
            maker.update(dict.fromkeys(node.output, node))
    at = output
    while at in maker:
        node = maker[at]
        from_image = [name for name in node.input if name in moving]
        if node.op_type in _LAST and len(from_image) == 1:
            return str(from_image[0])
        if node.op_type not in _PASSED or len(from_image) != 1:
            break
        at = from_image[0]
    raise ModelError(
        f"{what}: the graph has no last layer (Gemm or MatMul) before {output!r}, so its"
        " features are unknown; name them in model.json: features"
    )


def prune(model: onnx.ModelProto, *outputs: str) -> None:
    """Remove all nodes that ``outputs`` do not need, in place; make them the only outputs."""
    graph = model.graph
    described = {value.name: value for value in graph.output}
    values = [
        onnx.ValueInfoProto.FromString(described[name].SerializeToString())
        if name in described
        else helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in outputs
    ]
    needed, kept = {*outputs}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(_inputs(node))
            kept.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    weights = [
        onnx.TensorProto.FromString(x.SerializeToString())
        for x in graph.initializer
        if x.name in needed
    ]
    for field, kept_values in (
        (graph.node, nodes), (graph.initializer, weights), (graph.output, values)
    ):  # fmt: skip
        del field[:]
        field.extend(kept_values)
    inputs = [
        onnx.ValueInfoProto.FromString(value.SerializeToString())
        for value in graph.input
        if value.name in needed
    ]
    del graph.value_info[:]
    del graph.input[:]
    graph.input.extend(inputs)


def _inputs(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node or its inner graphs read."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _inputs(inner)


def _session(model: onnx.ModelProto, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
