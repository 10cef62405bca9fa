"""The field ``graphs`` of ``model.json``: what is read of it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pi10_classifier.errors import ModelError
from pi10_classifier.model.graphs import choice
from pi10_classifier.model.graphs.entries import graphs_of
from pi10_classifier.model.package import read_package

ENTRY = {"file": "model.int8.onnx", "weight_bits": 7, "gate": {"accepted": True}}


def described(**changes: Any) -> dict[str, Any]:
    entry = {**ENTRY, **changes}
    return {"files": {str(entry["file"]): {"sha256": "ab"}}, "graphs": {"int8": entry}}


def test_packages_without_the_field_have_none() -> None:
    assert graphs_of({"files": {}}) == {}


def test_an_entry_is_read() -> None:
    graph = graphs_of(described())["int8"]
    assert (graph.file, graph.sha256, graph.weight_bits) == ("model.int8.onnx", "ab", 7)
    assert graph.accepted
    assert not graph.novelty
    assert not graphs_of(described(gate={"accepted": "yes"}))["int8"].accepted


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"graphs": ["int8"]}, "no object"),
        ({"graphs": {"int8": None}}, "int8 is 'None', no object"),
        ({**described(), "files": {}}, "model.int8.onnx of int8 is missing in files"),
    ],
)
def test_a_wrong_kind_is_refused_in_words(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        graphs_of(fields)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": "../model.onnx"}, "no name of an .onnx file"),
        ({"file": "model.onnx"}, "no name of an .onnx file"),
        ({"file": "weights.bin"}, "no name of an .onnx file"),
        ({"weight_bits": 4}, "weight_bits is 4"),
        ({"weight_bits": True}, "weight_bits is True"),
    ],
)
def test_a_wrong_entry_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        graphs_of(described(**changes))


def test_an_unknown_precision_is_refused_in_words(package: Path) -> None:
    path = package / "model.json"
    whole = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**whole, "graphs": {"int4": ENTRY}}), "utf-8")
    try:
        with pytest.raises(ModelError, match="'int4' is unknown; only int8 is read"):
            read_package(package)
        assert choice.chosen_device("auto", package) == "cpu"  # loading it says what is wrong
    finally:
        path.write_text(json.dumps(whole), "utf-8")


def test_instructions_are_those_of_this_processor() -> None:
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8").split()
    except OSError:
        pytest.skip("no /proc/cpuinfo here")
    known = {"avx512_vnni", "avx_vnni", "asimddp"}
    assert choice.has_int8_products() == bool(known.intersection(flags))
