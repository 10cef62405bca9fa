"""Quantises a model package to int8, behind an accuracy gate.

It uses ONNX Runtime's static quantiser: activations are uint8, weights int8 per output channel
with seven bits (``reduce_range``: without VNNI, eight bits overflow the 16-bit sums of AVX2). The
nodes before the first convolution or matrix product (the folded normalisation) stay in float, and
so does the sum of groups to classes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import LeftOut, Sample, Scan
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.analysis import figures_of
from pi10_classifier.evaluation.scoring import batches, score
from pi10_classifier.imaging.measured_vector import centre_and_scale
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.model.package import Package, read_package
from pi10_classifier.model.session import Model
from pi10_classifier.model.writer import check_out, derive, quoted_card, write_package
from pi10_classifier.packaging.accuracy_gate import AccuracyGate, RefusedError, judge
from pi10_classifier.packaging.novelty_graph import without_novelty

DROP = 0.005  # of macro-F1: half a point
CALIBRATION_IMAGES = 512
CALIBRATION_BATCH = 16
LEAST_IMAGES = 30
METHODS = ("minmax", "entropy", "percentile")
_HEAVY = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Quantised:
    """The written package, the figures of the gate, and the files left out."""

    package: Path
    gate: AccuracyGate
    bytes_before: int
    bytes_after: int
    left_out: tuple[LeftOut, ...]


def export_int8(
    model: Model,
    inputs: Sequence[Path],
    out: Path,
    *,
    label_map: LabelMap | None = None,
    manifest: Path | None = None,
    method: str = "minmax",
    images: int = CALIBRATION_IMAGES,
    allowed: float = DROP,
    on_scan: Callable[[Scan], None] = lambda scan: None,
) -> Quantised:
    """Write ``out``: ``model`` in int8, if macro-F1 falls by at most ``allowed``.

    Ranges come from ``images`` images of the training split, macro-F1 from the validation split, as
    given by ``manifest`` or a table; without splits, from two halves of the data. If the drop is
    larger, raises RefusedError with the figures and writes nothing.
    """
    package = model.package
    check_out(out, package)
    if "cascade" in package.description:
        raise SettingError(
            f"{package.name} is a cascade of two networks; make int8 packages of both, and"
            " combine them with `pi10 export cascade`"
        )
    if method not in METHODS:
        raise SettingError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    scan = load_labelled(inputs, label_map, manifest)
    on_scan(scan)
    known = [sample for sample in scan.samples if sample.group in package.classes]
    divided = any(sample.split for sample in known)
    if divided:
        fit, held = ([s for s in known if s.split == name] for name in ("train", "validation"))
    else:
        fit, held = _divide(known)
    for purpose, some in (("to take ranges from", fit), ("to judge on", held)):
        if len(some) < LEAST_IMAGES:
            raise SettingError(
                f"{len(some)} images {purpose} are too few; at least {LEAST_IMAGES} of the"
                " model's classes are needed"
                f" {'per split' if divided else 'in either half of the data'}"
            )
    chosen = fit[:: max(1, -(-len(fit) // images))]
    sample = list(batches(model, scan, chosen))
    pixels = np.concatenate([batch.images for batch in sample])
    measured = None
    if package.measured:
        measured = np.concatenate([x.measured for x in sample if x.measured is not None])
    before = score(model, scan, held)
    _, whole = read_package(package.folder)
    graph = without_novelty(package, whole)
    package = replace(package, novelty=None)  # it was fitted on the float features
    small = quantise(graph, package, pixels, method, measured)
    after = score(Model(package, small), scan, held)
    gate = judge(before, after, package.classes)
    if not gate.drop <= allowed:
        others = " or ".join(other for other in METHODS if other != method)
        raise RefusedError(
            f"int8 is refused: {gate}; at most {100 * allowed:.2f} points are allowed. Nothing"
            f" was written; try --method {others}, or keep the float package",
            gate,
        )
    truth = before.truth(package.classes)
    bins = [s.bin for s in before.samples]
    fields = derive(
        package,
        "int8",
        name=f"{package.name}-int8",
        novelty=None,
        metrics={
            "int8 gate, validation": figures_of(truth, after.probabilities, package.classes, bins)
        },
        int8={
            "method": method,
            "calibration_images": len(chosen),
            "held_out_images": gate.images,
            "macro_f1_float": round(gate.before, 4),
            "macro_f1_int8": round(gate.after, 4),
            "drop": round(gate.drop, 4),
            "drop_95": [round(gate.low, 4), round(gate.high, 4)],
            "allowed": allowed,
            "same_class": round(gate.agree, 4),
            "absent_classes": list(gate.absent),
        },
    )
    card = f"{_section(gate, len(chosen), method, divided)}\n{quoted_card(package)}"
    write_package(out, small, fields, card)
    return Quantised(out, gate, len(whole), len(small), scan.left_out)


def _divide(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Two halves by a hash of each file's content; duplicates stay in one half."""
    halves: tuple[list[Sample], list[Sample]] = ([], [])
    for s in samples:
        key = (s.cluster or s.sha256).encode()
        halves[hashlib.sha256(key).digest()[0] % 2].append(s)
    return halves


