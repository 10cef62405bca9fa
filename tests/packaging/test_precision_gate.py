"""The gate of a precision: what is equal passes, what is worse or too few is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import marks
import numpy as np
import pytest
import support
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.scoring import Look, score_looks
from pi10_classifier.imaging.preprocess import U8, Preprocessing, prepare
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.accuracy_gate import AccuracyGate
from pi10_classifier.packaging.precision_gate import (
    DROP,
    FEW,
    TURNS,
    PrecisionGate,
    PrecisionRefusedError,
    View,
    judge_precision,
)
from pi10_classifier.training.data.held_out_looks import LOOKS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"copepod": 40, "detritus": 40, "noncopepod": 40}
    return marks.tree(tmp_path_factory.mktemp("d") / "marks", counts, doubt=0.5)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return marks.package(tmp_path_factory.mktemp("m") / "sound")


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sound package, which calls every third class by another name."""
    weights = marks.weights()
    weights[:, 2] = weights[:, 0] - 0.001
    graph = support.tiny_model(weights)
    return support.write_package(tmp_path_factory.mktemp("m") / "worse", graph, name="worse")


def test_the_same_graph_loses_nothing(sound: Path, data: Path) -> None:
    gate = judge_precision(Model.load(sound), Model.load(sound), [data])
    assert gate.accepted
    assert (gate.scores.drop, gate.scores.low, gate.scores.high) == (0, 0, 0)
    (view,) = gate.views
    assert (view.changed, view.largest, view.ece_after) == (0, 0, view.ece_before)
    assert gate.scores.before > 0.9  # else nothing could be lost
    assert "tiny on ONNX Runtime in fp32" in str(gate)


def test_figures_of_a_worse_one(sound: Path, worse: Path, data: Path) -> None:
    one, other = Model.load(sound), Model.load(worse)
    gate = judge_precision(one, other, [data])
    assert not gate.accepted
    assert gate.scores.low > 0.1
    (view,) = gate.views
    assert view.changed == pytest.approx(1 - gate.scores.agree)
    assert 0.01 < view.largest <= 1
    assert view.ece_after != view.ece_before
    assert gate.to_dict()["accepted"] is False
    assert "a drop of" in PrecisionRefusedError(gate).message


def test_the_interval_decides_and_not_the_drop_alone(sound: Path, worse: Path, data: Path) -> None:
    one, other = Model.load(sound), Model.load(worse)
    scores = judge_precision(one, other, [data]).scores
    between = (scores.drop + scores.high) / 2
    gate = judge_precision(one, other, [data], allowed=between)
    assert gate.scores.drop <= gate.allowed
    assert not gate.accepted
    assert "more images or --draws would narrow the interval" in PrecisionRefusedError(gate).message
    wide = judge_precision(one, other, [data], allowed=min(scores.high + 1e-9, 1))
    assert wide.views[0].refused_for(wide.allowed) != DROP


def test_other_classes_and_too_few_images_are_refused(
    sound: Path, data: Path, tmp_path: Path
) -> None:
    names = ("a", "b", "c")
    renamed = support.write_package(tmp_path / "other", classes=list(names))
    with pytest.raises(SettingError, match="compare packages with the same classes"):
        judge_precision(Model.load(sound), Model.load(renamed), [data])
    few = marks.tree(tmp_path / "few", {"copepod": 5, "detritus": 5})
    with pytest.raises(SettingError, match="10 images of the model's classes are too few"):
        judge_precision(Model.load(sound), Model.load(sound), [few])
    with pytest.raises(SettingError, match="--allow is 300"):
        judge_precision(Model.load(sound), Model.load(sound), [data], allowed=3.0)


def test_no_change_among_few_images_proves_nothing() -> None:
    def of(images: int, largest: float) -> str:
        scores = AccuracyGate(images, 0.9, 0.9, 0.0, 0.0, 0.0, agree=1.0)
        return View("as they are", scores, 0.0, largest, 0.01, 0.01).refused_for(0.003)

    assert (of(60, 0.1), of(999, 0.1)) == (FEW, FEW)
    assert of(1000, 0.1) == ""
    assert of(60, 0.0) == ""  # the same answers


