"""Novelty fitted on a package: against scikit-learn, on fresh images, and in what is made of it."""

import hashlib
import json

import marks
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import support
from click.testing import CliRunner
from scipy.special import logsumexp
from sklearn.decomposition import PCA

from pi10_classifier import cli
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.evaluate import evaluate
from pi10_classifier.evaluation.scoring import prepared
from pi10_classifier.model.card import card
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation.features import cut
from pi10_classifier.packaging.calibrate import calibrate
from pi10_classifier.packaging.cascade import joint
from pi10_classifier.packaging.novelty import export_novelty
from pi10_classifier.packaging.novelty_graph import PREFIX, without_novelty

KNOWN, OUTSIDE = 70, 30
DOUBT = 0.3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A table: three classes in two splits, and krill, which no package here knows, to test."""
    home = tmp_path_factory.mktemp("data")
    lines = ["path,label,split"]
    counts = {**dict.fromkeys(support.CLASSES, KNOWN), "krill": OUTSIDE}
    for seed, split in enumerate(("validation", "test")):
        folder = marks.tree(home / split, counts, doubt=DOUBT, seed=seed)
        lines += [f"{p},{p.parent.name},{split}" for p in sorted(folder.rglob("*.png"))]
    (home / "images.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return home / "images.csv"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A package whose card is made of its description, as of those that are trained."""
    graph = support.tiny_model(marks.weights()).SerializeToString()
    told = {"sha256": hashlib.sha256(graph).hexdigest(), "bytes": len(graph)}
    folder = support.write_package(
        tmp_path_factory.mktemp("m") / "marks",
        graph,
        files={"model.onnx": told},
        training={},
        metrics={},
        never_seen="Whales.",
    )
    described = json.loads((folder / "model.json").read_text("utf-8"))
    (folder / "README.md").write_text(card(described), "utf-8")
    return Model.load(folder)


@pytest.fixture(scope="module")
def fitted(base, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "told"
    return export_novelty(base, [data], out, split="validation")


@pytest.fixture(scope="module")
def told(fitted):
    return Model.load(fitted.package)


@pytest.fixture(scope="module")
def found(data):
    return load_labelled([data], None, None, outside=True)


@pytest.fixture(scope="module")
def images(base, found):
    """Split -> group -> prepared images, in the order in which they are read."""
    read = [(sample, image) for part, batch in prepared(base, found, found.samples)
            for sample, image in zip(part, batch, strict=True)]  # fmt: skip
    return {
        split: {
            group: np.stack([x for s, x in read if (s.split, s.group) == (split, group)])
            for group in (*support.CLASSES, "krill")
        }
        for split in ("validation", "test")
    }


@pytest.fixture(scope="module")
def tested(images):
    return np.concatenate(list(images["test"].values()))


def test_class_scores_have_the_same_bits(fitted, base, told, tested):
    np.testing.assert_array_equal(told.scores(tested), base.scores(tested))
    assert fitted.largest_difference == 0
    assert fitted.images == 3 * KNOWN


def test_the_number_is_that_of_scikit_learn_shifted_and_scaled(base, told, images):
    package, graph = read_package(base.package.folder)
    trunk = cut(package, graph)
    batch = np.concatenate([images["validation"][group] for group in support.CLASSES])
    features = trunk.run([batch]).astype(np.float64)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"image": batch})[0].astype(np.float64)
    space = PCA(8).fit(directions)
    left = directions - space.inverse_transform(space.transform(directions))
    residual = np.linalg.norm(left, axis=1)
    raw = residual * np.abs(logits.max(axis=1)).mean() / residual.mean() - logsumexp(logits, axis=1)
    novelty = told.answer(batch).novelty
    slope, shift = np.polyfit(raw, novelty, 1)
    assert slope > 0
    np.testing.assert_allclose(novelty, slope * raw + shift, atol=2e-3)


def test_few_known_images_and_many_others_are_flagged(told, images):
    threshold = told.package.novelty.threshold
    novelty = {group: told.answer(batch).novelty for group, batch in images["test"].items()}
    known = np.concatenate([novelty[group] for group in support.CLASSES])
    assert (known > threshold).mean() <= 0.08  # wished: 0.02
    assert abs(np.median(known)) < 0.5
    assert (novelty["krill"] > threshold).mean() > 0.3


def test_evaluate_repeats_the_figures_of_the_card(fitted, told, data):
    again = evaluate(told, [data], split="test")["novelty"]
    assert again == fitted.judged
    assert again["all"]["outside"] == OUTSIDE
    assert again["all"]["auroc"]["value"] > 0.8
    text = (fitted.package / "README.md").read_text("utf-8")
    figure = again["all"]["auroc"]
    assert f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})" in text
    assert "It is a weak flag" in text
    stored = json.loads((fitted.package / "model.json").read_text("utf-8"))
    assert stored["novelty"]["judged"] == again
    assert text == card(stored)
    assert stored["version"] == "1.0+novelty"
    assert stored["derived"][-1]["kind"] == "novelty"


