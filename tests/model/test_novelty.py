"""What a package says of novelty: read, and refused where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support
from onnx import TensorProto, helper

from pi10_classifier.errors import ModelError
from pi10_classifier.model.novelty import Novelty, section
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model

TOLD = {"output": "novelty", "threshold": 1.5, "false_alarms": 0.02}


def test_a_package_without_it_answers_with_scores_alone(model: Model) -> None:
    batch = np.zeros((3, 1, support.SIZE, support.SIZE), np.uint8)
    assert model.package.novelty is None
    assert model.answer(batch).novelty is None
    np.testing.assert_array_equal(model.answer(batch).scores, model.scores(batch))


def test_a_package_with_it_gives_a_number_for_each_image(model: Model, tmp_path: Path) -> None:
    told = Model.load(support.novelty_package(tmp_path, 1.5))
    assert told.package.novelty == Novelty("novelty", 1.5, 0.02)
    size = support.SIZE
    batch = np.random.default_rng(1).integers(0, 256, (5, 1, size, size), np.uint8)
    scores, novelty, groups, _ = told.answer(batch)
    assert groups is None
    np.testing.assert_array_equal(scores, model.scores(batch))
    assert novelty is not None
    assert novelty.shape == (5,)
    assert novelty.dtype == np.float32
    alone = np.concatenate([told.answer(batch[n : n + 1]).novelty for n in range(5)])
    np.testing.assert_allclose(novelty, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threshold": float("nan")}, "threshold is nan; it must be a finite number"),
        ({"threshold": float("-inf")}, "threshold is -inf"),
        ({"threshold": "1"}, "threshold is 1; it must be a finite number"),
        ({"threshold": True}, "threshold is True"),
        ({"threshold": None}, "threshold is None"),
        ({"output": ""}, "it must name an output"),
        ({"output": 3}, "it must name an output"),
        ({"false_alarms": 0}, "above 0 and below 1"),
        ({"false_alarms": 1.0}, "above 0 and below 1"),
    ],
)
def test_wrong_fields_are_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = support.novelty_package(tmp_path, novelty={**TOLD, **change})
    with pytest.raises(ModelError, match=words):
        read_package(folder)


@pytest.mark.parametrize("given", [[], "novelty", 1])
def test_what_is_no_object_is_refused(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no object"):
        read_package(support.novelty_package(tmp_path, novelty=given))


@pytest.mark.parametrize("name", list(TOLD))
def test_a_missing_field_is_refused(name: str, tmp_path: Path) -> None:
    rest = {key: value for key, value in TOLD.items() if key != name}
    with pytest.raises(ModelError, match=name):
        read_package(support.novelty_package(tmp_path, novelty=rest))


def test_an_output_that_the_graph_lacks_is_refused(tmp_path: Path) -> None:
    folder = support.write_package(tmp_path, novelty=TOLD)
    with pytest.raises(ModelError, match=r"model\.json names 'image' and 'logits', 'novelty'"):
        Model.load(folder)


@pytest.mark.parametrize("kind", ["features", "logits"])
def test_an_output_of_another_shape_is_refused(kind: str, tmp_path: Path) -> None:
    graph = support.tiny_model()
    graph.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, None))
    folder = support.write_package(tmp_path, graph, novelty={**TOLD, "output": kind})
    with pytest.raises(ModelError, match="it must be one number for each"):
        Model.load(folder)


def test_an_output_that_is_no_number_is_refused(tmp_path: Path) -> None:
    graph = support.tiny_model()
    graph.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["features"], ["most"], axes=[1], keepdims=0),
            helper.make_node("Log", ["most"], ["novelty"]),  # of a black image -inf
        ]
    )
    graph.graph.output.append(helper.make_tensor_value_info("novelty", TensorProto.FLOAT, None))
    with pytest.raises(ModelError, match="novelty that is not finite"):
        Model.load(support.write_package(tmp_path, graph, novelty=TOLD))


def test_the_card_says_nothing_of_a_package_without_it(package: Path) -> None:
    assert section(json.loads((package / "model.json").read_text("utf-8"))) == ""
