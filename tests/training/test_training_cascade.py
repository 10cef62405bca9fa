"""Two packages in one graph: against the two asked apart, and what it refuses."""

import json
from copy import copy
from dataclasses import replace

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from pi10_classifier import cli  # noqa: E402
from pi10_classifier.errors import SettingError  # noqa: E402
from pi10_classifier.model import Model  # noqa: E402
from pi10_classifier.training import runs  # noqa: E402
from pi10_classifier.training.adapt import adapt  # noqa: E402
from pi10_classifier.training.cascade import cascade, joint  # noqa: E402
from pi10_classifier.training.examples import read_examples  # noqa: E402
from pi10_classifier.training.material import gather, of_split  # noqa: E402
from pi10_classifier.training.metrics import macro_f1  # noqa: E402
from pi10_classifier.training.plan import Plan  # noqa: E402
from pi10_classifier.training.quantise import export_int8  # noqa: E402
from pi10_classifier.training.recipe import recipe_for  # noqa: E402
from pi10_classifier.training.scoring import score  # noqa: E402


@pytest.fixture(scope="module")
def tars(shapes):
    return [shapes / "light.tar", shapes / "black.tar"]


@pytest.fixture(scope="module")
def pair(tars, tmp_path_factory):
    """A package at 32 px, one at 64 px, and their manifest."""
    models, examples = [], read_examples(tars)
    for size in (32, 64):
        out = tmp_path_factory.mktemp(f"p{size}") / "training"
        recipe = recipe_for("mobilenet_v2", epochs=2, size=size, warm_size=0, batch=16, ema=0.0)
        plan = Plan(network="mobilenet_v2", recipe=recipe, out=out, init="random", name=f"p{size}")
        (folder,) = runs.train_seeds(examples, plan, say=lambda line: None)
        models.append(Model.load(folder / "package"))
    return models[0], models[1], out / "manifest.csv"


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
    clear = gap > 1e-4  # the graph shrinks in float: a score at the border may fall either way
    on = quick.max(axis=1) < below
    assert 0 < on.sum() < len(on)
    np.testing.assert_allclose(said[on & clear], slow[on & clear], atol=1e-4)
    np.testing.assert_allclose(said[~on & clear], quick[~on & clear], atol=2e-3)


def test_the_share_is_that_of_the_validation_images(pair, tars, tmp_path):
    fast, accurate, manifest = pair
    done = cascade(fast, accurate, tars, tmp_path / "both", manifest=manifest, share=0.4)
    assert done.share == pytest.approx(0.4, abs=0.05)
    assert Model.load(done.package).package.classes == fast.package.classes


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


def test_its_package_tells_of_both_and_of_the_test_split(pair, tars, tmp_path):
    fast, accurate, manifest = pair
    done = cascade(fast, accurate, tars, tmp_path / "both", manifest=manifest)
    fields = json.loads((done.package / "model.json").read_text())
    with pytest.raises(SettingError, match="is a cascade of two networks; adapt one"):
        adapt(Model.load(done.package), tars[0], tmp_path / "adapted")
    with pytest.raises(SettingError, match="is a cascade of two networks; make int8 packages"):
        export_int8(Model.load(done.package), tars, tmp_path / "int8", manifest=manifest)
    assert fields["cascade"]["fast"]["sha256"] == fast.package.sha256
    assert fields["derived"][-1]["sha256"] == accurate.package.sha256
    assert set(fields["metrics"]) == {"test split", "light", "black"}
    text = (done.package / "README.md").read_text()
    assert "p32, version 1" in text
    assert "p64, version 1" in text
    assert f"below {done.below:.4f} go to p64" in text
    model, found = Model.load(done.package), gather(tars, None, manifest)
    seen = score(model, found, of_split(found, "validation"))
    classes = model.package.classes
    f1 = macro_f1(seen.truth(classes), seen.probabilities.argmax(axis=1), len(classes))
    assert done.validation["cascade"] == pytest.approx(f1)


def test_one_that_does_not_pay_says_so(pair, tars, tmp_path):
    fast, accurate, manifest = pair
    done = cascade(fast, fast, tars, tmp_path / "itself", manifest=manifest)
    assert not done.pays
    said = "This cascade does not pay: p32 alone is as good on the validation images, and faster"
    assert said in (done.package / "README.md").read_text()
    folder, data = str(fast.package.folder), [x for tar in tars for x in ("--data", str(tar))]
    words = ["export", "cascade", "--fast", folder, "--accurate", folder, *data]
    found = CliRunner().invoke(
        cli.pi10, [*words, "--manifest", str(manifest), "--out", str(tmp_path / "again")]
    )
    assert found.exit_code == 0, found.output
    assert said in found.output
    assert "trained by another split" not in found.output
    other = tmp_path / "manifest.csv"  # the same split in other bytes
    lines = manifest.read_text().splitlines(keepends=True)
    other.write_text("".join([lines[0], *reversed(lines[1:])]))
    found = CliRunner().invoke(
        cli.pi10, [*words, "--manifest", str(other), "--out", str(tmp_path / "other")]
    )
    assert found.output.count("note: p32 was trained by another split") == 2
    other = cascade(fast, accurate, tars, tmp_path / "both", manifest=manifest)
    assert other.pays is (said not in (other.package / "README.md").read_text())


def test_without_test_images_the_package_before_stays(pair, tars, tmp_path):
    fast, accurate, manifest = pair
    kept = cascade(fast, accurate, tars, tmp_path / "kept", manifest=manifest).package
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    lines = manifest.read_text().splitlines(keepends=True)
    bare = tmp_path / "manifest.csv"
    bare.write_text("".join(line for line in lines if ",test," not in line))
    with pytest.raises(SettingError, match="no image is in split 'test'"):
        cascade(fast, accurate, tars, kept, manifest=bare, share=0.5)
    assert before == {path.name: path.read_bytes() for path in kept.iterdir()}


def test_what_does_not_go_together_is_refused(pair, tars, tmp_path):
    fast, accurate, manifest = pair
    with pytest.raises(SettingError, match="must be the accurate one's, or smaller"):
        cascade(accurate, fast, tars, tmp_path / "a", manifest=manifest)
    spec = replace(fast.package.preprocessing, trim=0.0)
    untrimmed = copy(fast)
    untrimmed.package = replace(fast.package, preprocessing=spec)
    with pytest.raises(
        SettingError, match=r"trim 0\.0, p64 .* trim 0\.2; a cascade needs the same"
    ):
        cascade(untrimmed, accurate, tars, tmp_path / "c", manifest=manifest)
    with pytest.raises(SettingError, match=r"share is 1\.5"):
        cascade(fast, accurate, tars, tmp_path / "b", manifest=manifest, share=1.5)
    assert not list(tmp_path.iterdir())
