"""Runs graphs with ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.model.runtime import RUNTIMES, Port, Runtime


class OnnxRuntimeSession:
    """A session of ONNX Runtime; each call runs on one thread."""

    def __init__(self, graph: bytes, runtime: Runtime, where: str) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.load_model_format", "ONNX")
        # what a provider cannot do is done by the next one
        fallbacks = {"tensorrt": ("cuda", "cpu"), "cuda": ("cpu",)}.get(runtime.device, ())
        providers = [runtime.provider, *(RUNTIMES[name].provider for name in fallbacks)]
        if fallbacks:
            load_cuda(ort)
        try:
            # enable_fallback: by itself it goes on with the CPU, and prints that to standard output
            self._session = ort.InferenceSession(
                graph, options, providers=providers, enable_fallback=0
            )
        except Exception as error:  # onnxruntime raises its own private types
            raise ModelError(
                f"{where}: onnxruntime refuses {runtime.graph_words}: {str(error)[:300]}"
            ) from error
        check_provider(runtime, self._session.get_providers())
        self.version = str(ort.__version__)
        self.inputs: Sequence[Port] = _ports(self._session.get_inputs())
        self.outputs: Sequence[Port] = _ports(self._session.get_outputs())

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]:
        values: Sequence[Any] = self._session.run(list(outputs), dict(feeds))
        return values


def load_cuda(ort: Any) -> None:
    """Load the CUDA libraries of NVIDIA's packages, if these are installed.

    Otherwise the system's are used. What cannot be loaded is told by ``check_provider``; ONNX
    Runtime prints it, also to standard output, where tables may go.
    """
    preload = getattr(ort, "preload_dlls", None)  # of onnxruntime-gpu, from 1.21 on
    if preload is not None:
        with contextlib.redirect_stdout(io.StringIO()):
            preload(directory="")


def check_provider(runtime: Runtime, in_use: Sequence[str]) -> None:
    """Raises SettingError where a session runs on other providers than the one asked for.

    A provider whose libraries cannot be loaded is left out without a word.
    """
    if runtime.provider not in in_use:
        raise SettingError(
            f"device {runtime.device!r} needs {runtime.provider}, which could not be loaded, so"
            f" {', '.join(in_use)} would run instead; install its driver and libraries, or use"
            " --device cpu"
        )


def _ports(values: Sequence[Any]) -> list[Port]:
    return [Port(value.name, value.type, tuple(value.shape)) for value in values]
