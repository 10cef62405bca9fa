"""Int8 graphs in torch: the answers of serving, and closer to the float graph's once trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import marks
import numpy as np
import onnx
import pytest
import support
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.scoring import batches
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.int8 import Wanted, quantised
from pi10_classifier.packaging.quantiser import Quantiser
from pi10_classifier.packaging.sensitivity import Probe
from pi10_classifier.training.quantised.finetune import FineTuning
from pi10_classifier.training.quantised.graph_network import GraphNetwork

SIDE = support.SIZE
CLASSES = 3


def network(uneven: float = 1.0) -> onnx.ModelProto:
    """A small convolutional graph with all that a MobileNetV2 has: depthwise, Clip, sum, mean.

    The last biases bring the classes of ``marks`` to about the same probability.

    uneven: one weight in each channel of the first layer is so many times as large as the others,
    which leaves the others few steps of int8.
    """
    rng = np.random.default_rng(3)

    def weights(*shape: int) -> NDArray[np.float32]:
        fan = np.prod(shape[1:])
        return (rng.normal(size=shape) / np.sqrt(fan)).astype(np.float32)

    first = weights(8, 1, 3, 3)
    first[:, :, 0, 0] *= uneven
    values: dict[str, Any] = {
        "mean": np.float32(128), "spread": np.float32(64), "low": np.float32(0),
        "high": np.float32(6), "w1": first, "b1": weights(8, 1)[:, 0], "w2": weights(8, 1, 3, 3),
        "b2": weights(8, 1)[:, 0], "w3": weights(8, 8, 1, 1), "b3": weights(8, 1)[:, 0],
        "w4": weights(CLASSES, 8) * 12, "b4": np.array([8.3, -51.2, 17.7], np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "spread"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "w1", "b1"], ["c1"], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("Clip", ["c1", "low", "high"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("Clip", ["c2", "low", "high"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"]),
        helper.make_node("Add", ["r1", "c3"], ["sum"]),
        helper.make_node("ReduceMean", ["sum"], ["pooled"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["pooled", "w4", "b4"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("m") / "small"
    return Model.load(support.write_package(folder, network(uneven=40.0)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"copepod": 30, "detritus": 30, "noncopepod": 30}
    return marks.tree(tmp_path_factory.mktemp("d") / "marks", counts, doubt=0.5)


@pytest.fixture(scope="module")
def graphs(float_model: Model) -> tuple[bytes, bytes]:
    """The graph in int8, and the float one that it was made of."""
    images = np.random.default_rng(0).integers(0, 256, (32, 1, SIDE, SIDE), np.uint8)
    _, whole = read_package(float_model.package.folder)
    with Quantiser(whole, float_model.package, images) as quantiser:
        return quantiser.graph("minmax", 8), quantiser.original


def test_torch_gives_what_is_served(float_model: Model, graphs: tuple[bytes, bytes]) -> None:
    small, original = graphs
    images = np.random.default_rng(1).integers(0, 256, (16, 1, SIDE, SIDE), np.uint8)
    made = GraphNetwork(small, original, "logits", 8)
    with torch.no_grad():
        told = torch.softmax(made(torch.from_numpy(images)), dim=1).numpy()
    served = Model(float_model.package, small).scores(images)
    plain = float_model.scores(images)
    assert np.abs(told - served).max() < np.abs(plain - served).max() / 4
    # unchanged weights are written as ONNX Runtime's quantiser rounded them
    again = Model(float_model.package, made.exported()).scores(images)
    np.testing.assert_allclose(again, served, atol=1e-6)


def test_every_weight_learns(graphs: tuple[bytes, bytes]) -> None:
    made = GraphNetwork(*graphs, "logits", 8)
    images = torch.randint(0, 256, (4, 1, SIDE, SIDE), dtype=torch.uint8)
    made(images).square().mean().backward()
    assert len(made.trained) == 8  # four layers, weight and bias
    assert all(value.grad is not None and value.grad.any() for value in made.trained)


def test_it_brings_the_answers_closer(float_model: Model, data: Path) -> None:
    scan = load_labelled([data])
    samples = list(scan.samples)
    images = np.concatenate([batch.images for batch in batches(float_model, scan, samples)])
    probe = Probe.of(float_model, images)
    seen: list[int] = []

    def made(epochs: float) -> bytes:
        tune = None
        if epochs >= 0:
            tune = FineTuning(
                epochs, batch=30, rate=1e-3, progress=lambda done, of, loss: seen.append(done)
            )
        graph = quantised(float_model, scan, samples, Wanted("minmax", 60, 7), tune=tune)
        assert graph.record["tuned"] == (tune.words if tune else "")
        return graph.graph

    plain, biases, trained = (probe.divergence(made(epochs)) for epochs in (-1, 0, 10))
    assert len(seen) == 30  # of the last alone
    assert biases < plain
    assert trained < plain / 2


def test_what_cannot_be_trained_is_named(float_model: Model, graphs: tuple[bytes, bytes]) -> None:
    small, original = graphs
    model = onnx.load_from_string(small)
    for node in model.graph.node:
        if node.op_type == "Add":
            node.op_type = "Max"
    with pytest.raises(SettingError, match="it has Max, which is not known here"):
        GraphNetwork(model.SerializeToString(), original, "logits", 8)
    with pytest.raises(SettingError, match="--finetune is -1; it must be 0 to 100"):
        FineTuning(-1)
