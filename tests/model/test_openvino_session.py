"""Packages on OpenVINO: the same scores in fp32, near ones in bf16, and refusals in words."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support
from onnx import helper

from pi10_classifier.errors import ModelError
from pi10_classifier.model.openvino_session import import_openvino, lacking_bf16
from pi10_classifier.model.package import embedded
from pi10_classifier.model.session import Model

if find_spec("openvino") is None:
    pytest.skip("needs the extra [openvino]", allow_module_level=True)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (40, 1, 80, 80), np.uint8)


@pytest.fixture(scope="module")
def reference() -> Model:
    return Model.load(embedded("fast"))


@pytest.fixture(scope="module")
def exact() -> Model:
    return Model.load(embedded("fast"), "openvino")


class TestPrecision:
    def test_fp32_gives_the_scores_of_onnx_runtime(
        self, reference: Model, exact: Model, images: np.ndarray
    ) -> None:
        ours, theirs = reference.answer(images), exact.answer(images)
        np.testing.assert_allclose(theirs.scores, ours.scores, atol=2e-5)
        np.testing.assert_allclose(theirs.novelty, ours.novelty, atol=2e-4)
        told = exact.runs_on
        assert (told["library"], told["precision"]) == ("OpenVINO", "fp32")
        assert told["version"].count(".") == 2

    def test_bf16_is_computed_where_it_is_asked_for(
        self, reference: Model, images: np.ndarray
    ) -> None:
        if lacking_bf16(import_openvino().Core()):
            pytest.skip("this CPU has no instructions for bf16")
        rough = Model.load(embedded("fast"), "openvino:bf16")
        gap = np.abs(rough.scores(images) - reference.scores(images)).max()
        assert 1e-4 < gap < 0.2
        assert rough.runs_on["precision"] == "bf16"

    def test_bf16_without_its_instructions_is_refused(self, package: Path) -> None:
        script = (
            "import sys\nfrom pathlib import Path\n"
            "from pi10_classifier.model.session import Model\n"
            "Model.load(Path(sys.argv[1]), 'openvino:bf16')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(package)],
            env={**os.environ, "OV_CPU_MAX_ISA": "AVX2"}, capture_output=True, text=True,
        )  # fmt: skip
        assert "SettingError: device 'openvino:bf16' needs a CPU with instructions" in done.stderr
        assert "use --device openvino or --device cpu" in done.stderr


class TestCallers:
    def test_threads_get_the_scores_of_one(self, exact: Model, images: np.ndarray) -> None:
        parts = [images[start : start + 8] for start in range(0, 40, 8)] * 2
        alone = [exact.scores(part) for part in parts]
        shared: list[Any] = [None] * len(parts)

        def call(places: range) -> None:
            for place in places:
                shared[place] = exact.scores(parts[place])

        callers = [threading.Thread(target=call, args=(range(n, 10, 3),)) for n in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        for one, other in zip(alone, shared, strict=True):
            assert (one == other).all()  # each call runs on one thread: the same bits

    def test_any_number_of_images(self, exact: Model, images: np.ndarray) -> None:
        whole = exact.scores(images)
        for count in (1, 3, 17):
            np.testing.assert_allclose(exact.scores(images[:count]), whole[:count], atol=1e-5)

    def test_float_input(self, tmp_path: Path) -> None:
        given = {
            "input": {"name": "image", "dtype": "float32", "layout": "NCHW"},
            "preprocessing": {
                "size": support.SIZE, "channels": 1, "level": True, "mean": [0.5], "std": [0.2],
            },
        }  # fmt: skip
        folder = support.write_package(tmp_path, support.tiny_model(kind=1), **given)
        batch = np.random.default_rng(0).integers(0, 256, (5, 1, 32, 32), np.uint8)
        expected = Model.load(folder).scores(batch)
        np.testing.assert_allclose(
            Model.load(folder, "openvino").scores(batch), expected, atol=1e-5
        )


def unknown_operator() -> bytes:
    model = support.tiny_model()
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "Plankton", "org.example"
    model.opset_import.append(helper.make_opsetid("org.example", 1))
    whole: bytes = model.SerializeToString()
    return whole


class TestRefusals:
    def test_graph_that_it_cannot_run(self, tmp_path: Path) -> None:
        folder = support.write_package(tmp_path, unknown_operator())
        with pytest.raises(ModelError, match=r"OpenVINO refuses model\.onnx: .*--device cpu") as e:
            Model.load(folder, "openvino")
        assert "\n" not in e.value.message
        assert len(e.value.message) < 600

    @pytest.mark.parametrize(
        ("model", "said"),
        [
            (support.tiny_model(name="picture"), "picture"),
            (support.tiny_model(w=support.weights(4)), "3 classes"),
            (support.tiny_model(size=64), "correct model.json"),
            (support.tiny_model(kind=1), r"tensor\(float\)"),
            (support.tiny_model(shape=(1, 1, 32, 32)), "the graph fails"),
            (support.tiny_model(bias=np.array([0, np.nan, 0])), "not finite"),
        ],
        ids=["name", "classes", "size", "dtype", "batch of one only", "nan"],
    )
    def test_graph_that_differs_from_its_description(
        self, tmp_path: Path, model: Any, said: str
    ) -> None:
        with pytest.raises(ModelError, match=said):
            Model.load(support.write_package(tmp_path, model), "openvino")
