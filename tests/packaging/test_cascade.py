"""Two packages in one graph: against the two asked apart, and what it refuses."""

import hashlib
import json
import shutil
from copy import copy
from dataclasses import replace

import cv2
import marks
import numpy as np
import onnxruntime as ort
import pytest
import support
from click.testing import CliRunner

from pi10_classifier import cli
from pi10_classifier.datasets.records import Sample
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.metrics import macro_f1
from pi10_classifier.evaluation.scoring import Scored, score
from pi10_classifier.model.package import MADE_OF
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation.adapt import adapt
from pi10_classifier.packaging.cascade import _doubt, cascade, joint
from pi10_classifier.packaging.int8 import export_int8
from pi10_classifier.training.data.loading import read_examples

COUNTS = dict.fromkeys(support.CLASSES, 40)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Two sources of images whose bars are dark to any degree: no two have one score."""
    home = tmp_path_factory.mktemp("data")
    return [
        marks.tree(home / name, COUNTS, doubt=1.2, seed=i) for i, name in enumerate(("one", "two"))
    ]


@pytest.fixture(scope="module")
def pair(trees, tmp_path_factory):
    """Packages of known weights at 32 and 64 px, the first of them astray, and a manifest."""
    home = tmp_path_factory.mktemp("models")
    manifest = home / "manifest.csv"
    manifest.write_text(read_examples(trees).manifest, "utf-8")
    split = {"split_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest()}
    astray = np.random.default_rng(3).normal(0, 0.01, (16, 3)).astype(np.float32)
    models = []
    for size, w in ((32, marks.weights() + astray), (64, marks.weights(strength=0.04))):
        folder = support.write_package(
            home / f"p{size}",
            support.tiny_model(w, size=size),
            name=f"p{size}",
            version="1",
            preprocessing={"size": size, "channels": 1, "level": True},
            temperature=4.0,
            training=split,
        )
        models.append(Model.load(folder))
    return *models, manifest


def pictures(count, size=64):
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (count, 9, 9), np.uint8)
    return np.stack([cv2.resize(x, (size, size))[None] for x in small])


def test_the_joint_graph_is_the_two_asked_apart(pair):
    fast, accurate, _ = pair
    images = pictures(24)
    quick = fast.scores(
        np.stack([cv2.resize(x[0], (32, 32), interpolation=cv2.INTER_AREA)[None] for x in images])
    )
    slow, below = accurate.scores(images), float(np.median(quick.max(axis=1)))
    session = ort.InferenceSession(joint(fast, accurate, below))
    said = np.exp(session.run(None, {"image": images})[0])
    gap = np.abs(quick.max(axis=1) - below)
    clear = gap > 5e-3  # the graph shrinks in float: a score at the border may fall either way
    on = quick.max(axis=1) < below
    assert 0 < on.sum() < len(on)
    np.testing.assert_allclose(said[on & clear], slow[on & clear], atol=1e-4)
    np.testing.assert_allclose(said[~on & clear], quick[~on & clear], atol=5e-3)


def test_the_share_is_that_of_the_validation_images(pair, trees, tmp_path):
    fast, accurate, manifest = pair
    done = cascade(fast, accurate, trees, tmp_path / "both", manifest=manifest, share=0.4)
    package = Model.load(done.package)
    assert package.package.classes == fast.package.classes
    found = load_labelled(trees, None, manifest)
    held = of_split(found, "validation")
    said, quick, slow = (
        score(model, found, held).probabilities for model in (package, fast, accurate)
    )
    by_accurate = np.abs(said - slow).max(axis=1) < 1e-4
    by_fast = np.abs(said - quick).max(axis=1) < 5e-3  # shrunk in the graph, not from the crop
    assert by_accurate.sum() == round(done.share * len(held))
    assert (by_accurate | by_fast).all()
    assert done.share == pytest.approx(0.4, abs=1 / len(held))


def test_images_of_one_score_go_together():
    """Of ten images, six at one score: no border passes four of them on."""
    truth = np.arange(10) % 2
    samples = tuple(Sample("s", f"{i}.png", "ab"[t], "ab"[t]) for i, t in enumerate(truth))
    top = np.array([0.6] * 6 + [0.9] * 4)
    quick = Scored(samples, np.stack([top, 1 - top], axis=1))
    slow = Scored(samples, np.eye(2)[truth])
    assert _doubt(quick, slow, "ab", 0.4) == (pytest.approx(0.6), 0.0)
    below, share = _doubt(quick, slow, "ab", 0.7)
    assert 0.6 < below <= 0.9
    assert share == 0.6


@pytest.mark.parametrize("below", [0.0, 1.1])
def test_none_or_all_may_be_doubtful(pair, below):
    fast, accurate, _ = pair
    session = ort.InferenceSession(joint(fast, accurate, below))
    images = pictures(5)
    for batch in (images[:1], images):
        said = np.exp(session.run(None, {"image": batch})[0])
        np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
        if below:
            np.testing.assert_allclose(said, accurate.scores(batch), atol=1e-5)


def test_its_package_tells_of_both_and_of_the_test_split(pair, trees, tmp_path):
    fast, accurate, manifest = pair
    told = json.loads((fast.package.folder / "model.json").read_text())
    labels = [{"run": "r", "use": "fitted", "sha256": "0" * 64}]
    own = shutil.copytree(fast.package.folder, tmp_path / "own")
    (own / "model.json").write_text(json.dumps(told | {MADE_OF: labels}))
    done = cascade(Model.load(own), accurate, trees, tmp_path / "both", manifest=manifest)
    fields = json.loads((done.package / "model.json").read_text())
    assert fields[MADE_OF] == labels, "of the labels that its fast network was fitted on"
    with pytest.raises(SettingError, match="is a cascade of two networks; adapt one"):
        adapt(Model.load(done.package), trees[0], tmp_path / "adapted")
    with pytest.raises(SettingError, match="is a cascade of two networks; make int8 packages"):
        export_int8(Model.load(done.package), trees, tmp_path / "int8", manifest=manifest)
    assert fields["cascade"]["fast"]["sha256"] == fast.package.sha256
    assert fields["derived"][-1]["sha256"] == accurate.package.sha256
    assert set(fields["metrics"]) == {"test split", "one", "two"}
    text = (done.package / "README.md").read_text()
    assert "p32, version 1" in text
    assert "p64, version 1" in text
    assert f"below {done.below:.4f} go to p64" in text
    model, found = Model.load(done.package), load_labelled(trees, None, manifest)
    seen = score(model, found, of_split(found, "validation"))
    classes = model.package.classes
    f1 = macro_f1(seen.truth(classes), seen.probabilities.argmax(axis=1), len(classes))
    assert done.validation["cascade"] == pytest.approx(f1)


def test_one_that_does_not_pay_says_so(pair, trees, tmp_path):
    fast, accurate, manifest = pair
    done = cascade(fast, fast, trees, tmp_path / "itself", manifest=manifest)
    assert not done.pays
    said = "This cascade does not pay: p32 alone is as good on the validation images, and faster"
    assert said in (done.package / "README.md").read_text()
    folder, data = str(fast.package.folder), [x for tree in trees for x in ("--data", str(tree))]
    words = ["export", "cascade", "--fast", folder, "--accurate", folder, *data]
    found = CliRunner().invoke(
        cli.pi10, [*words, "--manifest", str(manifest), "--out", str(tmp_path / "again")]
    )
    assert found.exit_code == 0, found.output
    assert said in found.output
    assert "trained with another split" not in found.output
    other = tmp_path / "manifest.csv"  # the same split in other bytes
    lines = manifest.read_text().splitlines(keepends=True)
    other.write_text("".join([lines[0], *reversed(lines[1:])]))
    found = CliRunner().invoke(
        cli.pi10, [*words, "--manifest", str(other), "--out", str(tmp_path / "other")]
    )
    assert found.output.count("note: p32 was trained with another split") == 2
    other = cascade(fast, accurate, trees, tmp_path / "both", manifest=manifest)
    assert other.pays is (said not in (other.package / "README.md").read_text())


def test_without_test_images_the_package_before_stays(pair, trees, tmp_path):
    fast, accurate, manifest = pair
    kept = cascade(fast, accurate, trees, tmp_path / "kept", manifest=manifest).package
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    lines = manifest.read_text().splitlines(keepends=True)
    bare = tmp_path / "manifest.csv"
    bare.write_text("".join(line for line in lines if ",test," not in line))
    with pytest.raises(SettingError, match="no image is in split 'test'"):
        cascade(fast, accurate, trees, kept, manifest=bare, share=0.5)
    assert before == {path.name: path.read_bytes() for path in kept.iterdir()}


def test_what_does_not_go_together_is_refused(pair, trees, tmp_path):
    fast, accurate, manifest = pair
    with pytest.raises(SettingError, match="must be the accurate one's, or smaller"):
        cascade(accurate, fast, trees, tmp_path / "a", manifest=manifest)
    spec = replace(fast.package.preprocessing, trim=0.2)
    trimmed = copy(fast)
    trimmed.package = replace(fast.package, preprocessing=spec)
    with pytest.raises(
        SettingError, match=r"trim 0\.2, ground_clip 0, p64 .* trim 0\.0, .*; a cascade needs"
    ):
        cascade(trimmed, accurate, trees, tmp_path / "c", manifest=manifest)
    with pytest.raises(SettingError, match=r"share is 1\.5"):
        cascade(fast, accurate, trees, tmp_path / "b", manifest=manifest, share=1.5)
    assert not list(tmp_path.iterdir())
