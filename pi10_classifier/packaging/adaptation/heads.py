"""Small classifiers on frozen features, fitted by scikit-learn and written as ONNX.

Each turns features float32 (N, D) into logits float64 (N, K), the logarithm of smoothed
probabilities, so that a temperature applies. The linear head, the default, is in ``linear``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from pi10_classifier.evaluation.metrics import F64, I64
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.packaging.adaptation.features import F32

FLOOR = 0.02  # share of the probability that is spread over all classes, to avoid log 0
TIE = 1e-6  # least weight of a neighbour, so that equally distant ones have a vote


class Head(Protocol):
    """A fitted head."""

    def logits(self, features: F32) -> F64: ...

    def extend(self, model: onnx.ModelProto, features: str, logits: str) -> None:
        """Add the head's nodes between the tensors ``features`` and ``logits``."""


def _smoothed(probabilities: NDArray[Any]) -> F64:
    k = probabilities.shape[1]
    return np.asarray(np.log((1 - FLOOR) * probabilities + FLOOR / k), np.float64)


class Neighbours:
    """Votes of the ``k`` nearest views by cosine, weighted by similarity.

    The weight of a vote is exp((similarity - highest) / ``tau``) minus that of the next view after
    the k. So it does not matter which of two equally distant views is among the k.
    """

    choices: tuple[Mapping[str, Any], ...] = tuple(
        {"k": k, "tau": tau} for k in (3, 8, 20) for tau in (0.03, 0.1)
    )

    def __init__(self, x: F32, y: I64, seed: int, k: int = 8, tau: float = 0.1) -> None:
        self._scaler = StandardScaler().fit(x.astype(np.float64))
        self._tau, self._k = tau, min(k, len(x) - 1)
        self._z = self._scaler.transform(x)
        self._y = y
        self._fit = KNeighborsClassifier(
            self._k + 1, metric="cosine", weights=self._weights, algorithm="brute"
        ).fit(self._z, y)

    def _weights(self, distance: F64) -> F64:
        """Ascending distances (N, k + 1) -> weights; if all are equal, so are the weights."""
        votes = np.exp((distance[:, :1] - distance) / self._tau)
        return np.asarray(votes - votes[:, -1:] + TIE, np.float64)

    def logits(self, features: F32) -> F64:
        return _smoothed(self._fit.predict_proba(self._scaler.transform(features)))

    def extend(self, model: onnx.ModelProto, features: str, logits: str) -> None:
        k = int(self._y.max()) + 1
        length = np.linalg.norm(self._z, axis=1, keepdims=True)
        values = {
            "mean": self._scaler.mean_,
            "scale": self._scaler.scale_,
            "gallery": (self._z / np.where(length > 0, length, 1)).T,
            "labels": np.eye(k)[self._y],
            "tau": np.array(self._tau),
            "tie": np.array(TIE),
            "k": np.array([self._k + 1], np.int64),
            "first": np.array([0], np.int64),
            "next": np.array([self._k], np.int64),
            "one": np.array([1], np.int64),
        }
        n = "head/"
        nodes = [
            helper.make_node("Sub", [features, n + "mean"], [n + "centred"]),
            helper.make_node("Div", [n + "centred", n + "scale"], [n + "scaled"]),
            helper.make_node("LpNormalization", [n + "scaled"], [n + "unit"], axis=1, p=2),
            helper.make_node("MatMul", [n + "unit", n + "gallery"], [n + "similar"]),
            helper.make_node("TopK", [n + "similar", n + "k"], [n + "near", n + "which"], axis=1),
            helper.make_node("Gather", [n + "near", n + "first"], [n + "highest"], axis=1),
            helper.make_node("Sub", [n + "near", n + "highest"], [n + "behind"]),
            helper.make_node("Div", [n + "behind", n + "tau"], [n + "powers"]),
            helper.make_node("Exp", [n + "powers"], [n + "votes"]),
            helper.make_node("Gather", [n + "votes", n + "next"], [n + "last"], axis=1),
            helper.make_node("Sub", [n + "votes", n + "last"], [n + "beyond"]),
            helper.make_node("Add", [n + "beyond", n + "tie"], [n + "weights"]),
            helper.make_node("Gather", [n + "labels", n + "which"], [n + "said"], axis=0),
            helper.make_node("Unsqueeze", [n + "weights", n + "one"], [n + "row"]),
            helper.make_node("MatMul", [n + "row", n + "said"], [n + "sums"]),
            helper.make_node("Squeeze", [n + "sums", n + "one"], [n + "shares"]),
            helper.make_node("LpNormalization", [n + "shares"], [n + "probabilities"], axis=1, p=1),
        ]
        add(model, [*nodes, *_log_nodes(logits)], {**values, **_log_values(k)})


