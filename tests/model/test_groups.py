"""What a package says of groups: read, rolled up to the classes, and refused where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support

from pi10_classifier.errors import ModelError
from pi10_classifier.evaluation.metrics import softmax
from pi10_classifier.model.groups import Groups, section
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model

TOLD = {"names": list(support.GROUPS), "of": dict(support.GROUPS), "output": "groups"}


@pytest.fixture
def batch() -> np.ndarray:
    shape = (7, 1, support.SIZE, support.SIZE)
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def test_a_package_without_groups_gives_none(model: Model, batch: np.ndarray) -> None:
    answer = model.answer(batch)
    assert model.package.groups is None
    assert answer.groups is None
    assert list(model.finer_labels(answer)) == list(model.labels(answer.scores))


def test_the_probability_of_a_class_is_the_sum_of_its_groups(
    tmp_path: Path, batch: np.ndarray
) -> None:
    model = Model.load(support.grouped_package(tmp_path))
    scores, novelty, groups, _ = model.answer(batch)
    assert novelty is None
    assert groups is not None
    assert groups.shape == (7, 4)
    shares = softmax(groups)
    for place, label in enumerate(support.CLASSES):
        own = [n for n, name in enumerate(support.GROUPS) if support.GROUPS[name] == label]
        np.testing.assert_allclose(scores[:, place], shares[:, own].sum(axis=1), atol=1e-5)


def test_the_group_is_the_most_probable_within_the_class(tmp_path: Path) -> None:
    groups = Groups(tuple(support.GROUPS), support.CLASSES, support.GROUPS)
    # the copepod is the most probable group, but the two groups of detritus together beat it
    logits = np.array([[1.0, 0.8, 0.9, 0.0], [3.0, 0.0, 0.0, 0.0]], np.float32)
    scores = softmax(groups.rolled_up(logits))
    assert groups.most_probable(logits, scores.astype(np.float32)) == ["speck", "calanoid"]


def test_rolling_up_stands_large_logits() -> None:
    groups = Groups(tuple(support.GROUPS), support.CLASSES, support.GROUPS)
    logits = np.array([[1000.0, 500.0, 500.0, -1000.0]], np.float32)
    wanted = [[1000.0, 500.0 + np.log(2), -1000.0]]
    np.testing.assert_allclose(groups.rolled_up(logits), wanted, rtol=1e-6)


def test_the_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    package = read_package(support.grouped_package(tmp_path))[0]
    assert package.groups is not None
    assert package.groups.to_dict() == TOLD
    assert Groups.from_dict(None, support.CLASSES) is None


def without(name: str) -> dict[str, str]:
    return {group: label for group, label in support.GROUPS.items() if group != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"of": without("speck")}, "groups: speck has no class; add it to the table"),
        ({"of": {**support.GROUPS, "krill": "noncopepod"}}, "to krill, which is not among the"),
        ({"of": {**support.GROUPS, "fish": "whale"}}, "'fish' belongs to 'whale', which is not a"),
        ({"of": {**support.GROUPS, "fish": "detritus"}}, "class noncopepod has no group"),
        ({"of": ["copepod"]}, "it must give each group its class"),
        ({"of": {**support.GROUPS, "fish": 3}}, "it must give each group its class"),
        ({"names": [*support.GROUPS, "fish"]}, "groups: fish is named twice"),
        ({"names": "fish"}, "it must be a list of names"),
        ({"names": [*support.GROUPS, ""]}, "it must be a list of names"),
        ({"output": ""}, "it must name an output"),
        ({"output": "logits"}, "name the output 'logits'; each needs its own"),
    ],
)
def test_a_wrong_table_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = support.grouped_package(tmp_path, groups={**TOLD, **change})
    with pytest.raises(ModelError, match=words):
        read_package(folder)


@pytest.mark.parametrize("told", [[], "groups", 1, True])
def test_groups_that_are_no_object_are_refused(told: Any, tmp_path: Path) -> None:
    folder = support.grouped_package(tmp_path, groups=told)
    with pytest.raises(ModelError, match="is no object"):
        read_package(folder)


def test_groups_need_logits(tmp_path: Path) -> None:
    output = {"name": "logits", "activation": "none"}
    folder = support.grouped_package(tmp_path, output=output)
    with pytest.raises(ModelError, match="groups need class logits"):
        read_package(folder)


def test_a_graph_with_fewer_groups_is_refused(tmp_path: Path) -> None:
    told = {"names": [*support.GROUPS, "krill"], "of": {**support.GROUPS, "krill": "noncopepod"}}
    folder = support.grouped_package(tmp_path, groups={**TOLD, **told})
    with pytest.raises(ModelError, match=r"groups of shape \(2, 4\) .* names 5 groups"):
        Model.load(folder)


def test_a_graph_without_that_output_is_refused(tmp_path: Path) -> None:
    folder = support.grouped_package(tmp_path, groups={**TOLD, "output": "finer"})
    with pytest.raises(ModelError, match="'logits', 'finer'"):
        Model.load(folder)


def test_a_table_that_does_not_sum_to_the_graphs_classes_is_refused(tmp_path: Path) -> None:
    of = {"calanoid": "copepod", "fibre": "noncopepod", "speck": "detritus", "fish": "noncopepod"}
    bias = np.array([0.0, 1.0, 2.0, 3.0])
    graph = support.grouped_graph()
    for weights in graph.graph.initializer:
        if weights.name == "b":
            weights.CopyFrom(support.numpy_helper.from_array(bias.astype(np.float32), "b"))
    folder = support.write_package(tmp_path, graph, groups={**TOLD, "of": of})
    with pytest.raises(ModelError, match="do not sum to the classes that the graph gives"):
        Model.load(folder)


def test_the_card_tells_the_groups_class_by_class(tmp_path: Path) -> None:
    fields = json.loads((support.grouped_package(tmp_path) / "model.json").read_text("utf-8"))
    assert section({}) == ""
    text = section({**fields, "training": {"groups": {"fibre": 1234}}})
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows == [
        "| copepod | calanoid |  |",
        "| detritus | fibre | 1,234 |",
        "| detritus | speck |  |",
        "| noncopepod | fish |  |",
    ]


@pytest.mark.parametrize(("number", "words"), [(2, "ground_clip, which needs format 3"), (3, "")])
def test_a_ground_clip_needs_format_3(number: int, words: str, tmp_path: Path) -> None:
    spec = {"size": support.SIZE, "channels": 1, "level": True, "ground_clip": 8}
    folder = support.write_package(tmp_path, format=number, preprocessing=spec)
    if words:
        with pytest.raises(ModelError, match=words):
            read_package(folder)
    else:
        assert read_package(folder)[0].preprocessing.ground_clip == 8
