"""Makes int8 graphs of a float graph with ONNX Runtime's static quantiser, in QDQ form.

Activations are uint8 with one scale for each tensor, weights int8 with one for each output channel,
of seven bits unless eight are asked for: without VNNI, the products of eight bits overflow the
16-bit sums of AVX2. The nodes before the first convolution or matrix product (the folded
normalisation) stay in float, and so do the sum of groups to classes, and novelty.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.imaging.measured_vector import centre_and_scale
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.model.graphs.entries import LEAST_BITS
from pi10_classifier.model.package import Package
from pi10_classifier.packaging.novelty_graph import PREFIX

METHODS = ("minmax", "entropy", "percentile")
CALIBRATION_BATCH = 16
_ORT_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
_HEAVY = ("Conv", "Gemm", "MatMul")


class Quantiser:
    """A float graph of which int8 graphs are made; the ranges of a method are measured once.

    A context manager, which holds a temporary folder.
    """

    def __init__(
        self,
        graph: bytes,
        package: Package,
        images: U8,
        measured: NDArray[np.float32] | None = None,
    ) -> None:
        """images: prepared, (N, C, S, S) uint8, to take the ranges of activations from.

        measured: what was measured of them, (N, M), for a package that takes it; where a number is
        missing, its median stands in, as ONNX Runtime knows no range with NaN.
        """
        if measured is not None:
            measured = np.where(np.isnan(measured), centre_and_scale(measured)[0], measured)
        self._package = package
        self._temporary = tempfile.TemporaryDirectory()
        self._folder = Path(self._temporary.name)
        self._clean = self._folder / "float.onnx"
        # histograms need batches of equal size
        whole = len(images) // CALIBRATION_BATCH * CALIBRATION_BATCH or len(images)
        self._feeds = [
            package.feed(
                images[:whole][i : i + CALIBRATION_BATCH],
                None if measured is None else measured[:whole][i : i + CALIBRATION_BATCH],
            )
            for i in range(0, whole, CALIBRATION_BATCH)
        ]
        with self._told(), _quiet():
            from onnxruntime.quantization.shape_inference import quant_pre_process

            given = self._folder / "given.onnx"
            given.write_bytes(graph)
            quant_pre_process(str(given), str(self._clean), skip_symbolic_shape=True)
            prepared = onnx.load(str(self._clean))
            for number, node in enumerate(prepared.graph.node):
                node.name = node.name or f"node_{number}"
            onnx.save(prepared, str(self._clean))
        self._always_float = before_first(prepared)
        if package.groups:  # else the classes would be other sums than those of the groups
            self._always_float += after_last_layer(prepared, package.groups.output)
        if package.novelty:
            self._always_float += [
                node.name for node in prepared.graph.node if node.name.startswith(PREFIX)
            ]
        self.layers: list[str] = [
            node.name
            for node in prepared.graph.node
            if node.op_type in _HEAVY and node.name not in self._always_float
        ]
        """Names of the convolutions and matrix products that can be done in int8, in order."""

    def __enter__(self) -> Quantiser:
        return self

    @property
    def original(self) -> bytes:
        """The float graph that is quantised, prepared: shapes inferred, constants folded."""
        return self._clean.read_bytes()

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    def graph(
        self, method: str, weight_bits: int = LEAST_BITS, in_float: Sequence[str] = ()
    ) -> bytes:
        """An int8 graph. in_float: names of ``layers`` to leave in float.

        Raises ModelError where the quantiser fails on the graph or finds nothing to do.
        """
        from onnxruntime import quantization as ort

        if method not in METHODS:
            raise SettingError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
        feeds = iter(self._feeds)

        class Reader(ort.CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> Any:
                return next(feeds, None)

        small = self._folder / "int8.onnx"
        with self._told(), _quiet():
            ort.quantize_static(
                str(self._clean),
                str(small),
                Reader(),
                quant_format=ort.QuantFormat.QDQ,
                activation_type=ort.QuantType.QUInt8,
                weight_type=ort.QuantType.QInt8,
                per_channel=True,
                reduce_range=weight_bits == LEAST_BITS,
                calibrate_method=ort.CalibrationMethod[_ORT_METHODS[method]],
                nodes_to_exclude=[*self._always_float, *in_float],
                calibration_cache_path=str(self._folder / f"{method}.json"),
            )
        quantised = small.read_bytes()
        nodes = onnx.load_from_string(quantised).graph.node
        if not any(node.op_type == "QuantizeLinear" for node in nodes):
            raise ModelError(
                f"{self._package.folder}: no node of the graph can be done in int8; keep the float"
                " package"
            )
        return quantised

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the quantiser may raise anything
            raise ModelError(
                f"{self._package.folder}: ONNX Runtime cannot quantise this graph:"
                f" {type(error).__name__}: {str(error)[:300]}"
            ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's words off standard output and the log, and its deprecations."""
    root = logging.getLogger()
    level = root.level
    talk = contextlib.redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), talk:
        warnings.simplefilter("ignore")
        root.setLevel(logging.ERROR)
        try:
            yield
        finally:
            root.setLevel(level)


def before_first(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes between the input and the first convolution or matrix product."""
    reached = {value.name for value in model.graph.input}
    names = []
    for node in model.graph.node:
        if node.op_type in _HEAVY or not reached.intersection(node.input):
            continue
        reached.update(node.output)
        names.append(node.name)
    return names


def after_last_layer(model: onnx.ModelProto, output: str) -> list[str]:
    """Names of all nodes that need what the last layer before ``output`` gives."""
    maker = {name: node for node in model.graph.node for name in node.output}
    while output in maker and maker[output].op_type in ("Cast", "Identity"):
        output = maker[output].input[0]
    reached, names = {output}, []
    for node in model.graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            names.append(node.name)
    return names