class Forest:
    """A random forest on the first ``parts`` principal components.

    ONNX Runtime computes the components for the fit too: a tree's decision depends on tiny
    differences, so components from another library would sometimes get another class.
    """

    choices: tuple[Mapping[str, Any], ...] = ({"parts": 8}, {"parts": 16}, {"parts": 32})

    def __init__(self, x: F32, y: I64, seed: int, parts: int = 16, trees: int = 100) -> None:
        scaler = StandardScaler().fit(x.astype(np.float64))
        parts = min(parts, len(x) - 1, x.shape[1])
        pca = PCA(parts, random_state=seed).fit(scaler.transform(x))
        weight = pca.components_ / scaler.scale_  # (parts, D)
        self._values = {
            "weight": weight.T,
            "bias": -weight @ scaler.mean_ - pca.components_ @ pca.mean_,
        }
        self._components = _projection(self._values)
        self._fit = RandomForestClassifier(
            trees, class_weight="balanced_subsample", min_samples_leaf=2, random_state=seed,
            n_jobs=default_jobs(),
        ).fit(self._components(x), y)  # fmt: skip
        self._fit.set_params(n_jobs=1)  # threads would add the votes in varying order

    def logits(self, features: F32) -> F64:
        return _smoothed(self._fit.predict_proba(self._components(features)))

    def extend(self, model: onnx.ModelProto, features: str, logits: str) -> None:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        opset = next(x.version for x in model.opset_import if x.domain in ("", "ai.onnx"))
        found = to_onnx(
            self._fit,
            initial_types=[("components", FloatTensorType([None, self._fit.n_features_in_]))],
            options={"zipmap": False},
            target_opset={"": opset, "ai.onnx.ml": 3},
        )
        graph = found.graph

        def named(name: str) -> str:
            return name and f"head/{name}"

        for node in graph.node:
            node.input[:] = [named(name) for name in node.input]
            node.output[:] = [named(name) for name in node.output]
            node.name = named(node.name)
        for tensor in graph.initializer:
            tensor.name = named(tensor.name)
        model.graph.initializer.extend(graph.initializer)
        if not any(x.domain == "ai.onnx.ml" for x in model.opset_import):
            model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
        values = {**self._values, **_log_values(len(self._fit.classes_))}
        add(model, [gemm(features, "head/components"), *graph.node, *_log_nodes(logits)], values)


def gemm(features: str, output: str) -> onnx.NodeProto:
    return helper.make_node("Gemm", [features, "head/weight", "head/bias"], [output])


def _projection(values: Mapping[str, NDArray[Any]]) -> Callable[[F32], F32]:
    """The Gemm of ``extend`` alone, in ONNX Runtime."""
    import onnxruntime as ort

    shape = (onnx.TensorProto.FLOAT, ["N", None])
    ends = [helper.make_tensor_value_info(name, *shape) for name in ("features", "components")]
    graph = helper.make_graph([gemm("features", "components")], "projection", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    add(model, [], values)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(x: F32) -> F32:
        return np.asarray(session.run(["components"], {"features": np.ascontiguousarray(x)})[0])

    return run


def _log_nodes(logits: str) -> list[onnx.NodeProto]:
    """Nodes that turn probabilities into logits, as ``_smoothed`` does."""
    return [
        helper.make_node("Mul", ["head/probabilities", "head/keep"], ["head/kept"]),
        helper.make_node("Add", ["head/kept", "head/floor"], ["head/smoothed"]),
        helper.make_node("Log", ["head/smoothed"], [logits]),
    ]


def _log_values(classes: int) -> dict[str, NDArray[Any]]:
    return {"keep": np.array(1 - FLOOR), "floor": np.array(FLOOR / classes)}


def add(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], values: Mapping[str, NDArray[Any]]
) -> None:
    model.graph.node.extend(nodes)
    for name, value in values.items():
        kind = value if value.dtype == np.int64 else value.astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(kind, f"head/{name}"))


HEADS: dict[str, Any] = {"knn": Neighbours, "forest": Forest}
