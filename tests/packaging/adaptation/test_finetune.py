"""`pi10 adapt --finetune`: the network trained from the linear head on, judged beside it."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import support
from click.testing import CliRunner
from onnx import helper

pytest.importorskip("sklearn")
torch = pytest.importorskip("torch", reason="fine-tuning needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from pi10_classifier.cli import pi10
from pi10_classifier.datasets.scan import scan
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.imaging.preprocess import Preprocessing
from pi10_classifier.model.package import embedded, read_package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation.adapt import NotBetterError, adapt
from pi10_classifier.packaging.adaptation.features import cut
from pi10_classifier.packaging.adaptation.finetune import Fit
from pi10_classifier.packaging.adaptation.replay import export_replay
from pi10_classifier.training.finetuning import tune as tuning
from pi10_classifier.training.finetuning.graph_network import GraphNetwork
from pi10_classifier.training.finetuning.tune import rate_at, steps_of, tune, varied

CLASSES = ("bar", "disc", "ring")


def crops(folder: Path, each: dict[str, int], seed: int = 0) -> Path:
    """Bars, discs and rings on a light ground."""
    rng = np.random.default_rng(seed)
    for label, count in each.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            image = np.clip(rng.normal(235, 4, (44, 44)), 0, 255).astype(np.uint8)
            shade, reach = int(rng.integers(30, 110)), int(rng.integers(10, 15))
            if label == "bar":
                cv2.ellipse(image, (22, 22), (reach, 3), rng.uniform(0, 180), 0, 360, shade, -1)
            else:
                cv2.circle(image, (22, 22), reach, shade, -1 if label == "disc" else 2)
            cv2.imwrite(str(folder / label / f"{number}.png"), image)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A small convolutional network with random weights, exported as a training exports it."""
    from pi10_classifier.training.networks.base import Network, Output, pooled

    class Small(Network):
        def __init__(self):
            super().__init__(1, (0.5,) * 3, (0.25,) * 3)
            torch.manual_seed(1)
            self.features = torch.nn.Sequential(
                torch.nn.Conv2d(1, 8, 5, 2, 2), torch.nn.BatchNorm2d(8), torch.nn.ReLU6(),
                torch.nn.Conv2d(8, 16, 3, 2, 1, groups=8), torch.nn.ReLU(),
            )  # fmt: skip
            self.classifier = torch.nn.Linear(16, 3)

        def forward(self, image):
            features = pooled(self.features(self.normalise(image)))
            return Output(self.classifier(features), features)

    from pi10_classifier.training.onnx_export import write_onnx

    home = tmp_path_factory.mktemp("base")
    spec = Preprocessing(size=32, channels=1)
    write_onnx(Small(), spec, home / "x.onnx")
    support.write_package(
        home / "small", (home / "x.onnx").read_bytes(), format=2, classes=["a", "b", "c"],
        preprocessing=spec.to_dict(),
    )  # fmt: skip
    return Model.load(home / "small")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("g") / "crops", dict.fromkeys(CLASSES, 6))


@pytest.fixture(scope="module")
def tuned(base, gallery, tmp_path_factory):
    out = tmp_path_factory.mktemp("t") / "tuned"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "RATE", 0.01)  # random weights have far to go
        return adapt(base, gallery, out, tuner=tune, anyway=True)


def test_the_network_was_trained_and_serves_what_was_judged(tuned, base, gallery):
    said = json.loads((tuned.package / "model.json").read_text("utf-8"))
    assert said["adapted"]["finetuned"]["cross_validated_macro_f1"] == round(
        tuned.tried["fine-tuned"], 4
    )
    assert "trained together on the same crops" in (tuned.package / "README.md").read_text("utf-8")
    model = Model.load(tuned.package)
    before, after = (cut(x.package, read_package(x.package.folder)[1]) for x in (base, model))
    assert before.sha256() != after.sha256(), "other weights, so another replay file"
    found = scan([gallery])
    scored = score(model, found, found.samples)
    right = scored.probabilities.argmax(axis=1) == scored.truth(CLASSES)
    assert right.mean() > 0.7
    assert tuned.parity < 1e-4


def test_it_is_refused_where_it_is_no_better_and_nothing_is_written(base, gallery, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "RATE", 0.0)  # so the network stays as it is
        with pytest.raises(NotBetterError, match=r"fine-tuning reaches .* the linear head"):
            adapt(base, gallery, tmp_path / "out", tuner=tune)
    assert not (tmp_path / "out").exists()


def test_without_a_step_it_is_the_linear_head(base, gallery, tmp_path):
    """What is trained begins at the linear head, on the features of the package."""
    seen = []

    def stay(graph, fit, seed):
        seen.append(fit)
        return tuning.Tuned(graph, fit.head_weight, fit.head_bias)

    made = adapt(base, gallery, tmp_path / "stays", tuner=stay, anyway=True)
    assert made.tried["fine-tuned"] == pytest.approx(made.tried["linear"], abs=0.1)
    folds = seen[:-1]
    assert len(seen[-1].truth) == 18 and len(folds) >= 2
    assert sum(18 - len(fit.truth) for fit in folds) == 18, "each crop is held out once"
    assert np.isfinite(seen[-1].numbers).all()


