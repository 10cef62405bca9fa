"""Which graph of a package is run on this machine."""

from __future__ import annotations

import json
import platform
from functools import cache
from pathlib import Path

import cv2

from pi10_classifier.errors import SettingError
from pi10_classifier.model.graphs.entries import LEAST_BITS, graphs_of
from pi10_classifier.model.package import Package
from pi10_classifier.model.runtime import AUTO, FP32, INT8, Runtime, runtime_of

# numbers of OpenCV for cv2.checkHardwareSupport (opencv2/core/cvdef.h), which asks the CPU itself
_AVX512_VNNI, _NEON_DOTPROD = 23, 101
_ARM = ("aarch64", "arm64")


@cache
def has_int8_products() -> bool:
    """Whether this CPU multiplies and adds 8-bit numbers in one step, without overflow.

    x86: AVX-512 VNNI or AVX-VNNI. Arm: the dot product of Armv8.2, which Apple's chips have.
    """
    if platform.machine().lower() in _ARM:
        return platform.system() == "Darwin" or bool(cv2.checkHardwareSupport(_NEON_DOTPROD))
    if cv2.checkHardwareSupport(_AVX512_VNNI):
        return True
    try:  # OpenCV does not know AVX-VNNI
        flags = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return False
    return "avx_vnni" in flags


def chosen_device(device: str, folder: Path) -> str:
    """The device that ``device`` stands for with this package on this machine.

    ``auto`` is ``cpu:int8`` where the package has an int8 graph that its gate accepted and the CPU
    has the instructions that make it faster, else ``cpu``. Raises SettingError for unknown names.
    """
    if device != AUTO:
        return runtime_of(device).device
    try:
        graph = graphs_of(json.loads((folder / "model.json").read_text("utf-8"))).get(INT8)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        graph = None  # loading the package says what is wrong
    return f"cpu:{INT8}" if graph and graph.accepted and has_int8_products() else "cpu"


def check_graph(package: Package, runtime: Runtime, has_int8: bool) -> None:
    """Raise SettingError where a package lacks the runtime's graph, or this CPU would spoil it.

    has_int8: of the graph that was read.
    """
    if runtime.graph == FP32:
        if package.precision != FP32:
            raise ValueError(f"{package.graph_file} was read for device {runtime.device!r}")
        return
    other = runtime.device.partition(":")[0]
    if package.precision != runtime.graph:
        remedy = (
            f"its only graph is in {runtime.graph} already: use --device {other}"
            if has_int8
            else f"make one with `pi10 export {runtime.graph}`, or use --device {other}"
        )
        raise SettingError(
            f"device {runtime.device!r} needs a graph in {runtime.graph}, which the package"
            f" {package.name} does not have; {remedy}"
        )
    bits = package.graphs[runtime.graph].weight_bits
    if bits > LEAST_BITS and not has_int8_products():
        raise SettingError(
            f"device {runtime.device!r}: the int8 graph of {package.name} has weights of {bits}"
            " bits, whose sums overflow on this CPU, as it lacks VNNI (on Arm: the dot product);"
            f" use --device {other}, or make a graph with `pi10 export int8 --weight-bits"
            f" {LEAST_BITS}`"
        )
