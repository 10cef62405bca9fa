"""What is made of a package with groups: they are kept where the graph is, else left out."""

import marks
import numpy as np
import pytest
import support

from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation.adapt import adapt
from pi10_classifier.packaging.adaptation.features import cut
from pi10_classifier.packaging.calibrate import calibrate
from pi10_classifier.packaging.cascade import cascade
from pi10_classifier.packaging.int8 import export_int8
from pi10_classifier.packaging.novelty import export_novelty
from pi10_classifier.training.data.loading import read_examples


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return marks.tree(
        tmp_path_factory.mktemp("data") / "marks", dict.fromkeys(support.CLASSES, 80), doubt=0.8
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The known weights of ``marks``; both groups of detritus have nearly those of the class."""
    w = marks.weights()[:, [0, 1, 1, 2]]
    w = w + np.random.default_rng(3).normal(0, 1e-3, w.shape).astype(np.float32)
    return Model.load(support.grouped_package(tmp_path_factory.mktemp("m") / "grouped", w))


@pytest.fixture(scope="module")
def batch():
    shape = (9, 1, support.SIZE, support.SIZE)
    return np.random.default_rng(2).integers(0, 256, shape, np.uint8)


def test_the_features_are_what_the_groups_are_computed_from(model):
    trunk = cut(model.package, read_package(model.package.folder)[1])
    assert (trunk.name, trunk.size) == ("features", 16)


def test_calibration_keeps_the_groups(model, data, batch, tmp_path):
    done = calibrate(model, [data], tmp_path / "out")
    again = Model.load(done.package)
    assert again.package.groups == model.package.groups
    assert again.package.temperature != model.package.temperature
    np.testing.assert_array_equal(again.answer(batch).groups, model.answer(batch).groups)


def test_novelty_stands_beside_the_groups(model, data, batch, tmp_path):
    done = export_novelty(model, [data], tmp_path / "out")
    scores, novelty, groups, _ = Model.load(done.package).answer(batch)
    assert novelty is not None
    assert novelty.shape == (9,)
    np.testing.assert_array_equal(groups, model.answer(batch).groups)
    np.testing.assert_allclose(scores, model.scores(batch), atol=1e-6)


def test_int8_groups_still_sum_to_the_classes(model, data, batch, tmp_path, monkeypatch):
    # the calibration of a few drawn images is no matter of this test
    monkeypatch.setattr("pi10_classifier.packaging.precision_gate.CALIBRATION_ALLOWED", 1.0)
    done = export_int8(model, [data], tmp_path / "out", allowed=0.05)
    small = Model.load(done.package, "cpu:int8")
    scores, _, groups, _ = small.answer(batch)
    assert small.package.groups == model.package.groups
    logits = small.package.groups.rolled_up(groups)
    np.testing.assert_allclose(np.argsort(scores), np.argsort(logits))
    np.testing.assert_allclose(groups, model.answer(batch).groups, atol=0.2)


def test_a_new_head_has_no_groups(model, data, tmp_path):
    done = adapt(model, data, tmp_path / "out", anyway=True)
    adapted = Model.load(done.package)
    assert "groups" not in adapted.package.description
    assert adapted.package.groups is None


def test_a_cascade_has_no_groups(model, data, batch, tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(read_examples([data]).manifest, "utf-8")
    done = cascade(model, model, [data], tmp_path / "out", manifest=manifest, share=0.3)
    both = Model.load(done.package)
    assert both.package.groups is None
    # the same network twice, so whoever answers, the answer is the same
    np.testing.assert_allclose(both.scores(batch), model.scores(batch), atol=1e-5)
