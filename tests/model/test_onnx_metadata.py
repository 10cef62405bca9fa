"""What a graph tells of itself, as ONNX Runtime reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import support
from hypothesis import given
from hypothesis import strategies as st

from pi10_classifier.model.onnx_guard import refuse_external_data
from pi10_classifier.model.onnx_metadata import with_metadata
from pi10_classifier.model.package import Package, read_package
from pi10_classifier.model.writer import derive, write_package

FIELDS = {"name": "n", "version": "1", "classes": ["a", "b"], "preprocessing": {"size": 32}}


def told(graph: bytes) -> dict[str, str]:
    """As others read it."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    entries: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return entries


@pytest.fixture(scope="module")
def base(package: Path) -> Package:
    return read_package(package)[0]


def test_a_package_that_is_written_tells_of_itself(base: Package, tmp_path: Path) -> None:
    graph = support.tiny_model(support.weights(seed=5)).SerializeToString()
    fields = derive(base, "adapted", name="naïve", version="7", licence="CC-BY-4.0")
    _, written = read_package(write_package(tmp_path / "made", graph, fields, ""))
    assert told(written) == {
        "name": "naïve",
        "version": "7",
        "classes": json.dumps(list(support.CLASSES)),
        "preprocessing": json.dumps(fields["preprocessing"]),
        "model_license": "CC-BY-4.0",
    }
    # scores do not depend on it
    batch = np.random.default_rng(1).integers(0, 256, (5, 1, 32, 32), np.uint8)
    scores = [
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(
            None, {"image": batch}
        )[0]
        for data in (graph, written)
    ]
    np.testing.assert_array_equal(*scores)


def test_a_graph_that_is_kept_keeps_its_hash(base: Package, tmp_path: Path) -> None:
    graph = (base.folder / "model.onnx").read_bytes()
    assert told(graph) == {}
    fields = derive(base, "calibrated", temperature=2.0)
    assert read_package(write_package(tmp_path / "made", graph, fields, ""))[1] == graph


def test_all_else_in_the_graph_is_kept() -> None:
    model = support.tiny_model()
    model.producer_name = "someone"
    onnx.helper.set_model_props(model, {"author": "me", "name": "old", "model_license": "old"})
    graph = with_metadata(model.SerializeToString(), FIELDS)
    refuse_external_data(graph)
    found = onnx.load_from_string(graph)
    props = {entry.key: entry.value for entry in found.metadata_props}
    assert props == {
        "author": "me", "name": "n", "version": "1", "classes": '["a", "b"]',
        "preprocessing": '{"size": 32}',
    }  # fmt: skip
    del found.metadata_props[:]
    del model.metadata_props[:]
    assert found == model
    assert with_metadata(graph, FIELDS) == graph
    licensed = with_metadata(graph, {**FIELDS, "licence": "MIT"})
    assert told(licensed)["model_license"] == "MIT"
    assert with_metadata(licensed, FIELDS) == graph


@given(st.text(st.characters(codec="utf-8"), max_size=400))
def test_any_text_can_be_told(text: str) -> None:
    graph = with_metadata(b"", {**FIELDS, "name": text})
    props = {entry.key: entry.value for entry in onnx.load_from_string(graph).metadata_props}
    assert props["name"] == text
