"""The runtimes that can run a model's graph: which library, on what, in which precision.

ONNX Runtime on the CPU, in fp32, needs no extra. Another precision changes scores, and another
library their last digits, so neither is chosen unless it is asked for. The exception is an int8
graph that the gate of its package accepted (``graphs.chosen_device``).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.model.onnx_guard import spans

AUTO = "auto"
ONNX_RUNTIME, OPENVINO = "ONNX Runtime", "OpenVINO"
FP32, BF16, TF32, INT8 = "fp32", "bf16", "tf32", "int8"
# operators of a graph with int8 layers, in the QDQ and in the operator form
_QUANTISED = (b"QuantizeLinear", b"QLinearConv", b"QLinearMatMul", b"ConvInteger", b"MatMulInteger")

BATCH = 8  # images per call of a graph in fp32
CHUNK_ITEMS = 64  # images that are decoded, measured and scored together
_GRAPH, _NODE, _FUNCTIONS = 7, 1, 25  # fields of onnx.proto3


@dataclass(frozen=True, slots=True)
class Runtime:
    """How a graph is run.

    device: its name for --device and PI10_DEVICE. precision: of the layers that the graph leaves in
    float: fp32, bf16, or tf32 (fp32 of which a GPU multiplies the first 10 bits of the mantissa).
    graph: which graph of the package is run, fp32 (``model.onnx``) or int8. Layers that a graph has
    in int8 are computed in int8 by each runtime.
    """

    device: str
    library: str
    precision: str
    provider: str = ""  # of ONNX Runtime
    graph: str = FP32

    @property
    def precisions(self) -> str:
        """Of all layers, for people: "int8 and fp32" of a package's int8 graph."""
        return f"{INT8} and {self.precision}" if self.graph == INT8 else self.precision

    def threads(self, jobs: int) -> int:
        """How many threads shall work on images: one more than ``jobs`` where callers wait.

        OpenVINO and GPUs compute elsewhere than on the threads that call them: such a thread uses
        no core meanwhile, so one more prepares images.
        """
        waiting = self.library == OPENVINO or self.provider != "CPUExecutionProvider"
        return jobs + waiting

    @property
    def batch(self) -> int:
        """How many images a call of the model takes unless told otherwise (docs/speed.md).

        Larger calls cost less per image, until the layers' values leave the processor's cache; in
        int8 they are a quarter of the size. On a GPU, which was not measured, as many as there are.
        """
        if self.provider not in ("", "CPUExecutionProvider"):
            return CHUNK_ITEMS
        if self.graph != INT8:
            return BATCH
        return 32 if self.library == OPENVINO else 16

    @property
    def graph_words(self) -> str:
        """The graph that is run, for messages."""
        return "model.onnx" if self.graph == FP32 else f"the graph in {self.graph}"

    def check_installed(self) -> None:
        """Raises SettingError, which names what to install, where the runtime is not here."""
        if self.library == OPENVINO:
            if importlib.util.find_spec("openvino") is None:
                raise SettingError(
                    f"device {self.device!r} needs OpenVINO, which is not installed; run:"
                    f" {install_command('openvino')}, or use --device cpu"
                )
            return
        import onnxruntime as ort

        if self.provider not in ort.get_available_providers():
            raise SettingError(
                f"device {self.device!r} needs onnxruntime's {self.provider}, which is not "
                "installed; install onnxruntime-gpu, or use --device cpu"
            )


RUNTIMES: Mapping[str, Runtime] = {
    runtime.device: runtime
    for runtime in (
        Runtime("cpu", ONNX_RUNTIME, FP32, "CPUExecutionProvider"),
        Runtime("cpu:int8", ONNX_RUNTIME, FP32, "CPUExecutionProvider", INT8),
        Runtime("openvino", OPENVINO, FP32),
        Runtime("openvino:int8", OPENVINO, FP32, graph=INT8),
        Runtime("openvino:bf16", OPENVINO, BF16),
        # both let a GPU use tf32 unless told otherwise
        Runtime("cuda", ONNX_RUNTIME, TF32, "CUDAExecutionProvider"),
        Runtime("tensorrt", ONNX_RUNTIME, TF32, "TensorrtExecutionProvider"),
    )
}
DEVICES = (AUTO, *RUNTIMES)
DEVICE_HELP = (
    "Runtime of the model: cpu (ONNX Runtime), openvino or openvino:bf16 (need the extra"
    " [openvino]), cuda or tensorrt (need onnxruntime-gpu); cpu:int8 and openvino:int8 run the int8"
    " graph of a package that has one. auto is cpu:int8 where the package's gate accepted that"
    " graph and the CPU has the instructions for it, otherwise cpu; `pi10 doctor --model NAME`"
    " compares their speed."
)
_NOT_HERE = {
    "cpu:bf16": "ONNX Runtime's CPU provider has no bf16 on x86, and on Arm this program does not"
    " use it; use --device openvino:bf16, or cpu",
}


def runtime_of(device: str) -> Runtime:
    """The runtime of a device's name; ``auto`` is cpu here, where no package is known.

    Raises SettingError for a name that is unknown.
    """
    runtime = RUNTIMES.get("cpu" if device == AUTO else device)
    if runtime is None:
        why = _NOT_HERE.get(device, f"it is unknown; use one of {', '.join(DEVICES)}")
        raise SettingError(f"device {device!r} cannot be used: {why}")
    return runtime


def installed_runtimes() -> list[str]:
    """The devices whose runtime is installed; whether their hardware is there is not tested."""
    names = []
    for runtime in RUNTIMES.values():
        with suppress(SettingError):
            runtime.check_installed()
            names.append(runtime.device)
    return names


def has_int8(graph: bytes) -> bool:
    """Whether a graph has layers in int8."""
    # not in the weights, which are nearly all of its bytes
    view = memoryview(graph)
    for number, _, _, begin, end in spans(view):
        if number == _FUNCTIONS and _names_quantised(view[begin:end]):
            return True
        if number == _GRAPH:
            inner = view[begin:end]
            if any(n == _NODE and _names_quantised(inner[a:z]) for n, _, _, a, z in spans(inner)):
                return True
    return False


def _names_quantised(part: memoryview) -> bool:
    data = bytes(part)
    return any(name in data for name in _QUANTISED)


class Port(NamedTuple):
    """An input or output of a graph. kind: as ONNX Runtime writes it. shape: None where any."""

    name: str
    kind: str
    shape: tuple[Any, ...]


class Session(Protocol):
    """A graph that is ready to run. Several threads may call ``run`` at once."""

    version: str
    inputs: Sequence[Port]
    outputs: Sequence[Port]

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The values of ``outputs``, in their order. May raise anything."""