def test_it_can_be_fitted_anew(told, data, tested, tmp_path):
    done = export_novelty(told, [data], tmp_path / "again", split="validation", false_alarms=0.1)
    model = onnx.load_from_string(read_package(done.package)[1])
    assert [value.name for value in model.graph.output] == ["logits", "novelty"]
    again, before = Model.load(done.package).answer(tested), told.answer(tested)
    assert (again.novelty > 1).sum() > (before.novelty > 1).sum()


def test_taken_off_the_graph_is_as_it_was(told, base):
    package, graph = read_package(told.package.folder)
    model = onnx.load_from_string(without_novelty(package, graph))
    before = onnx.load_from_string(read_package(base.package.folder)[1])
    for field in ("node", "initializer", "output"):
        mine, theirs = (sorted(str(x) for x in getattr(m.graph, field)) for m in (model, before))
        assert mine == theirs
    plain = read_package(base.package.folder)
    assert without_novelty(*plain) is plain[1]


def test_calibrated_it_stays(told, data, tested, tmp_path):
    calibrate(told, [data], tmp_path / "out", split="validation")
    model = Model.load(tmp_path / "out")
    np.testing.assert_array_equal(model.answer(tested).novelty, told.answer(tested).novelty)
    assert model.package.novelty == told.package.novelty


def test_a_cascade_of_such_packages_has_none(told, base):
    names = {n for m in (told, base) for n in outputs_of(joint(m, m, 0.5))}
    assert not any(PREFIX in name or name.endswith("novelty") for name in names)
    assert outputs_of(joint(told, told, 0.5)) == outputs_of(joint(base, base, 0.5))


def outputs_of(graph):
    return [name for node in onnx.load_from_string(graph).graph.node for name in node.output]


def test_what_cannot_be_fitted_is_refused(base, data, tmp_path):
    out = tmp_path / "out"
    few = marks.tree(tmp_path / "few", dict.fromkeys(support.CLASSES, 20))
    with pytest.raises(SettingError, match="60 images of the model's classes are too few"):
        export_novelty(base, [few], out)
    with pytest.raises(SettingError, match=r"false alarms is 0\.5; it must be 0\.001 to 0\.2"):
        export_novelty(base, [data], out, false_alarms=0.5)
    graph = read_package(base.package.folder)[1]
    joined = support.write_package(tmp_path / "both", graph, cascade={})
    with pytest.raises(SettingError, match="cascade of two networks"):
        export_novelty(Model.load(joined), [data], out)
    sure = support.write_package(
        tmp_path / "sure", graph, output={"name": "logits", "activation": "none"}
    )
    with pytest.raises(ModelError, match="export it with logits"):
        export_novelty(Model.load(sure), [data], out)
    assert not out.exists()


def test_the_command_says_what_it_did(data, tmp_path):
    model = marks.package(tmp_path / "marks")
    words = ["export", "novelty", "--model", model, "--data", data]
    words += ["--split", "validation", "--version", "9", "--out", tmp_path / "told"]
    done = CliRunner().invoke(cli.pi10, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "fitted on 210 images; class scores differ by 0e+00 at most" in done.output
    assert "AUROC" in done.output
    assert Model.load(tmp_path / "told").package.version == "9"
    written = (tmp_path / "told/README.md").read_text("utf-8")
    assert "## Unlike the training images" in written
    assert "## What it was made of: tiny" in written  # its card was not made of its description


@pytest.mark.parametrize("command", ["int8", "adapt"])
def test_in_int8_and_adapted_it_is_left_off(command, told, tmp_path, monkeypatch):
    # the calibration of a few drawn images is no matter of this test
    monkeypatch.setattr("pi10_classifier.packaging.precision_gate.CALIBRATION_ALLOWED", 1.0)
    each = {"int8": 40, "adapt": 6}[command]
    folder = marks.tree(tmp_path / "crops", dict.fromkeys(support.CLASSES, each))
    words = {
        "int8": [
            "export",
            "int8",
            "--only",
            "--images",
            "32",
            "--allow",
            "100",
            "--draws",
            "1",
            "--data",
            folder,
        ],
        "adapt": ["adapt", "--anyway", "--gallery", folder],
    }[command]
    words += ["--model", told.package.folder, "--out", tmp_path / "out"]
    done = CliRunner().invoke(cli.pi10, [str(word) for word in words])
    assert "the new package does not" in done.output, done.output
    package, graph = read_package(tmp_path / "out")
    assert package.novelty is None
    assert "novelty" not in package.description
    names = {n for node in onnx.load_from_string(graph).graph.node for n in node.output}
    assert not any(n.startswith(PREFIX) or n == "novelty" for n in names)
