"""int8 behind its gate: accepted where nothing is lost, refused with figures where much is."""

import json
import re
import shutil
from dataclasses import replace

import marks
import numpy as np
import onnx
import pytest
import support
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import f1_score

from pi10_classifier.classify import classify
from pi10_classifier.datasets.records import Sample
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.drift.reference import Reference, Spread
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.scoring import Scored
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.graphs import choice
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.model.writer import derive
from pi10_classifier.packaging.accuracy_gate import judge
from pi10_classifier.packaging.int8 import Wanted, export_int8, quantised
from pi10_classifier.packaging.precision_gate import PrecisionRefusedError
from pi10_classifier.packaging.quantiser import METHODS, before_first
from pi10_classifier.training.data.held_out_looks import LOOKS

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
    wanted = Wanted("minmax", images=60, weight_bits=7)
    return export_int8(good, [data], out, wanted=wanted, looks=LOOKS[:1], draws=1, allowed=0.05)


def graph_of(folder, precision="int8"):
    return onnx.load_from_string(read_package(folder, precision)[1]).graph


def test_the_package_has_both_graphs(accepted, good):
    float_package, _ = read_package(accepted.package)
    package, _ = read_package(accepted.package, "int8")
    assert float_package.sha256 == good.package.sha256
    assert package.sha256 != good.package.sha256
    assert (package.name, package.version) == (good.package.name, good.package.version)
    assert package.hashes == {
        "model.onnx": float_package.sha256, "model.int8.onnx": package.sha256
    }  # fmt: skip
    assert package.has_graph(float_package.sha256)
    assert not package.has_graph("0" * 64)
    kinds = [node.op_type for node in graph_of(accepted.package).node]
    assert kinds.count("QuantizeLinear") >= 2
    assert "QuantizeLinear" not in [n.op_type for n in graph_of(accepted.package, "fp32").node]
    entry = package.description["graphs"]["int8"]
    assert entry["gate"]["accepted"] is True
    assert entry["gate"]["views"]["look generic"]["scores"]["draws"] == 1
    assert accepted.gate.scores.before > 0.9  # else nothing could be lost
    card = (accepted.package / "README.md").read_text("utf-8")
    assert "## The graph in int8: `model.int8.onnx`" in card
    for label, file in (("File", "model.onnx"), ("File in int8", "model.int8.onnx")):
        (row,) = re.findall(rf"^\| {label} \| `{file}`, .*$", card, re.MULTILINE)
        assert f"SHA-256 `{package.hashes[file]}`" in row
    assert f"| {accepted.gate.scores.after:.4f} |" in card


def test_each_device_runs_its_graph(accepted, good, data, tmp_path):
    runs = {}
    for device in ("cpu", "cpu:int8"):
        settings = Settings(model=accepted.package, jobs=1, device=device)
        run = classify([str(data)], tmp_path / device.replace(":", "-"), settings)
        assert run.tally.totals["results"] == sum(COUNTS.values())
        runs[device] = json.loads((run.out / "run.json").read_text("utf-8"))
    plain, small = runs.values()
    assert plain["model"]["sha256"] == good.package.sha256
    assert small["model"]["sha256"] == read_package(accepted.package, "int8")[0].sha256
    assert (plain["runtime"]["graph"], plain["runtime"]["int8"]) == ("model.onnx", False)
    assert (small["runtime"]["graph"], small["runtime"]["int8"]) == ("model.int8.onnx", True)
    assert "graph" not in plain["parameters"]  # so that runs of earlier versions can be resumed
    assert small["parameters"]["graph"] == "model.int8.onnx"
    with pytest.raises(SettingError, match="model_sha256"):
        settings = Settings(model=accepted.package, jobs=1)
        classify([str(data)], tmp_path / "cpu-int8", settings, resume=True)


def test_auto_asks_for_the_instructions_and_the_gate(accepted, good, tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "has_int8_products", lambda: True)
    assert Settings(model=accepted.package, device="auto").device == "cpu:int8"
    assert Model.load(accepted.package, "auto").runs_on["graph"] == "model.int8.onnx"
    assert Settings(model=good.package.folder, device="auto").device == "cpu"
    refused = shutil.copytree(accepted.package, tmp_path / "refused")
    fields = json.loads((refused / "model.json").read_text("utf-8"))
    fields["graphs"]["int8"]["gate"]["accepted"] = False
    (refused / "model.json").write_text(json.dumps(fields), "utf-8")
    assert Settings(model=refused, device="auto").device == "cpu"
    monkeypatch.setattr(choice, "has_int8_products", lambda: False)
    assert Settings(model=accepted.package, device="auto").device == "cpu"
    assert Model.load(accepted.package, "cpu:int8").runs_on["int8"]  # seven bits are safe anywhere


def test_auto_is_chosen_anew_for_another_model(accepted, good, monkeypatch):
    monkeypatch.setattr(choice, "has_int8_products", lambda: True)
    settings = replace(Settings(model=accepted.package, device="auto"), jobs=2)
    assert settings.device == "cpu:int8"
    without = settings.with_model(good.package.folder)
    assert without.device == "cpu"
    assert without.with_model(accepted.package).device == "cpu:int8"
    asked = Settings(model=accepted.package, device="cpu:int8")
    assert asked.with_model(good.package.folder).device == "cpu:int8"  # which loading refuses


def test_a_reference_of_the_other_graph_compares_no_scores(accepted):
    """A change of precision moves scores, and is no drift."""
    folder, spread = accepted.package, Spread(0.0, 0.01)
    whole, eight = read_package(folder)[0], read_package(folder, "int8")[0]
    made = Reference(
        whole.sha256, 10.0, 5000, 20, dict.fromkeys(whole.classes, 1 / len(whole.classes)), 0.01,
        {}, {"ground": spread, "score": spread, "novelty": spread}, "",
    )  # fmt: skip
    settings = Settings(model=folder, reference=made)
    assert settings.with_reference(whole).reference == made
    assert settings.with_reference(eight).reference.quantities == ("ground",)


