"""int8 behind its gate: accepted where nothing is lost, refused with figures where much is."""

import marks
import numpy as np
import onnx
import pytest
import support
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import f1_score

from pi10_classifier.classify import classify
from pi10_classifier.datasets.records import Sample
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.scoring import Scored
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.accuracy_gate import RefusedError, judge
from pi10_classifier.packaging.int8 import before_first, export_int8

COUNTS = {"copepod": 60, "detritus": 60, "noncopepod": 60}


def normalising(scale: float = 1.0) -> onnx.ModelProto:
    """uint8 -> (x - 120) / 60 -> Conv 8 x 8 of 16 patches' worth -> patches -> Gemm.

    ``scale`` multiplies the first patch (plain ground) before the Gemm and is divided out
    of its weights: the same function in float, no room for the others in eight bits.
    """
    w = marks.weights(strength=0.3)
    spread = np.ones((1, 16), np.float32)
    spread[0, 0] = scale
    values = {
        "mean": np.float32(120),
        "std": np.float32(60),
        "kernel": np.full((1, 1, 8, 8), 1 / 64, np.float32),
        "spread": spread,
        "w": w / spread.T,
        "b": np.zeros(3, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "kernel"], ["patches"], strides=[8, 8]),
        helper.make_node("Flatten", ["patches"], ["flat"]),
        helper.make_node("Mul", ["flat", "spread"], ["features"]),
        helper.make_node("Gemm", ["features", "w", "b"], ["logits"]),
    ]
    shape = ["N", 1, support.SIZE, support.SIZE]
    graph = helper.make_graph(
        nodes,
        "normalising",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Each image further from its border than eight bits move it, on any processor."""
    return marks.tree(tmp_path_factory.mktemp("d") / "marks", COUNTS, doubt=0.5)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = support.write_package(tmp_path_factory.mktemp("m") / "good", normalising())
    return Model.load(folder)


@pytest.fixture(scope="module")
def accepted(good, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "int8"
    return export_int8(good, [data], out, images=60)


def test_accepted_package_serves_in_int8(accepted, good, data, tmp_path):
    package, graph = read_package(accepted.package)
    kinds = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    assert kinds.count("QuantizeLinear") >= 2
    assert package.input_dtype == "uint8"
    run = classify([str(data)], tmp_path / "run", Settings(model=accepted.package, jobs=1))
    assert run.tally.totals["results"] == sum(COUNTS.values())
    assert accepted.gate.drop <= 0.005
    assert accepted.gate.before > 0.9  # else nothing could be lost
    assert package.description["int8"]["macro_f1_int8"] == round(accepted.gate.after, 4)
    assert package.description["derived"][-1]["sha256"] == good.package.sha256
    card = (accepted.package / "README.md").read_text("utf-8")
    assert str(accepted.gate) in card
    assert good.package.sha256 in card


def test_weights_are_seven_bits_per_channel(accepted):
    _, graph = read_package(accepted.package)
    values = {
        t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(graph).graph.initializer
    }
    weights = [v for v in values.values() if v.dtype == np.int8 and v.ndim > 1]
    assert weights
    assert all(np.abs(v.astype(int)).max() <= 64 for v in weights)


def test_normalisation_stays_in_float(accepted):
    graph = onnx.load_from_string(read_package(accepted.package)[1]).graph
    by_output = {name: node for node in graph.node for name in node.output}
    at = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    chain = []
    while at.input[0] in by_output:
        at = by_output[at.input[0]]
        chain.append(at.op_type)
    assert chain == ["Div", "Sub", "Cast"]
    assert len(before_first(normalising())) == 3


def test_lossy_graph_is_refused_with_figures_and_nothing_is_written(data, tmp_path):
    spread = normalising(scale=2000.0)
    model = Model.load(support.write_package(tmp_path / "spread", spread))
    with pytest.raises(RefusedError, match=r"a drop of [0-9.]+ points") as caught:
        export_int8(model, [data], tmp_path / "out", images=60)
    gate = caught.value.gate
    assert gate.drop > 0.1
    assert f"{gate.before:.4f}" in caught.value.message
    assert f"{gate.after:.4f}" in caught.value.message
    assert "Nothing was written" in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["spread"]


def test_allowance_decides(good, data, tmp_path):
    with pytest.raises(RefusedError):
        export_int8(good, [data], tmp_path / "out", images=60, allowed=-0.5)


class TestGate:
    classes = ("a", "b", "c")

    def scored(self, truth, guess):
        samples = tuple(
            Sample("s", f"{i}.png", self.classes[t], self.classes[t]) for i, t in enumerate(truth)
        )
        return Scored(samples, np.eye(3)[guess])

    def test_figures_are_scikit_learns(self):
        rng = np.random.default_rng(0)
        truth = rng.integers(0, 3, 400)
        one = np.where(rng.random(400) < 0.9, truth, rng.integers(0, 3, 400))
        two = np.where(rng.random(400) < 0.8, one, rng.integers(0, 3, 400))
        gate = judge(self.scored(truth, one), self.scored(truth, two), self.classes)
        first, second = (f1_score(truth, guess, average="macro") for guess in (one, two))
        assert (gate.before, gate.after) == (pytest.approx(first), pytest.approx(second))
        assert gate.drop == pytest.approx(first - second)
        assert gate.low < gate.drop < gate.high
        assert gate.low > 0
        assert gate.agree == np.mean(one == two)

    def test_a_class_without_images_is_named(self):
        truth = np.arange(60) % 2
        gate = judge(self.scored(truth, truth), self.scored(truth, truth), self.classes)
        assert gate.before == 1, "the mean is over the others"
        assert gate.absent == (self.classes[2],)
        assert str(gate).endswith(f"; there was no image of {self.classes[2]}")

    def test_same_graph_loses_nothing(self):
        truth = np.arange(60) % 3
        scored = self.scored(truth, np.roll(truth, 1) * (truth > 0))
        gate = judge(scored, scored, self.classes)
        assert (gate.drop, gate.low, gate.high, gate.agree) == (0, 0, 0, 1)


class TestRefusesEarly:
    def test_too_few_images(self, good, tmp_path):
        data = marks.tree(tmp_path / "d", {"copepod": 20, "detritus": 20})
        with pytest.raises(SettingError, match="too few"):
            export_int8(good, [data], tmp_path / "out")

    def test_unknown_method(self, good, data, tmp_path):
        with pytest.raises(SettingError, match="minmax"):
            export_int8(good, [data], tmp_path / "out", method="best")

    def test_out_is_the_package_itself(self, good, data):
        with pytest.raises(SettingError, match="package itself"):
            export_int8(good, [data], good.package.folder)

    def test_out_holds_other_files(self, good, data, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(SettingError, match="no model package"):
            export_int8(good, [data], tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_graph_without_anything_to_quantise(self, data, tmp_path):
        model = support.tiny_model(marks.weights())
        gemm = model.graph.node[-1]
        gemm.CopyFrom(
            helper.make_node("Einsum", ["features", "w"], ["logits"], equation="ni,ij->nj")
        )
        package = Model.load(support.write_package(tmp_path / "m", model))
        with pytest.raises(ModelError, match="no node of the graph"):
            export_int8(package, [data], tmp_path / "out", images=60)
