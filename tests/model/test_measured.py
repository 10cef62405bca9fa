"""Measured numbers beside the image: the same in serving as in judging and adapting."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import support
from onnx import TensorProto, helper, numpy_helper

from pi10_classifier.classify import classify
from pi10_classifier.datasets.scan import scan
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.scoring import batches
from pi10_classifier.imaging.measured_vector import NAMES, measured_vector
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.results.run_folder import PREDICTIONS

MISSING = -1.0
INPUT = {"input": "numbers", "names": list(NAMES)}


def telling() -> onnx.ModelProto:
    """A graph whose scores are the measured numbers themselves, MISSING for a missing one."""
    count = len(NAMES)
    nodes = [
        helper.make_node("IsNaN", ["numbers"], ["gaps"]),
        helper.make_node("Where", ["gaps", "missing", "numbers"], ["told"]),
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "column"], ["nothings"]),
        helper.make_node("Add", ["told", "nothings"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "telling",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, 16, 16]),
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["N", count]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", count])],
        [
            numpy_helper.from_array(np.float32(MISSING), "missing"),
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(np.array([-1, 1]), "column"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def package(folder: Path, **fields: Any) -> Path:
    said = {
        "format": 4,
        "classes": list(NAMES),
        "preprocessing": {"size": 16, "channels": 1, "level": True, "mean": [], "std": []},
        "output": {"name": "logits", "activation": "none"},
        "measured": INPUT,
    }
    return support.write_package(folder, telling(), **{**said, **fields})


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Particles of several sizes, one so large that it is measured alone, and one blank image."""
    many = {f"{n:02}.tif": support.particle(n, side=30 + 12 * n) for n in range(20)}
    many["large.tif"] = support.particle(5, side=900)
    many["speck.tif"] = support.particle(3, side=4)
    return support.write_folder(tmp_path_factory.mktemp("crops") / "a", many)


@pytest.mark.parametrize("scale", [10.0, 7.3])
@pytest.mark.parametrize("measuring", [True, False])
def test_serving_builds_the_vector_of_judging(
    crops: Path, tmp_path: Path, scale: float, measuring: bool
) -> None:
    folder = package(tmp_path / "telling")
    settings = Settings(model=folder, jobs=1, um_per_px=scale, measure=measuring)
    classify([str(crops)], tmp_path / "run", settings)
    table = pq.read_table(tmp_path / "run" / PREDICTIONS)
    rows = {row["member"]: row for row in table.to_pylist()}
    found = scan([crops.parent])
    seen = list(batches(Model.load(folder), found, found.samples))
    numbers = np.concatenate([x.measured for x in seen if x.measured is not None])
    names = [sample.member for x in seen for sample in x.samples]
    assert len(names) == len(rows) == 22
    assert np.isfinite(numbers).all(axis=1).sum() >= 20
    for name, wanted in zip(names, numbers, strict=True):
        row = rows[Path(name).name]
        served = np.float32([row[f"score_{x}"] for x in NAMES])
        wanted = np.where(np.isnan(wanted), np.float32(MISSING), wanted)
        if scale == 10.0:
            assert served.tobytes() == wanted.tobytes(), name
        assert served == pytest.approx(wanted, rel=1e-5), name
        assert (row["esd_um"] is None) or measuring


def test_missing_numbers_reach_the_graph_as_such(tmp_path: Path) -> None:
    model = Model.load(package(tmp_path / "telling"))
    image = np.zeros((2, 1, 16, 16), np.uint8)
    assert (model.scores(image) == MISSING).all()
    some = np.float32([[np.nan, *range(1, 7)]] * 2)
    assert model.scores(image, some)[0].tolist() == [MISSING, 1, 2, 3, 4, 5, 6]
    with pytest.raises(ModelError, match=r"measured numbers are \(2, 3\)"):
        model.scores(image, some[:, :3])


def test_a_package_may_take_some_of_the_numbers_in_its_own_order(tmp_path: Path) -> None:
    assert len(measured_vector(None, 10.0, ("solidity", "aspect"))) == 2
    assert math.isnan(measured_vector(None, 10.0, ("solidity",))[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 3}, "measured, which needs format 4"),
        ({"measured": {"input": "numbers", "names": ["colour"]}}, "does not measure 'colour'"),
        ({"measured": {"input": "numbers", "names": []}}, "must list different names"),
        ({"measured": {"input": "", "names": ["aspect"]}}, "must name an input"),
        ({"measured": {"input": "image", "names": ["aspect"]}}, "names the input of the image"),
        ({"measured": [1]}, "is no object"),
    ],
)
def test_descriptions_that_are_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        read_package(package(tmp_path / "m", **fields))


@pytest.mark.parametrize("fields", [{"names": ["aspect"]}, {"input": "other"}])
def test_a_graph_that_takes_other_numbers_is_refused(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match=r"correct model\.json"):
        Model.load(package(tmp_path / "m", measured=INPUT | fields))


def test_a_graph_that_fails_on_missing_numbers_is_refused(tmp_path: Path) -> None:
    model = telling()
    model.graph.node[1].input[1] = "numbers"  # NaN stays NaN
    folder = package(tmp_path / "m")
    support.write_package(
        folder, model, format=4, classes=list(NAMES), measured=INPUT,
        preprocessing={"size": 16, "channels": 1, "level": True, "mean": [], "std": []},
        output={"name": "logits", "activation": "none"},
    )  # fmt: skip
    with pytest.raises(ModelError, match="scores that are not finite"):
        Model.load(folder)


def test_a_teacher_cannot_take_measured_numbers(tmp_path):
    """Training measures nothing, so the teacher would see every number missing."""
    pytest.importorskip("torch", reason="the extra [train] is not installed")
    from pi10_classifier.training.plan import teacher_of

    plan = SimpleNamespace(teachers=(str(package(tmp_path / "m")),))
    with pytest.raises(SettingError, match="adapt it with --features network"):
        teacher_of(None, plan, print)
