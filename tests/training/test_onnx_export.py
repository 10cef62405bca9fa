"""The whole road at 32 px on drawn shapes: train, export, test, describe."""

import hashlib
import json
import shutil

import numpy as np
import onnx
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from sklearn.metrics import f1_score

from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.imaging.preprocess import Preprocessing
from pi10_classifier.model.session import Model
from pi10_classifier.model.writer import derive
from pi10_classifier.training import checkpoint, onnx_export
from pi10_classifier.training import run as runs
from pi10_classifier.training.data.loading import read_examples
from pi10_classifier.training.networks import registry as networks
from pi10_classifier.training.plan import TrainingPlan
from pi10_classifier.training.recipe import recipe_for

RECIPE = recipe_for(
    "mobilenet_v2", epochs=6, size=32, warm_size=32, batch=16, rate=2e-3, warmup_steps=5
)
KEYS = {
    *("format", "name", "version", "classes", "preprocessing", "input", "output", "limits"),
    *("temperature", "thresholds", "training", "metrics", "never_seen", "files", "parity"),
    "licence",
}
GROUPS = """label,class
copepod/*,copepod
detritus/*,detritus
noncopepod/*,noncopepod
other/*,-
"""
CITED = {"light": ("shapes, dark on light", "CC0-1.0"), "black": ("shapes, on black", "CC0-1.0")}


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    labels = out / "groups.csv"
    labels.write_text(GROUPS)
    examples = read_examples([shapes / f"{name}.tar" for name in CITED], labels)
    plan = TrainingPlan(
        network="mobilenet_v2",
        recipe=RECIPE,
        out=out / "training",
        init="random",
        sources=CITED,
        never_seen="Labelled Pi-10 images.",
        licence="CC-BY-4.0",
        command="again",
    )
    (folder,) = runs.train_seeds(examples, plan, emit=lambda line: None)
    return folder


@pytest.fixture(scope="module")
def package(trained):
    return trained / "package"


@pytest.fixture
def fields(package):
    return json.loads((package / "model.json").read_text())


def test_the_figures_are_the_packages_own_on_each_sources_test_images(trained, fields, shapes):
    history = checkpoint.load_checkpoint(trained / "checkpoint")[1]["training"]["history"]
    assert [record["epoch"] for record in history] == list(range(1, RECIPE.epochs + 1))
    assert all(np.isfinite(record["loss"]) for record in history)
    model = Model.load(trained / "package")
    tars = [shapes / f"{name}.tar" for name in CITED]
    found = load_labelled(tars, None, trained.parent / "manifest.csv")
    seen = score(model, found, of_split(found, "test"))
    for source in CITED:
        mine = seen.of(lambda sample, name=source: sample.source == name)
        truth = mine.truth(model.package.classes)
        expected = f1_score(truth, mine.probabilities.argmax(axis=1), average="macro")
        assert fields["metrics"][source]["macro_f1"]["value"] == pytest.approx(expected, abs=1e-3)


def test_manifest_is_the_one_in_the_description(trained, fields):
    digest = hashlib.sha256((trained.parent / "manifest.csv").read_bytes()).hexdigest()
    assert fields["training"]["split_sha256"] == digest


def test_description_is_complete(package, fields):
    assert set(fields) == KEYS
    assert fields["classes"] == ["copepod", "detritus", "noncopepod"]
    assert Preprocessing.from_dict(fields["preprocessing"]) == Preprocessing(size=32, trim=0.2)
    blob = (package / "model.onnx").read_bytes()
    assert fields["files"] == {
        "model.onnx": {"sha256": hashlib.sha256(blob).hexdigest(), "bytes": len(blob)}
    }
    images = fields["training"]["data"][0]["images"]
    assert images["train"]["copepod"] == 28
    assert 0.05 <= fields["temperature"] <= 20
    found = fields["metrics"]["light"]
    assert found["n"] == sum(images["test"].values())
    both = sum(fields["metrics"][source]["n"] for source in CITED)
    assert fields["metrics"]["test split"]["n"] == both


def test_package_holds_three_files_and_no_external_data(package):
    assert sorted(p.name for p in package.iterdir()) == ["README.md", "model.json", "model.onnx"]
    model = onnx.load(package / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model)
    assert not any(t.data_location for t in model.graph.initializer)
    assert model.opset_import[0].version == 17


