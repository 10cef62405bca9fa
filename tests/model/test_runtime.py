"""Runtimes by their names: what each stands for, and refusals where one is not installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support
from onnx import TensorProto, helper, numpy_helper

from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.onnxruntime_session import check_provider
from pi10_classifier.model.package import embedded, read_package
from pi10_classifier.model.runtime import (
    CHUNK_ITEMS,
    DEVICES,
    RUNTIMES,
    has_int8,
    installed_runtimes,
    runtime_of,
)
from pi10_classifier.model.session import Model


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "openvino" else real(name)
    )


class TestNames:
    def test_auto_is_the_runtime_that_needs_no_extra(self) -> None:
        runtime = runtime_of("auto")
        assert (runtime.device, runtime.library, runtime.precision) == (
            "cpu", "ONNX Runtime", "fp32",
        )  # fmt: skip

    def test_each_is_known_and_no_two_compute_alike(self) -> None:
        assert [runtime_of(name).device for name in DEVICES[1:]] == list(RUNTIMES)
        ways = [(r.library, r.precision, r.provider, r.graph) for r in RUNTIMES.values()]
        assert len(set(ways)) == len(ways)

    @pytest.mark.parametrize("name", ["", "abacus", "CPU", "openvino:fp64", "cuda:int8"])
    def test_unknown_is_refused_with_those_that_exist(self, name: str) -> None:
        with pytest.raises(SettingError, match=r"it is unknown; use one of auto, cpu, cpu:int8,"):
            runtime_of(name)

    def test_bf16_of_the_default_runtime_points_to_the_one_that_has_it(self) -> None:
        """ONNX Runtime's CPU provider has it on Arm alone: x86 builds lack even the option."""
        with pytest.raises(SettingError, match=r"no bf16 on x86.*use --device openvino:bf16"):
            runtime_of("cpu:bf16")

    @pytest.mark.parametrize("device", ["cpu:int8", "openvino:int8"])
    def test_int8_is_asked_of_the_package(self, package: Path, device: str) -> None:
        # not imported here: that would start its telemetry
        if device == "openvino:int8" and importlib.util.find_spec("openvino") is None:
            pytest.skip("OpenVINO is not installed")
        with pytest.raises(SettingError, match=r"a graph in int8.*`pi10 export int8`, or use"):
            Model.load(package, device)


@pytest.mark.usefixtures("without_openvino")
class TestNotInstalled:
    @pytest.mark.parametrize("device", ["openvino", "openvino:bf16"])
    def test_extra_is_named(self, package: Path, device: str) -> None:
        with pytest.raises(SettingError, match=r"\[openvino\]\""):
            Model.load(package, device)

    def test_only_what_is_there_is_listed(self) -> None:
        assert "openvino" not in installed_runtimes()
        assert "cpu" in installed_runtimes()


def test_a_library_that_cannot_be_loaded_is_told(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('libopenvino.so: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SettingError, match=r"libopenvino\.so: no such file.*use --device cpu"):
        Model.load(package, "openvino")
    assert "openvino_telemetry" not in sys.modules


def quantised() -> bytes:
    """The tiny graph with its features rounded to int8."""
    model = support.tiny_model()
    values = {"scale": np.float32(1), "zero": np.uint8(0)}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k)
                                   for k, v in values.items())  # fmt: skip
    nodes = list(model.graph.node)
    nodes[-1].input[0] = "back"
    nodes[-1:-1] = [
        helper.make_node("QuantizeLinear", ["features", "scale", "zero"], ["small"]),
        helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["back"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    whole: bytes = model.SerializeToString()
    return whole


class TestWhatRuns:
    def test_is_told_for_the_default(self, model: Model) -> None:
        import onnxruntime

        assert model.runs_on == {
            "library": "ONNX Runtime", "version": onnxruntime.__version__, "device": "cpu",
            "precision": "fp32", "int8": False, "graph": "model.onnx",
        }  # fmt: skip

    def test_int8_is_seen_in_the_graph(self, tmp_path: Path) -> None:
        assert Model.load(support.write_package(tmp_path, quantised())).runs_on["int8"]
        assert not has_int8(support.tiny_model(kind=TensorProto.UINT8).SerializeToString())


def clean_home(tmp_path: Path, **more: str) -> dict[str, Any]:
    hidden = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI", "TF_BUILD", "JENKINS_URL")
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    return kept | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)} | more


def test_nothing_about_the_machine_is_recorded(package: Path, tmp_path: Path) -> None:
    """ONNX Runtime and OpenVINO do so as they are imported, for those who made them."""
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from pi10_classifier.model.runtime import installed_runtimes\n"
        "from pi10_classifier.model.session import Model\n"
        "for device in ('cpu', 'openvino'):\n"
        "    if device in installed_runtimes():\n"
        "        print(Model.load(Path(sys.argv[1]), device).runs_on['library'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(package)], env=clean_home(tmp_path),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "ONNX Runtime" in done.stdout
    assert list(tmp_path.rglob("*")) == []


def test_a_provider_that_was_left_out_is_told() -> None:
    """ONNX Runtime goes on with the next provider, where CUDA's libraries cannot be loaded."""
    check_provider(RUNTIMES["cpu"], ["CPUExecutionProvider"])
    check_provider(RUNTIMES["cuda"], ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(SettingError, match="could not be loaded, so CPUExecutionProvider would"):
        check_provider(RUNTIMES["cuda"], ["CPUExecutionProvider"])


@pytest.mark.parametrize("device", sorted(RUNTIMES))
def test_calls_are_as_large_as_suits_the_runtime(device: str) -> None:
    expected = {"cpu:int8": 16, "openvino:int8": 32, "cuda": CHUNK_ITEMS, "tensorrt": CHUNK_ITEMS}
    assert RUNTIMES[device].batch == expected.get(device, 8)


def test_the_settings_of_a_run_tell_the_size_of_its_calls() -> None:
    package = read_package(embedded("starter"))[0]
    assert Settings(device="cpu").fingerprint(package)["batch"] == 8
    assert Settings(device="cpu", batch=5).fingerprint(package)["batch"] == 5
