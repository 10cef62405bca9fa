"""Adapting: new heads on frozen features, the same in ONNX, and galleries that cannot do."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import marks
import numpy as np
import onnx
import pytest
import support
from click.testing import CliRunner
from onnx import helper

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

from pi10_classifier.classify import classify
from pi10_classifier.cli import pi10
from pi10_classifier.datasets.records import Sample
from pi10_classifier.datasets.scan import scan
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.metrics import macro_f1, softmax
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.imaging.measured_vector import NAMES
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation import features, gallery
from pi10_classifier.packaging.adaptation.adapt import adapt
from pi10_classifier.packaging.adaptation.fitting import (
    HEAD_NAMES,
    best_head,
    check_parity,
    choose,
)
from pi10_classifier.packaging.adaptation.heads import Neighbours

GROUPS = ("copepod", "detritus", "krill", "noncopepod")
FEW = dict.fromkeys(GROUPS, 8)
# which of 4 x 4 patches are dark: each class looks the same turned and mirrored, unlike marks'
CENTRE = np.pad(np.ones((2, 2)), 1)
CORNERS = np.eye(4)[[0, 3]].sum(axis=0)[:, None] * np.eye(4)[[0, 3]].sum(axis=0)
SHAPES = {
    "copepod": CENTRE, "detritus": CORNERS, "krill": CENTRE + CORNERS,
    "noncopepod": 1 - CENTRE - CORNERS,
}  # fmt: skip


def unmeasured(count: int) -> np.ndarray:
    return np.full((count, len(NAMES)), np.nan, np.float32)


def tree(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for group, count in counts.items():
        (folder / group).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            dark = np.kron(SHAPES[group] + rng.uniform(0, 0.6, (4, 4)), np.ones((10, 10)))
            image = np.clip(245 - 110 * dark + rng.normal(0, 3, dark.shape), 0, 255)
            cv2.imwrite(str(folder / group / f"{number:04d}.png"), image.astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Model.load(marks.package(tmp_path_factory.mktemp("m") / "marks"))


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Eight of each class; krill is new to the model."""
    return tree(tmp_path_factory.mktemp("g") / "crops", FEW)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("u") / "unseen", dict.fromkeys(GROUPS, 15), seed=9)


@pytest.fixture(scope="module", params=HEAD_NAMES)
def adapted(request, base, crops, tmp_path_factory):
    return adapt(base, crops, tmp_path_factory.mktemp("out") / "adapted", head=request.param)


@pytest.fixture(scope="module")
def known(base, crops):
    """Features of the crops' views."""
    found = scan([crops])
    trunk = features.cut(base.package, read_package(base.package.folder)[1])
    return gallery.compute_features(base, trunk, found, found.samples), trunk


def test_learns_a_new_class_and_keeps_the_old(adapted, unseen):
    model = Model.load(adapted.package)
    assert model.package.classes == GROUPS and adapted.new == ("krill",)
    found = scan([unseen])
    scored = score(model, found, found.samples)
    truth = scored.truth(GROUPS)
    assert macro_f1(truth, scored.probabilities.argmax(axis=1), 4) > 0.85
    assert np.allclose(scored.probabilities.sum(axis=1), 1, atol=1e-5)


def test_serves_as_any_package(adapted, unseen, tmp_path):
    run = classify([str(unseen)], tmp_path / "run", Settings(model=adapted.package, jobs=1))
    assert run.tally.totals["results"] == 60
    card = (adapted.package / "README.md").read_text("utf-8")
    assert "| krill (new) | 8 |" in card
    assert ("a little too high" in card) == (adapted.head != "linear")
    said = json.loads((adapted.package / "model.json").read_text("utf-8"))
    assert said["adapted"]["head"] == adapted.head and said["derived"][-1]["kind"] == "adapted"


def test_the_package_gives_what_scikit_learn_gives(adapted, base, crops, known):
    """By another way than the gate: from image to score, through the package's own session."""
    seen, trunk = known
    own = features.own_head(base.package, read_package(base.package.folder)[1], trunk)
    best = best_head(seen, None, own, adapted.head)
    mine = softmax(best.logits(seen), adapted.temperature)[:: seen.x.shape[1]]
    found = scan([crops])
    theirs = score(Model.load(adapted.package), found, found.samples).probabilities
    assert np.abs(mine - theirs).max() < 1e-4
    assert adapted.parity < 1e-4


