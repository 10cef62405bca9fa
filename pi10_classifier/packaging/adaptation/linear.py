"""The linear head in a graph, and the measured numbers that enter it beside the features."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pi10_classifier.evaluation.metrics import F64
from pi10_classifier.imaging.measured_vector import CLIP, NAMES
from pi10_classifier.model.measured import INPUT, Measured
from pi10_classifier.packaging.adaptation.choice import Fitted
from pi10_classifier.packaging.adaptation.design import Design, Scale
from pi10_classifier.packaging.adaptation.features import F32
from pi10_classifier.packaging.adaptation.heads import add, gemm

JOINED = "head/joined"


class Affine:
    """The logits of joined vectors float32 (N, D + M): weight (D + M, K) and bias (K,)."""

    def __init__(self, weight: F64, bias: F64) -> None:
        self.weight, self.bias = weight, bias

    def logits(self, joined: F32) -> F64:
        return np.asarray(joined.astype(np.float64) @ self.weight + self.bias, np.float64)

    def extend(self, model: onnx.ModelProto, features: str, logits: str) -> None:
        add(model, [gemm(features, logits)], {"weight": self.weight, "bias": self.bias})


def linear(design: Design, fitted: Fitted, gain: float = 1.0) -> Affine:
    """The head that was fitted in the directions of a design."""
    bias = fitted.coef @ design.offset + fitted.bias
    return Affine(gain * (fitted.coef @ design.matrix).T, gain * bias)


def measured_of(scale: Scale) -> Measured:
    """The input that a graph with this scale takes."""
    return Measured(INPUT, tuple(NAMES[i] for i in scale.columns.tolist()))


def join(model: onnx.ModelProto, features: str, scale: Scale) -> str:
    """Add an input of measured numbers to the graph, joined with ``features``; the tensor's name.

    A missing number is replaced by the gallery's median, as ``Scale.apply`` does.
    """
    count = len(scale.columns)
    shape = helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["N", count])
    model.graph.input.append(shape)
    values = {"centre": scale.centre, "scale": scale.scale}
    add(model, [
        helper.make_node("IsNaN", [INPUT], ["head/missing"]),
        helper.make_node("Where", ["head/missing", "head/centre", INPUT], ["head/filled"]),
        helper.make_node("Sub", ["head/filled", "head/centre"], ["head/centred"]),
        helper.make_node("Div", ["head/centred", "head/scale"], ["head/scaled"]),
        helper.make_node("Clip", ["head/scaled", "head/least", "head/most"], ["head/measured"]),
        helper.make_node("Concat", [features, "head/measured"], [JOINED], axis=1),
    ], values)  # fmt: skip
    for name, value in (("least", -CLIP), ("most", CLIP)):
        bound = numpy_helper.from_array(np.array(value, np.float32), f"head/{name}")
        model.graph.initializer.append(bound)
    return JOINED
