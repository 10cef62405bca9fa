"""The part of a graph that tells novelty: put on a graph, and taken off it again. No torch.

The number is that of ViM (Wang et al. 2022, arXiv 2203.10807, equation 5): the length of what
principal components leave of the features, weighted, less the log-sum-exp of the logits. Here the
features are brought to length 1 before, and the number is shifted and scaled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pi10_classifier.model.package import Package
from pi10_classifier.packaging.adaptation.features import prune

F64 = NDArray[np.float64]
OUTPUT = "novelty"
PREFIX = "novelty/"
"""How the names of the nodes and values begin that only this number needs."""
_LEAST_LENGTH = 1e-12


@dataclass(frozen=True, slots=True)
class Space:
    """Principal components of features of length 1.

    mean: (D,). basis: (D, components), columns of length 1. weight: of the residual, beside the
    energy of the logits.
    """

    mean: F64
    basis: F64
    weight: float

    def raw(self, features: NDArray[Any], logits: NDArray[Any]) -> F64:
        """Features (N, D) and logits (N, K) -> (N,), larger for what is less usual."""
        return self.weight * self.residual(features) - log_sum_exp(logits)

    def residual(self, features: NDArray[Any]) -> F64:
        """The length (N,) of what the components leave of features (N, D)."""
        centred = of_length_one(features) - self.mean
        # not as a difference of squares: in float32 it is no good where little is left
        left = centred - centred @ self.basis @ self.basis.T
        return np.asarray(np.sqrt((left**2).sum(axis=1)))


def of_length_one(features: NDArray[Any]) -> F64:
    """Features (N, D), each divided by its length."""
    wide = features.astype(np.float64)
    lengths = np.sqrt((wide**2).sum(axis=1, keepdims=True))
    return np.asarray(wide / np.maximum(lengths, _LEAST_LENGTH))


def log_sum_exp(logits: NDArray[Any]) -> F64:
    """Of logits (N, K), each row: (N,)."""
    wide = logits.astype(np.float64)
    top = wide.max(axis=1)
    return np.asarray(top + np.log(np.exp(wide - top[:, None]).sum(axis=1)))


def extended(
    graph: onnx.ModelProto,
    features: str,
    logits: str,
    space: Space,
    zero: float,
    unit: float,
) -> bytes:
    """The graph with one more output, (raw - zero) / unit; its opset must be 13 or later.

    features, logits: the names of these values of the graph, float32 (N, D) and (N, K).
    """
    model = onnx.ModelProto.FromString(graph.SerializeToString())

    def at(name: str) -> str:
        return f"{PREFIX}{name}"

    values: dict[str, NDArray[Any]] = {
        "axis": np.array([1], np.int64),
        "first": np.array(0, np.int64),
        "least": np.array(_LEAST_LENGTH, np.float32),
        "mean": space.mean.astype(np.float32),
        "basis": space.basis.astype(np.float32),
        "weight": np.array(space.weight / unit, np.float32),
        "scale": np.array(1 / unit, np.float32),
        "zero": np.array(zero / unit, np.float32),
    }
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Mul", [features, features], "squares", {}),
        ("ReduceSum", [at("squares"), at("axis")], "square", {"keepdims": 1}),
        ("Sqrt", [at("square")], "root", {}),
        ("Max", [at("root"), at("least")], "length", {}),
        ("Div", [features, at("length")], "direction", {}),
        ("Sub", [at("direction"), at("mean")], "centred", {}),
        ("MatMul", [at("centred"), at("basis")], "components", {}),
        ("Transpose", [at("basis")], "back", {"perm": [1, 0]}),
        ("MatMul", [at("components"), at("back")], "explained", {}),
        ("Sub", [at("centred"), at("explained")], "left", {}),
        ("Mul", [at("left"), at("left")], "parts", {}),
        ("ReduceSum", [at("parts"), at("axis")], "all", {"keepdims": 0}),
        ("Sqrt", [at("all")], "residual", {}),
        # the log-sum-exp of a row is what its log-softmax lacks, in each of its places
        ("LogSoftmax", [logits], "logarithms", {"axis": 1}),
        ("Sub", [logits, at("logarithms")], "sums", {}),
        ("Gather", [at("sums"), at("first")], "sum", {"axis": 1}),
        ("Mul", [at("residual"), at("weight")], "far", {}),
        ("Mul", [at("sum"), at("scale")], "sure", {}),
        ("Sub", [at("far"), at("sure")], "raw", {}),
        ("Sub", [at("raw"), at("zero")], "", {}),
    ]
    for kind, inputs, name, options in steps:
        output = at(name) if name else OUTPUT
        model.graph.node.append(
            helper.make_node(kind, inputs, [output], name=at(name or "shifted"), **options)
        )
    model.graph.initializer.extend(
        numpy_helper.from_array(value, at(name)) for name, value in values.items()
    )
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N"]))
    return bytes(model.SerializeToString())


def without_novelty(package: Package, graph: bytes) -> bytes:
    """The graph without what only novelty needs; the same bytes where there is none."""
    if package.novelty is None:
        return graph
    model = onnx.load_from_string(graph)
    others = [value.name for value in model.graph.output if value.name != package.novelty.output]
    prune(model, *others)
    return bytes(model.SerializeToString())