@pytest.mark.parametrize("of", ["features", "images"])
def test_source_images_count_and_a_class_may_have_none(of, base, gallery, tmp_path):
    sources = crops(tmp_path / "sources", {"bar": 5, "disc": 4}, seed=7)
    seen = []

    def stay(graph, fit, seed):
        seen.append(fit)
        return tuning.Tuned(graph, fit.head_weight, fit.head_bias)

    given = {"data": [sources]}
    if of == "features":
        export_replay(base, [sources], tmp_path / "replay.npz")
        given = {"replay": tmp_path / "replay.npz"}
    adapt(base, gallery, tmp_path / "out", tuner=stay, anyway=True, **given)
    fit = seen[-1]
    if of == "features":
        joined, truth, weight = fit.source
        assert len(joined) == len(truth) == len(weight) == 9
        assert joined.shape[1] == fit.head_weight.shape[0]
    else:
        assert len(fit.images) == len(fit.numbers) == len(fit.truth) == 18 + 9
        truth, weight = fit.truth, fit.weight
        share = np.bincount(truth, weight)
        np.testing.assert_allclose(share / share.sum(), 1 / 3, rtol=1e-6)
    assert set(truth.tolist()) >= {0, 1}
    assert tune(
        cut(base.package, read_package(base.package.folder)[1]).graph, fit, 0
    ).bias.shape == (3,)


def test_bad_galleries_and_options(base, gallery, tmp_path):
    lone = crops(tmp_path / "lone", {"bar": 3, "disc": 1})
    with pytest.raises(SettingError, match="'disc' has one image"):
        adapt(base, lone, tmp_path / "out", tuner=tune)
    with pytest.raises(SettingError, match=r"--data is for --finetune"):
        adapt(base, gallery, tmp_path / "out", data=[gallery])
    other = crops(tmp_path / "other", {"bar": 2})
    (other / "bar").rename(other / "krill")
    with pytest.raises(SettingError, match=r"--data has no image of bar, disc, ring"):
        adapt(base, gallery, tmp_path / "out", tuner=tune, data=[other])
    with pytest.raises(SettingError, match=r"--finetune begins with the linear head"):
        adapt(base, gallery, tmp_path / "out", tuner=tune, head="knn")
    assert not (tmp_path / "out").exists()


def test_graphs_that_cannot_be_trained():
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])]
    value = helper.make_tensor_value_info("x", 1, ["N", 1])
    model = helper.make_model(helper.make_graph(nodes, "g", [value], [value]))
    with pytest.raises(SettingError, match="operator QuantizeLinear, which cannot be fine-tuned"):
        GraphNetwork(model)


@pytest.mark.parametrize("name", ["starter", "fast"])
def test_the_embedded_graphs_run_in_torch(name):
    package, graph = read_package(embedded(name))
    trunk = cut(package, graph)
    network = GraphNetwork(trunk.graph)
    size = package.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, (3, 1, size, size), np.uint8)
    with torch.no_grad():
        ours = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(ours, trunk.run([images]), atol=2e-3)
    with torch.no_grad():
        network.weights[0].mul_(0.5)
    changed = replace(trunk, graph=network.trained())
    with torch.no_grad():
        ours = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(ours, changed.run([images]), atol=2e-3)


def test_the_time_is_bounded():
    assert steps_of(60) * tuning.BATCH <= tuning.EPOCHS * 60
    assert steps_of(100_000) * tuning.BATCH <= tuning.SHOWN
    assert steps_of(2) >= 1
    rates = [rate_at(step, 100) for step in range(100)]
    assert max(rates) <= tuning.RATE and rates[0] < rates[9] and rates[-1] < 0.01 * tuning.RATE


def test_views_keep_ground_and_shape():
    images = torch.full((4, 1, 20, 20), 255, dtype=torch.uint8)
    images[:, :, 6:14, 8:12] = 0
    seen = varied(images, np.random.default_rng(0))
    assert seen.shape == images.shape and seen.dtype == torch.float32
    assert (seen[:, :, 0] > 254.9).all() and seen.min() < 30
    again = varied(images, np.random.default_rng(0))
    torch.testing.assert_close(seen, again)
    assert not torch.equal(seen[0], seen[1])


def test_a_loss_that_is_no_number_is_told(base):
    fit = Fit(
        np.zeros((4, 1, 32, 32), np.uint8), np.zeros((4, 0), np.float32), np.arange(4) % 3,
        np.ones(4), np.zeros((16, 3)), np.full(3, np.nan),
        (np.zeros((0, 16), np.float32), np.zeros(0, np.int64), np.zeros(0)),
    )  # fmt: skip
    graph = cut(base.package, read_package(base.package.folder)[1]).graph
    with pytest.raises(ModelError, match="reached a loss of nan"):
        tune(graph, fit, 0)


def test_the_command(base, gallery, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(base.package.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "EPOCHS", 1)
        done = CliRunner().invoke(pi10, [
            "adapt", "--model", str(folder), "--gallery", str(gallery), "--finetune", "--anyway",
            "--out", str(tmp_path / "out"),
        ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert re.search(r"training (\d) of \1\n", done.output) and "fine-tuned" in done.output
    assert Model.load(tmp_path / "out").package.classes == CLASSES