def test_graph_tells_of_the_package(package, fields):
    session = ort.InferenceSession(package / "model.onnx", providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert (told["name"], told["version"]) == (fields["name"], fields["version"])
    assert json.loads(told["classes"]) == fields["classes"]
    assert json.loads(told["preprocessing"]) == fields["preprocessing"]
    assert told["model_license"] == fields["licence"] == "CC-BY-4.0"
    assert "license: cc-by-4.0" in (package / "README.md").read_text()


def test_graph_takes_uint8_of_any_batch(package):
    session = ort.InferenceSession(package / "model.onnx", providers=["CPUExecutionProvider"])
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["N", 1, 32, 32])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["N", 3])
    batch = np.random.default_rng(0).integers(0, 256, (5, 1, 32, 32), np.uint8)
    together = session.run(None, {"image": batch})[0]
    alone = np.concatenate([session.run(None, {"image": batch[i : i + 1]})[0] for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_description_and_card_say_what_the_parity_gate_found(package, fields):
    gate = fields["parity"]
    assert (gate["images"], gate["allowed"]) == (24, 1e-4)
    assert 0 <= gate["largest_difference"] <= 1e-4
    row = f"differ from torch's by {gate['largest_difference']:.1e} at most, over 24 validation"
    assert row in (package / "README.md").read_text()
    assert "parity" not in derive(Model.load(package).package, "int8")  # of another graph


def test_card_names_data_figures_limits_and_the_command(package, fields):
    text = (package / "README.md").read_text()
    macro = fields["metrics"]["black"]["macro_f1"]
    for part in (
        "grey, cut to the particle and 20% of its longest side about it; prepared by",
        "shapes, on black",
        "CC0-1.0",
        f"{macro['value']:.3f} ({macro['low']:.3f} to {macro['high']:.3f})",
        "Never seen: Labelled Pi-10 images.",
        "```\nagain\n```",
    ):
        assert part in text


def test_export_again_gives_the_same_package(trained, package, tmp_path):
    again = onnx_export.export_package(trained / "checkpoint", tmp_path / "again")
    for name in ("model.onnx", "model.json", "README.md"):
        assert (again / name).read_bytes() == (package / name).read_bytes(), name


def rebuilt(trained):
    state, fields = checkpoint.load_checkpoint(trained / "checkpoint")
    network = networks.build(fields["architecture"], 3, size=32, channels=1, init="random")
    network.load_state_dict(state)
    return network, np.load(trained / "checkpoint" / "parity.npy")


def test_parity_holds_on_validation_images(trained, package):
    network, images = rebuilt(trained)
    assert len(images) == 24
    assert onnx_export.check_parity(network, package / "model.onnx", images) <= 1e-4


def test_parity_gate_refuses_a_tampered_model_with_the_figure(trained, package, tmp_path):
    network, images = rebuilt(trained)
    model = onnx.load(package / "model.onnx")
    head = next(t for t in model.graph.initializer if t.name.endswith("classifier.1.weight"))
    head.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(head) * 1.1, head.name))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"differ by \d\.\d\de-0\d .* over 24 images"):
        onnx_export.check_parity(network, tmp_path / "model.onnx", images)


def test_nothing_is_published_when_the_gate_refuses(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="was not written"):
        onnx_export.export_package(trained / "checkpoint", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_images_of_another_size_are_refused_by_the_gate(trained, tmp_path):
    wrong = np.zeros((2, 1, 48, 48), np.uint8)
    with pytest.raises(ModelError, match="parity images have shape"):
        onnx_export.export_package(trained / "checkpoint", tmp_path / "out", wrong)


def test_checkpoint_whose_description_disagrees_is_refused(trained, tmp_path):
    shutil.copytree(trained / "checkpoint", tmp_path / "bad")
    fields = json.loads((tmp_path / "bad" / "checkpoint.json").read_text())
    checkpoint.write_description(tmp_path / "bad", {**fields, "classes": ["a", "b"]})
    with pytest.raises(ModelError, match="weights and description disagree"):
        onnx_export.export_package(tmp_path / "bad", tmp_path / "out")


def test_a_folder_of_other_things_is_not_overwritten(trained, tmp_path):
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(SettingError, match="name another folder"):
        onnx_export.export_package(trained / "checkpoint", tmp_path)


def test_a_second_stage_tells_of_the_first(trained, shapes, tmp_path):
    (tmp_path / "groups.csv").write_text(GROUPS)
    tars = [shapes / f"{name}.tar" for name in CITED]
    again = TrainingPlan(
        network="mobilenet_v2",
        recipe=recipe_for("mobilenet_v2", epochs=1, size=32, warm_size=0, batch=16),
        out=tmp_path / "second",
        init=str(trained),
        command="second",
    )
    examples = read_examples(tars, tmp_path / "groups.csv")
    (folder,) = runs.train_seeds(examples, again, emit=lambda line: None)
    found = json.loads((folder / "package" / "model.json").read_text())["training"]
    assert found["initial_weights"]["origin"] == "random"
    (stage,) = found["initial_weights"]["stages"]
    assert (stage["command"], stage["epochs"]) == ("again", RECIPE.epochs)
    text = (folder / "package" / "README.md").read_text()
    assert f"\n  - Stage 1, {RECIPE.epochs} epochs in" in text
    assert "`again`" in text