def test_eight_bits_are_refused_without_the_instructions(good, data, tmp_path, monkeypatch):
    wanted = Wanted("minmax", images=60, weight_bits=8)
    done = export_int8(good, [data], tmp_path / "m", wanted=wanted, allowed=0.05)
    monkeypatch.setattr(choice, "has_int8_products", lambda: False)
    with pytest.raises(SettingError, match="lacks VNNI"):
        Model.load(done.package, "cpu:int8")
    assert Model.load(done.package, "auto").runs_on["graph"] == "model.onnx"


def test_a_damaged_int8_graph_is_refused_and_the_other_is_not(accepted, tmp_path):
    folder = shutil.copytree(accepted.package, tmp_path / "m")
    with (folder / "model.int8.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelError, match=r"model\.int8\.onnx has SHA-256"):
        Model.load(folder, "cpu:int8")
    assert Model.load(folder, "cpu").runs_on["graph"] == "model.onnx"
    (folder / "model.int8.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.int8\.onnx cannot be read.*--device cpu runs"):
        Model.load(folder, "cpu:int8")


def test_a_package_made_of_it_has_the_float_graph_alone(accepted):
    package, _ = read_package(accepted.package)
    assert "graphs" not in derive(package, "calibrated")


@pytest.mark.parametrize("bits", [7, 8])
def test_weights_have_their_bits_per_channel(good, data, bits):
    scan = load_labelled([data])
    made = quantised(good, scan, list(scan.samples), Wanted("minmax", 60, bits))
    tensors = onnx.load_from_string(made.graph).graph.initializer
    values = [numpy_helper.to_array(tensor) for tensor in tensors]
    weights = [value for value in values if value.dtype == np.int8 and value.ndim > 1]
    assert weights
    assert max(np.abs(value.astype(int)).max() for value in weights) == {7: 64, 8: 127}[bits]


def test_normalisation_stays_in_float(accepted):
    graph = graph_of(accepted.package)
    by_output = {name: node for node in graph.node for name in node.output}
    at = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    chain = []
    while at.input[0] in by_output:
        at = by_output[at.input[0]]
        chain.append(at.op_type)
    assert chain == ["Div", "Sub", "Cast"]
    assert len(before_first(normalising())) == 3


def test_the_worst_layer_is_left_in_float(data, tmp_path):
    """The Gemm has weights of 1,000 for a feature that is 0, beside which the others vanish."""
    graph = normalising()
    for tensor in graph.graph.initializer:
        if tensor.name in ("spread", "w"):
            value = numpy_helper.to_array(tensor).copy()
            value[(0, 0) if tensor.name == "spread" else 0] = {"spread": 0, "w": 1000}[tensor.name]
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    model = Model.load(support.write_package(tmp_path / "spread", graph))
    scan = load_labelled([data])
    samples = list(scan.samples)
    made = quantised(model, scan, samples, Wanted("best", 60, 7, float_layers=1))
    told = made.record["divergence_by_method"]
    assert set(told) == set(METHODS)
    assert made.record["method"] == min(told, key=told.get)
    (left,) = made.record["in_float"]
    assert left["divergence"] < min(told.values()) / 2
    kinds = {n.name: n.op_type for n in onnx.load_from_string(made.graph).graph.node}
    assert kinds[left["layer"]] == "Gemm"
    assert set(made.record["core_ms"]) == {"fp32", "int8", "int8 with layers in float"}


def test_lossy_graph_is_refused_with_figures_and_nothing_is_written(data, tmp_path):
    spread = normalising(scale=2000.0)
    model = Model.load(support.write_package(tmp_path / "spread", spread))
    with pytest.raises(PrecisionRefusedError, match=r"a drop of [0-9.]+ points") as caught:
        export_int8(model, [data], tmp_path / "out", wanted=Wanted("minmax", 60))
    gate = caught.value.gate
    assert gate.scores.drop > 0.1
    assert f"{gate.scores.before:.4f}" in caught.value.message
    assert f"{gate.scores.after:.4f}" in caught.value.message
    assert "nothing was written; try --float-layers 4, --finetune 0 or 1" in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["spread"]


def test_alone_it_is_a_package_of_its_own(good, data, tmp_path):
    wanted = Wanted("minmax", 60, 7, alone=True)
    done = export_int8(good, [data], tmp_path / "m", wanted=wanted, allowed=0.05)
    package, _ = read_package(done.package)
    assert package.name == f"{good.package.name}-int8"
    assert package.description["derived"][-1]["sha256"] == good.package.sha256
    assert package.description["int8"]["gate"]["accepted"] is True
    assert Model.load(done.package).runs_on["int8"]
    with pytest.raises(SettingError, match="its only graph is in int8 already: use --device cpu"):
        Model.load(done.package, "cpu:int8")
    with pytest.raises(SettingError, match="does not have; make one with `pi10 export int8`"):
        Model.load(good.package.folder, "cpu:int8")


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
            Wanted("mean")
        with pytest.raises(SettingError, match="weight-bits is 6; it must be 7 or 8"):
            Wanted(weight_bits=6)
        with pytest.raises(SettingError, match="float-layers is -1"):
            Wanted(float_layers=-1)
        with pytest.raises(SettingError, match="--allow is -1"):
            export_int8(good, [data], tmp_path / "out", allowed=-0.01)

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
            export_int8(package, [data], tmp_path / "out", wanted=Wanted("minmax", 60))