def test_images_are_judged_in_quarter_turns(sound: Path, worse: Path, data: Path) -> None:
    one, other = Model.load(sound), Model.load(worse)
    (view,) = judge_precision(one, other, [data], turns=TURNS).views
    scan = load_labelled([data])
    pixels = [rgb for _, rgb in read_rgb(scan, scan.samples)]
    spec = one.package.preprocessing
    agree = [
        one.scores(turned).argmax(axis=1) == other.scores(turned).argmax(axis=1)
        for turned in (
            np.stack([prepare(np.ascontiguousarray(np.rot90(rgb, n)), spec) for rgb in pixels])
            for n in range(4)
        )
    ]
    assert view.scores.draws == 4
    assert view.scores.agree == pytest.approx(float(np.mean(agree)))
    assert len({float(x.mean()) for x in agree}) > 1  # this network knows directions
    assert "in quarter turns, 120 images, each 4 times" in str(view)


def test_each_look_is_judged(sound: Path, worse: Path, data: Path) -> None:
    def plain(rgb: U8, rng: np.random.Generator, spec: Preprocessing) -> U8:
        return prepare(rgb, spec)

    looks = (Look("look none", plain),)
    gate = judge_precision(Model.load(sound), Model.load(worse), [data], looks=looks, draws=3)
    plainly, look = gate.views
    assert look.scores.draws == 3
    assert (look.scores.before, look.scores.after) == (plainly.scores.before, plainly.scores.after)
    # three drawings of an image tell no more than one: the interval must not be narrower
    assert look.scores.high - look.scores.low == pytest.approx(
        plainly.scores.high - plainly.scores.low, rel=0.2
    )
    assert "each 3 times" in str(gate)
    assert gate.to_dict()["views"]["look none"]["scores"]["draws"] == 3


def test_a_drawing_is_the_same_whatever_the_order(sound: Path, data: Path) -> None:
    model, scan = Model.load(sound), load_labelled([data])
    samples = list(scan.samples)[:12]
    (first,) = score_looks([model], scan, samples, LOOKS, 1)[LOOKS[1].name]
    (second,) = score_looks([model], scan, samples[6:], LOOKS, 1)[LOOKS[1].name]
    np.testing.assert_array_equal(first[6:], second)


def test_calibration_decides_too(sound: Path) -> None:
    model = Model.load(sound)
    scores = AccuracyGate(1000, 0.9, 0.9, 0.0, 0.0, 0.0, 1.0)
    lost = View("as they are", scores, 0.0, 0.1, ece_before=0.01, ece_after=0.02)
    gate = PrecisionGate("a", "b", 0.003, (lost,))
    assert not gate.accepted
    assert (
        "refused, as the calibration gets worse (as they are)"
        in PrecisionRefusedError(gate).message
    )
    kept = replace(lost, ece_after=0.012)
    assert replace(gate, views=(kept,)).accepted
    assert model.runs_on["graph"] == "model.onnx"


def test_the_command_fails_after_it_has_written_the_figures(
    sound: Path, worse: Path, data: Path, tmp_path: Path
) -> None:
    words = ["evaluate", "--model", str(worse), "--data", str(data), "--out", str(tmp_path / "e")]
    words += ["--draws", "1"]
    done = CliRunner().invoke(pi10, [*words, "--against", str(sound)])
    assert isinstance(done.exception, ModelError)
    assert "refused, as macro-F1 may drop too far (as they are" in done.exception.message
    text = (tmp_path / "e/evaluation.json").read_text("utf-8")
    assert '"accepted": false' in text
    assert '"library": "ONNX Runtime"' in text
    done = CliRunner().invoke(pi10, [*words, "--against", str(worse)])
    assert done.exit_code == 0
    assert "accepted: worse on ONNX Runtime in fp32 and worse" in done.output


def test_an_absent_class_is_told(sound: Path, tmp_path: Path) -> None:
    two = marks.tree(tmp_path / "two", {"copepod": 20, "detritus": 20})
    gate = judge_precision(Model.load(sound), Model.load(sound), [two])
    assert "There was no image of noncopepod" in str(gate)
    assert np.isfinite(gate.scores.high)
