"""Runs graphs with OpenVINO on the CPU, in the precision that was asked for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.foundation.concurrency import usable_cores
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.model.runtime import BF16, FP32, Port, Runtime

_TELEMETRY = "openvino_telemetry"
_HINTS = {FP32: "f32", BF16: "bf16"}
_KINDS = {"u8": "uint8", "f32": "float"}  # as ONNX Runtime writes them
# two threads that make OpenVINO's first call in Python were seen to wait for each other for ever
# (2026.4.1): one held Python's lock, the other that of the library's initialisation
_OPENING = threading.Lock()


def import_openvino() -> Any:
    """The module ``openvino``, imported without its telemetry.

    The import would send an event to Google Analytics and write an identifier into the home folder
    (findings/openvino-import-telemetry.sh). Raises SettingError if it cannot be imported.
    """
    unset = _TELEMETRY not in sys.modules
    if unset:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # then OpenVINO uses a stub
    try:
        import openvino

        return openvino
    except (ImportError, OSError) as error:  # OSError: of a library that it loads
        raise SettingError(
            f"OpenVINO cannot be loaded ({str(error)[:200]}); run:"
            f" {install_command('openvino')} --force-reinstall, or use --device cpu"
        ) from error
    finally:
        if unset:
            del sys.modules[_TELEMETRY]


def lacking_bf16(core: Any) -> str:
    """The CPU's name if it has no instructions for bf16; empty if it has them."""
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return ""
    return str(core.get_property("CPU", "FULL_DEVICE_NAME")) or "this CPU"


class OpenVinoSession:
    """A compiled graph of OpenVINO; each call runs on one thread."""

    def __init__(self, graph: bytes, runtime: Runtime, where: str) -> None:
        with _OPENING:
            openvino = import_openvino()
            core = openvino.Core()
            if runtime.precision == BF16 and (name := lacking_bf16(core)):
                raise SettingError(
                    f"device {runtime.device!r} needs a CPU with instructions for bf16 (AVX-512"
                    f" BF16 or AMX), which {name} lacks; use --device openvino or --device cpu"
                )
            cores = usable_cores()
            options = {
                # OpenVINO computes in bf16 by itself where the CPU has it (in f16 on Arm)
                "INFERENCE_PRECISION_HINT": _HINTS[runtime.precision],
                # as many callers as cores, with one thread for each call
                "NUM_STREAMS": cores,
                "INFERENCE_NUM_THREADS": cores,
                # pinned threads of two processes would share some cores and leave others idle
                "ENABLE_CPU_PINNING": False,
            }
            try:
                model = core.read_model(graph)
                # of the graph as it is: compiling adds names of its own
                self.inputs: Sequence[Port] = _ports(model.inputs)
                self.outputs: Sequence[Port] = _ports(model.outputs)
                self._compiled = core.compile_model(model, "CPU", options)
                took = str(self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
            except Exception as error:  # OpenVINO raises RuntimeError, and others from its parser
                raise ModelError(
                    f"{where}: OpenVINO refuses {runtime.graph_words}: {_shortened(error)}; use"
                    " --device cpu"
                ) from error
            if took != _HINTS[runtime.precision]:
                raise SettingError(
                    f"OpenVINO computes in {took} here, though {runtime.precision} was asked for;"
                    " use --device cpu"
                )
            self.version = str(openvino.__version__).partition("-")[0]
            self._places = {
                name: place
                for place, value in enumerate(self._compiled.outputs)
                for name in value.names
            }
            # one per call that runs at the same time: a request serves one caller
            self._idle: list[Any] = []
            self._first_call()

    def _first_call(self) -> None:
        """Run one batch, so that no two threads make the first call."""
        shapes = [[1 if side is None else side for side in port.shape] for port in self.inputs]
        kinds: dict[str, Any] = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
        feeds = {
            port.name: np.zeros(shape, kinds[port.kind])
            for port, shape in zip(self.inputs, shapes, strict=True)
            if port.kind in kinds
        }
        with suppress(RuntimeError):  # the package's check of shapes says what is wrong
            self.run([], feeds)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            values = request.infer(dict(feeds))
        except Exception as error:
            raise RuntimeError(_shortened(error)) from error
        told = [values[self._places[name]] for name in outputs]
        self._idle.append(request)
        return told


def _ports(values: Sequence[Any]) -> list[Port]:
    """Inputs or outputs, each under all of its names."""
    ports = []
    for value in values:
        kind = str(value.element_type.get_type_name())
        kind = f"tensor({_KINDS.get(kind, kind)})"
        sides = (side.get_length() if side.is_static else None for side in value.partial_shape)
        shape = tuple(sides)
        ports += [Port(name, kind, shape) for name in sorted(value.names)]
    return ports


def _shortened(error: Exception) -> str:
    """The message on one line, without the source files and lines that OpenVINO names first."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return " ".join(told or lines)[:300]