def quantise(
    graph: bytes,
    package: Package,
    images: U8,
    method: str = "minmax",
    measured: NDArray[np.float32] | None = None,
) -> bytes:
    """A graph in int8 (QDQ form) with ranges from prepared images (N, C, S, S) uint8.

    measured: what was measured of them, (N, M), for a package that takes it; where a number is
    missing, its median stands in, as the quantiser knows no range with NaN.

    Raises ModelError where the quantiser fails on the graph or finds nothing to do.
    """
    from onnxruntime import quantization as ort
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if measured is not None:
        measured = np.where(np.isnan(measured), centre_and_scale(measured)[0], measured)
    # histograms need batches of equal size
    whole = len(images) // CALIBRATION_BATCH * CALIBRATION_BATCH or len(images)
    cuts = range(0, whole, CALIBRATION_BATCH)
    feeds = [
        package.feed(
            images[:whole][i : i + CALIBRATION_BATCH],
            None if measured is None else measured[:whole][i : i + CALIBRATION_BATCH],
        )
        for i in cuts
    ]

    class Reader(ort.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(feeds)

        def get_next(self) -> Any:
            return next(self.left, None)

    ways = dict(zip(METHODS, ("MinMax", "Entropy", "Percentile"), strict=True))
    quiet = logging.getLogger()
    level = quiet.level
    talk = contextlib.redirect_stdout(io.StringIO())  # keep the quantiser off standard output
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), talk:
        warnings.simplefilter("ignore")  # deprecations inside the quantiser
        given, clean, small = (Path(folder) / f"{x}.onnx" for x in ("float", "clean", "int8"))
        try:
            quiet.setLevel(logging.ERROR)
            given.write_bytes(graph)
            quant_pre_process(str(given), str(clean), skip_symbolic_shape=True)
            prepared_graph = onnx.load(str(clean))
            for number, node in enumerate(prepared_graph.graph.node):
                node.name = node.name or f"node_{number}"
            onnx.save(prepared_graph, str(clean))
            kept_in_float = before_first(prepared_graph)
            if package.groups:  # else the classes would be other sums than those of the groups
                kept_in_float += after_last_layer(prepared_graph, package.groups.output)
            ort.quantize_static(
                str(clean),
                str(small),
                Reader(),
                quant_format=ort.QuantFormat.QDQ,
                activation_type=ort.QuantType.QUInt8,
                weight_type=ort.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                calibrate_method=ort.CalibrationMethod[ways[method]],
                nodes_to_exclude=kept_in_float,
            )
            quantised = small.read_bytes()
        except Exception as error:  # the quantiser may raise anything
            raise ModelError(
                f"{package.folder}: ONNX Runtime cannot quantise this graph:"
                f" {type(error).__name__}: {str(error)[:300]}"
            ) from error
        finally:
            quiet.setLevel(level)
    if not any(n.op_type == "QuantizeLinear" for n in onnx.load_from_string(quantised).graph.node):
        raise ModelError(
            f"{package.folder}: no node of the graph can be done in int8; keep the float package"
        )
    return quantised


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


def _section(gate: AccuracyGate, images: int, method: str, divided: bool) -> str:
    whose = (
        "the training's own validation split"
        if divided
        else "half of the data given, which the training may have seen"
    )
    return f"""## Int8

Made of the float package below by ONNX Runtime's static quantisation: activations uint8, weights \
int8 per channel at seven bits, ranges ({method}) from {images:,} images; the normalisation before \
the first convolution stays in float.

The gate, on {whose}: {gate}.
"""
