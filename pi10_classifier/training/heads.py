"""Small classifiers on frozen features, by scikit-learn, and the same in ONNX.

Each gives logits float64 (N, K) for features float32 (N, D): those of the linear head are
its own, of the others the logarithm of smoothed probabilities, so that a temperature
applies to all alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pi10_classifier.training.features import F32
from pi10_classifier.training.metrics import F64, I64

FLOOR = 0.02  # share of the probability that is spread over all classes, against log 0
LOGITS = "adapted_logits"


class Head(Protocol):
    """A fitted head."""

    def logits(self, features: F32) -> F64: ...

    def extend(self, model: onnx.ModelProto, features: str) -> None:
        """Add the head's nodes behind the tensor ``features``; its output is LOGITS."""


def _smoothed(probabilities: NDArray[Any]) -> F64:
    k = probabilities.shape[1]
    return np.asarray(np.log((1 - FLOOR) * probabilities + FLOOR / k), np.float64)


class Linear:
    """Multinomial logistic regression on standardised features, ``c`` the inverse penalty."""

    choices: tuple[Mapping[str, Any], ...] = tuple({"c": 10.0**n} for n in range(-5, 1))

    def __init__(self, x: F32, y: I64, seed: int, c: float = 0.01) -> None:
        self._scaler = StandardScaler().fit(x.astype(np.float64))
        fit = LogisticRegression(C=c, class_weight="balanced", max_iter=2000, random_state=seed)
        self._fit = fit.fit(self._scaler.transform(x), y)

    def logits(self, features: F32) -> F64:
        z = np.asarray(self._fit.decision_function(self._scaler.transform(features)), np.float64)
        # of two classes scikit-learn keeps the difference alone
        return np.stack([-z / 2, z / 2], axis=1) if z.ndim == 1 else z

    def extend(self, model: onnx.ModelProto, features: str) -> None:
        coef, bias = self._fit.coef_, self._fit.intercept_
        if len(coef) == 1:
            coef, bias = np.concatenate([-coef, coef]) / 2, np.concatenate([-bias, bias]) / 2
        w = coef / self._scaler.scale_
        values = {"weight": w.T, "bias": bias - w @ self._scaler.mean_}
        nodes = [helper.make_node("Gemm", [features, "head/weight", "head/bias"], [LOGITS])]
        _add(model, nodes, values)


class Neighbours:
    """Votes of the ``k`` images nearest by cosine, weighed by exp(similarity / ``tau``)."""

    choices: tuple[Mapping[str, Any], ...] = tuple(
        {"k": k, "tau": tau} for k in (3, 8, 20) for tau in (0.03, 0.1)
    )

    def __init__(self, x: F32, y: I64, seed: int, k: int = 8, tau: float = 0.1) -> None:
        self._scaler = StandardScaler().fit(x.astype(np.float64))
        self._tau, self._k = tau, min(k, len(x))
        self._z = self._scaler.transform(x)
        self._y = y
        self._fit = KNeighborsClassifier(
            self._k, metric="cosine", weights=lambda distance: np.exp(-distance / tau)
        ).fit(self._z, y)

    def logits(self, features: F32) -> F64:
        return _smoothed(self._fit.predict_proba(self._scaler.transform(features)))

    def extend(self, model: onnx.ModelProto, features: str) -> None:
        k = int(self._y.max()) + 1
        unit = self._z / np.linalg.norm(self._z, axis=1, keepdims=True)
        values = {
            "mean": self._scaler.mean_,
            "scale": self._scaler.scale_,
            "gallery": unit.T,
            "labels": np.eye(k)[self._y],
            "tau": np.array(self._tau),
            "k": np.array([self._k], np.int64),
            "one": np.array([1], np.int64),
        }
        n = "head/"
        nodes = [
            helper.make_node("Sub", [features, n + "mean"], [n + "centred"]),
            helper.make_node("Div", [n + "centred", n + "scale"], [n + "scaled"]),
            helper.make_node("LpNormalization", [n + "scaled"], [n + "unit"], axis=1, p=2),
            helper.make_node("MatMul", [n + "unit", n + "gallery"], [n + "similar"]),
            helper.make_node("TopK", [n + "similar", n + "k"], [n + "near", n + "which"], axis=1),
            helper.make_node("Div", [n + "near", n + "tau"], [n + "votes"]),
            helper.make_node("Softmax", [n + "votes"], [n + "weights"], axis=1),
            helper.make_node("Gather", [n + "labels", n + "which"], [n + "said"], axis=0),
            helper.make_node("Unsqueeze", [n + "weights", n + "one"], [n + "row"]),
            helper.make_node("MatMul", [n + "row", n + "said"], [n + "sums"]),
            helper.make_node("Squeeze", [n + "sums", n + "one"], [n + "probabilities"]),
        ]
        _add(model, [*nodes, *_log_nodes()], {**values, **_log_values(k)})


class Forest:
    """A random forest on the first ``parts`` principal components."""

    choices: tuple[Mapping[str, Any], ...] = ({"parts": 8}, {"parts": 16}, {"parts": 32})

    def __init__(self, x: F32, y: I64, seed: int, parts: int = 16, trees: int = 200) -> None:
        forest = RandomForestClassifier(
            trees, class_weight="balanced_subsample", min_samples_leaf=2, random_state=seed
        )
        parts = min(parts, len(x) - 1, x.shape[1])
        self._fit: Pipeline = make_pipeline(
            StandardScaler(), PCA(parts, random_state=seed), forest
        ).fit(x, y)

    def logits(self, features: F32) -> F64:
        return _smoothed(self._fit.predict_proba(features))

    def extend(self, model: onnx.ModelProto, features: str) -> None:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        opset = next(x.version for x in model.opset_import if x.domain in ("", "ai.onnx"))
        size = self._fit.n_features_in_
        found = to_onnx(
            self._fit,
            initial_types=[("features", FloatTensorType([None, size]))],
            options={"zipmap": False},
            target_opset={"": opset, "ai.onnx.ml": 3},
        )
        graph = found.graph
        names = {"features": features, "probabilities": "head/probabilities"}

        def named(name: str) -> str:
            return names.get(name) or (name and f"head/{name}")

        for node in graph.node:
            node.input[:] = [named(name) for name in node.input]
            node.output[:] = [named(name) for name in node.output]
            node.name = f"head/{node.name}"
        for tensor in graph.initializer:
            tensor.name = named(tensor.name)
        model.graph.initializer.extend(graph.initializer)
        if not any(x.domain == "ai.onnx.ml" for x in model.opset_import):
            model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
        _add(model, [*graph.node, *_log_nodes()], _log_values(len(self._fit.classes_)))


def _log_nodes() -> list[onnx.NodeProto]:
    """Probabilities -> logits as ``_smoothed`` has them."""
    return [
        helper.make_node("Mul", ["head/probabilities", "head/keep"], ["head/kept"]),
        helper.make_node("Add", ["head/kept", "head/floor"], ["head/smoothed"]),
        helper.make_node("Log", ["head/smoothed"], [LOGITS]),
    ]


def _log_values(classes: int) -> dict[str, NDArray[Any]]:
    return {"keep": np.array(1 - FLOOR), "floor": np.array(FLOOR / classes)}


def _add(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], values: Mapping[str, NDArray[Any]]
) -> None:
    model.graph.node.extend(nodes)
    for name, value in values.items():
        kind = value if value.dtype == np.int64 else value.astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(kind, f"head/{name}"))


HEADS: dict[str, Any] = {"linear": Linear, "knn": Neighbours, "forest": Forest}