def test_a_graph_that_says_something_else_is_refused(known):
    seen, trunk = known
    best = best_head(seen, None, None)
    graph, feed, logits = best.graph(trunk, len(GROUPS)), best.feed(trunk, seen), best.logits(seen)
    assert check_parity(graph, feed, logits, 1.0) < 1e-4
    with pytest.raises(ModelError, match=r"differ by .* nothing was written"):
        check_parity(graph, feed, 1.01 * logits + 0.01 * logits[:, ::-1], 0.1)


def test_same_seed_same_package(base, crops, tmp_path):
    made = [adapt(base, crops, tmp_path / name, head="forest").package for name in "ab"]
    for name in ("model.onnx", "model.json"):
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes()


def test_adapts_once_more(base, crops, tmp_path):
    first = adapt(base, crops, tmp_path / "first", head="knn")
    again = adapt(Model.load(first.package), crops, tmp_path / "again", anyway=True)
    said = Model.load(again.package).package.description
    assert [entry["name"] for entry in said["derived"]] == ["tiny", "tiny-adapted"]
    names = {node.op_type for node in onnx.load(again.package / "model.onnx").graph.node}
    assert "TopK" not in names, "the first head is gone"


def test_settings_are_judged_on_crops_left_out_with_all_their_views(known):
    """Labels without meaning: a crop's own mirror image among the fitted would tell its label."""
    seen, _ = known
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(40, 1, 16)), 8, axis=1).astype(np.float32)
    lots = gallery.Gallery(x, np.arange(40) % 2, ("a", "b"), np.arange(40), unmeasured(40))
    assert choose(lots, "knn", 0).macro_f1 < 0.75
    assert choose(seen, "knn", 0).macro_f1 > 0.8


