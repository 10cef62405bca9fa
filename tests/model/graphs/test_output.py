"""A tensor inside a graph becomes an output, by the bytes of the file alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import support

from pi10_classifier.errors import ModelError
from pi10_classifier.model.graphs.output import with_output
from pi10_classifier.model.package import embedded, read_package
from pi10_classifier.model.session import Model


def test_the_graph_is_sound_and_has_one_more_output() -> None:
    graph = support.tiny_model().SerializeToString()
    changed = onnx.load_from_string(with_output(graph, "features"))
    assert [output.name for output in changed.graph.output] == ["logits", "features"]
    assert changed.graph.node == onnx.load_from_string(graph).graph.node


def test_an_output_that_is_there_is_not_added_again() -> None:
    graph = support.tiny_model().SerializeToString()
    assert with_output(graph, "logits") == graph
    once = with_output(graph, "features")
    assert with_output(once, "features") == once


@pytest.mark.parametrize("graph", [b"\xff\xff", b"", b"\x3a\x7f"])
def test_bytes_that_are_no_graph_are_refused(graph: bytes) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx"):
        with_output(graph, "features")


def test_scores_stay_and_features_come_beside(package: Path) -> None:
    batch = np.random.default_rng(0).integers(0, 256, (5, 1, 32, 32), np.uint8)
    plain, told = Model.load(package), Model.load(package, features="features")
    assert (plain.feature_size, told.feature_size) == (0, 16)
    answer = told.answer(batch)
    np.testing.assert_array_equal(answer.scores, plain.answer(batch).scores)
    patches = batch.reshape(5, 4, 8, 4, 8).mean(axis=(2, 4)).reshape(5, 16)
    assert answer.features is not None
    np.testing.assert_allclose(answer.features, patches, rtol=1e-5)


def test_a_tensor_that_holds_no_features_is_refused(package: Path) -> None:
    with pytest.raises(ModelError, match=r"'patches' is float32 \(2, 1, 4, 4\)"):
        Model.load(package, features="patches")
    with pytest.raises(ModelError, match="refuses"):
        Model.load(package, features="nowhere")


def test_the_embedded_packages_name_their_features() -> None:
    for name in ("starter", "fast"):
        package, graph = read_package(embedded(name))
        named = package.description["novelty"]["features"]
        assert Model(package, graph, features=named["name"]).feature_size == named["size"]
