"""The gate of a precision: what is equal passes, what is worse or too few is refused."""

from __future__ import annotations

from pathlib import Path

import marks
import numpy as np
import pytest
import support
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.precision_gate import PrecisionRefusedError, judge_precision


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
    assert (gate.changed, gate.largest, gate.ece_after) == (0, 0, gate.ece_before)
    assert gate.scores.before > 0.9  # else nothing could be lost
    assert "tiny on ONNX Runtime in fp32" in str(gate)


def test_figures_of_a_worse_one(sound: Path, worse: Path, data: Path) -> None:
    one, other = Model.load(sound), Model.load(worse)
    gate = judge_precision(one, other, [data])
    assert not gate.accepted
    assert gate.scores.low > 0.1
    assert gate.changed == pytest.approx(1 - gate.scores.agree)
    assert 0.01 < gate.largest <= 1
    assert gate.ece_after != gate.ece_before
    assert gate.to_dict()["accepted"] is False
    assert "a drop of" in PrecisionRefusedError(gate).message


def test_the_interval_decides_and_not_the_drop_alone(sound: Path, worse: Path, data: Path) -> None:
    one, other = Model.load(sound), Model.load(worse)
    scores = judge_precision(one, other, [data]).scores
    between = (scores.drop + scores.high) / 2
    gate = judge_precision(one, other, [data], allowed=between)
    assert gate.scores.drop <= gate.allowed
    assert not gate.accepted
    assert "more images would narrow the interval" in PrecisionRefusedError(gate).message
    assert judge_precision(one, other, [data], allowed=min(scores.high + 1e-9, 1)).accepted


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


def test_the_command_fails_after_it_has_written_the_figures(
    sound: Path, worse: Path, data: Path, tmp_path: Path
) -> None:
    words = ["evaluate", "--model", str(worse), "--data", str(data), "--out", str(tmp_path / "e")]
    done = CliRunner().invoke(pi10, [*words, "--against", str(sound)])
    assert isinstance(done.exception, ModelError)
    assert "refused: macro-F1" in done.exception.message
    text = (tmp_path / "e/evaluation.json").read_text("utf-8")
    assert '"accepted": false' in text
    assert '"library": "ONNX Runtime"' in text
    done = CliRunner().invoke(pi10, [*words, "--against", str(worse)])
    assert done.exit_code == 0
    assert "accepted: macro-F1" in done.output


def test_an_absent_class_is_told(sound: Path, tmp_path: Path) -> None:
    two = marks.tree(tmp_path / "two", {"copepod": 20, "detritus": 20})
    gate = judge_precision(Model.load(sound), Model.load(sound), [two])
    assert "there was no image of noncopepod" in str(gate)
    assert np.isfinite(gate.scores.high)