def test_near_duplicates_are_not_judged_by_one_another():
    """Labels without meaning again: every crop twice, as a particle stuck before the lens."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.repeat(rng.normal(size=(40, 1, 16)), 2, axis=1), 2, axis=0).astype(np.float32)
    y, stuck = np.repeat(np.arange(40) % 2, 2), np.repeat(np.arange(40), 2)
    for particle, least, most in ((stuck, 0, 0.75), (np.arange(80), 0.8, 1)):
        seen = gallery.Gallery(x, y, ("a", "b"), particle, unmeasured(80))
        assert least <= choose(seen, "knn", 0).macro_f1 <= most


def test_a_class_of_one_particle_seen_twice_is_too_little():
    samples = [
        Sample("s", f"{i}.png", group, group, sha256=f"{i}", cluster=cluster)
        for i, (group, cluster) in enumerate([("a", ""), ("a", ""), ("b", "k"), ("b", "k")])
    ]
    assert gallery.particles(samples).tolist() == [0, 1, 2, 2]
    with pytest.raises(SettingError, match="'b' has one image, near duplicates not counted"):
        gallery.check_gallery(Path("crops"), samples, ())


class TestHeads:
    def test_equally_near_neighbours_do_not_change_places(self):
        """Two of other classes at one distance, the last that counts: neither counts then."""
        x = np.array([[1, 0], [0.8, 0.6], [0.8, -0.6], [-1, 0.1], [-1, -0.1]], np.float32)
        head = Neighbours(x, np.array([0, 1, 0, 1, 0]), 0, k=2)
        far = np.float32([head._scaler.mean_ + np.array([3, 0])])
        near = [head.logits(far + np.float32([[0, e]])) for e in (-1e-5, 1e-5)]
        assert np.abs(near[0] - near[1]).max() < 1e-3
        assert softmax(near[0], 1.0)[0, 0] > 0.9

    def test_all_neighbours_alike_count_the_same(self):
        x = np.ones((6, 3), np.float32)
        head = Neighbours(x, np.array([0, 0, 0, 0, 0, 0]) + np.eye(6, dtype=int)[5], 0, k=5)
        assert np.isfinite(head.logits(x)).all()

    def test_views_are_the_eight_symmetries(self):
        image = np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3)
        seen = [gallery.view(image, n) for n in range(8)]
        assert len({v.tobytes() for v in seen}) == 8
        assert (seen[0] == image).all()


class TestCut:
    def test_finds_what_enters_the_last_layer(self, base):
        graph = read_package(base.package.folder)[1]
        trunk = features.cut(base.package, graph)
        assert (trunk.name, trunk.size) == ("features", 16)
        assert [node.op_type for node in trunk.graph.graph.node][-1] == "Flatten"
        assert not trunk.graph.graph.initializer, "the old head's weights are gone"

    def test_a_graph_without_a_last_layer_says_what_to_do(self, tmp_path):
        model = support.tiny_model()
        model.graph.node[-1].output[0] = "raw"
        model.graph.node.append(helper.make_node("Relu", ["raw"], ["logits"]))
        package, graph = read_package(support.write_package(tmp_path / "relu", model))
        with pytest.raises(ModelError, match=r"name them in model.json: features"):
            features.cut(package, graph)
        named = support.write_package(
            tmp_path / "named", model, features={"name": "features", "size": 16}
        )
        assert features.cut(*read_package(named)).size == 16

    def test_features_that_are_not_there_are_told(self, tmp_path):
        folder = support.write_package(tmp_path / "m", features={"name": "nowhere", "size": 3})
        with pytest.raises(ModelError, match="nowhere"):
            features.cut(*read_package(folder))


class TestGalleries:
    @pytest.mark.parametrize(
        ("counts", "message"),
        [
            ({}, "holds no file; name a folder"),
            ({"krill": 5}, "single class 'krill'"),
            ({"krill": 5, "copepod": 1}, "'copepod' has one image"),
        ],
    )
    def test_too_little(self, base, tmp_path, counts, message):
        folder = tmp_path / "crops"
        folder.mkdir()
        tree(folder, counts)
        with pytest.raises(SettingError, match=message):
            adapt(base, folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_unreadable_and_doubtful_files_are_listed(self, base, tmp_path):
        folder = tree(tmp_path / "crops", dict.fromkeys(GROUPS[:2], 6))
        (folder / "copepod" / "torn.png").write_bytes(b"\x89PNG torn")
        shutil.copy(folder / "copepod" / "0000.png", folder / "copepod" / "copy.png")
        shutil.copy(folder / "copepod" / "0001.png", folder / "detritus" / "both.png")
        done = adapt(base, folder, tmp_path / "out", anyway=True)
        assert done.labels == {"copepod": 5, "detritus": 6}
        codes = {entry.member: entry.code for entry in done.left_out}
        assert codes.pop("copepod/torn.png") == "unsupported_format"
        assert codes == {
            "copepod/copy.png": "duplicate",
            "copepod/0001.png": "mislabelled", "detritus/both.png": "mislabelled",
        }  # fmt: skip

    def test_out_is_not_the_model_itself(self, base, crops):
        with pytest.raises(SettingError, match="is the package itself"):
            adapt(base, crops, base.package.folder)
        with pytest.raises(SettingError, match="must be one of linear, knn, forest, auto"):
            adapt(base, crops, base.package.folder, head="tree")


def test_the_command(base, crops, tmp_path):
    out = tmp_path / "adapted"
    done = CliRunner().invoke(
        pi10,
        ["adapt", "--model", str(base.package.folder), "--gallery", str(crops), "--out", str(out)],
    )
    assert done.exit_code == 0, done.output
    assert "krill (new)" in done.output and "of another day" in done.output
    assert Model.load(out).package.classes == GROUPS
    said = json.loads((out / "model.json").read_text("utf-8"))["adapted"]
    reached = said["cross_validated_macro_f1"]
    assert set(reached) == {"linear"}
    assert not said["settings_chosen"] and "too few to choose" in done.output


def test_needs_no_torch():
    code = (
        "import sys, pi10_classifier.packaging.adaptation.adapt,"
        "pi10_classifier.packaging.adaptation.heads,"
        "pi10_classifier.packaging.int8;"
        "assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
