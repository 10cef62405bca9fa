"""Adds an int8 graph to a model package, behind the gate of accuracy.

The ranges of activations come from training images, half of them drawn in the looks of the Pi-10.
Method and layers left in float are chosen by how far the answers move on other training images.
The gate (``precision_gate``) judges the result on held-out images.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import LeftOut, Sample, Scan
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.analysis import figures_of
from pi10_classifier.evaluation.scoring import Look, Scored, batches, drawn_image
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.inference.speed import in_turns
from pi10_classifier.model.graphs.entries import FIELD as GRAPHS
from pi10_classifier.model.graphs.entries import LEAST_BITS, MOST_BITS, section
from pi10_classifier.model.package import Package, read_package
from pi10_classifier.model.runtime import INT8
from pi10_classifier.model.session import Model
from pi10_classifier.model.writer import (
    check_out,
    derive,
    extended_card,
    quoted_card,
    write_package,
)
from pi10_classifier.packaging.novelty_graph import without_novelty
from pi10_classifier.packaging.pixel_blocks import with_pixel_blocks
from pi10_classifier.packaging.precision_gate import (
    ALLOWED,
    DRAWS,
    PrecisionGate,
    PrecisionRefusedError,
    check_allowed,
    gate_of,
)
from pi10_classifier.packaging.quantiser import METHODS, Quantiser
from pi10_classifier.packaging.sensitivity import Probe, best_method, worst_layers

BEST = "best"  # of the methods
CALIBRATION_IMAGES = 512
LEAST_IMAGES = 30
FILE = "model.int8.onnx"
_NOVELTY_APART = 0.01  # by which the share of flagged images may differ


class Tuning(Protocol):
    """Trains the weights of an int8 graph: ``training.quantised.finetune.FineTuning``."""

    @property
    def words(self) -> str: ...

    def __call__(
        self,
        model: Model,
        quantised: bytes,
        original: bytes,
        scan: Scan,
        samples: Sequence[Sample],
        weight_bits: int,
    ) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to quantise. method: of ``METHODS``, or the best of them.

    images: to take ranges from. float_layers: most layers to leave in float. alone: write a package
    with the int8 graph as its only one.
    """

    method: str = BEST
    images: int = CALIBRATION_IMAGES
    weight_bits: int = MOST_BITS
    float_layers: int = 0
    alone: bool = False

    def __post_init__(self) -> None:
        if self.method not in (BEST, *METHODS):
            names = ", ".join((BEST, *METHODS))
            raise SettingError(f"method is {self.method!r}; it must be one of {names}")
        if self.weight_bits not in (LEAST_BITS, MOST_BITS):
            raise SettingError(
                f"--weight-bits is {self.weight_bits}; it must be {LEAST_BITS} or {MOST_BITS}"
            )
        if self.float_layers < 0:
            raise SettingError(f"--float-layers is {self.float_layers}; it must be 0 or more")


@dataclass(frozen=True, slots=True)
class Made:
    """An int8 graph and how it was made, for ``model.json``."""

    graph: bytes
    package: Package
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Quantised:
    """The written package, the record of its int8 graph, the gate, and the files left out."""

    package: Path
    gate: PrecisionGate
    record: dict[str, Any]
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
    wanted: Wanted = Wanted(),
    allowed: float = ALLOWED,
    turns: Sequence[Look] = (),
    looks: Sequence[Look] = (),
    draws: int = DRAWS,
    tune: Tuning | None = None,
    on_scan: Callable[[Scan], None] = lambda scan: None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Quantised:
    """Write ``out``: the package with an int8 graph beside its own, if the gate accepts it.

    Ranges come from the training split, as given by ``manifest`` or a table, and the gate judges on
    all other images; without splits, they are two halves of the data. looks: of the Pi-10. tune:
    trains the graph's weights with their rounding. progress: of the search for sensitive layers.
    Raises PrecisionRefusedError with the figures, and writes nothing, where the gate refuses.
    """
    package = model.package
    check_out(out, package)
    check_allowed(allowed)
    if "cascade" in package.description:
        raise SettingError(
            f"{package.name} is a cascade of two networks; make int8 packages of both, and"
            " combine them with `pi10 export cascade`"
        )
    scan = load_labelled(inputs, label_map, manifest)
    on_scan(scan)
    fit, held = divided(scan, package)
    made = quantised(model, scan, fit, wanted, looks, tune, progress)
    gate, before, after = gate_of(
        model, Model(made.package, made.graph), scan, held, turns=turns, looks=looks,
        draws=draws, allowed=allowed,
    )  # fmt: skip
    if not gate.accepted:
        raise PrecisionRefusedError(gate, _remedy(wanted, tune is not None))
    if wanted.alone:
        _write_alone(out, package, made, gate, before, after)
    else:
        write_beside(out, package, made, gate, before, after)
    _, whole = read_package(package.folder)
    return Quantised(out, gate, made.record, len(whole), len(made.graph), scan.left_out)


def divided(scan: Scan, package: Package) -> tuple[list[Sample], list[Sample]]:
    """The images of the model's classes to fit on, and those to judge on.

    Raises SettingError where there are too few.
    """
    known = [sample for sample in scan.samples if sample.group in package.classes]
    by_split = any(sample.split for sample in known)
    if by_split:
        fit = [sample for sample in known if sample.split == "train"]
        held = [sample for sample in known if sample.split not in ("", "train")]
    else:
        fit, held = _halves(known)
    for purpose, some in (("to take ranges from", fit), ("to judge on", held)):
        if len(some) < LEAST_IMAGES:
            raise SettingError(
                f"{len(some)} images {purpose} are too few; at least {LEAST_IMAGES} of the"
                " model's classes are needed"
                f" {'per split' if by_split else 'in either half of the data'}"
            )
    return fit, held


def quantised(
    model: Model,
    scan: Scan,
    fit: Sequence[Sample],
    wanted: Wanted,
    looks: Sequence[Look] = (),
    tune: Tuning | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Made:
    """An int8 graph of a package's float graph, from the images ``fit``; nothing is written."""
    package = model.package
    _, whole = read_package(package.folder)
    images, measured = _prepared(model, scan, _spread(fit, wanted.images), looks)
    record: dict[str, Any] = {"weight_bits": wanted.weight_bits, "calibration_images": len(images)}
    with Quantiser(whole, package, images, measured) as quantiser:
        method = wanted.method
        searching = method == BEST or wanted.float_layers > 0
        if searching:  # on other images than those of the ranges
            others = _spread(fit, wanted.images, 0.5)
            probe = Probe.of(model, *_prepared(model, scan, others, looks))
        if method == BEST:
            method, told = best_method(quantiser, probe, METHODS, wanted.weight_bits)
            record["divergence_by_method"] = {name: round(x, 6) for name, x in told.items()}
        worst = (
            worst_layers(
                quantiser, probe, method, wanted.weight_bits, wanted.float_layers, progress
            )
            if wanted.float_layers
            else []
        )
        in_float = [layer for layer, _ in worst]
        graph = quantiser.graph(method, wanted.weight_bits, in_float)
        if in_float:
            whole_int8 = quantiser.graph(method, wanted.weight_bits)
            record["core_ms"] = _costs(model, whole_int8, graph)
        if tune:
            graph = tune(model, graph, quantiser.original, scan, fit, wanted.weight_bits)
    graph = with_pixel_blocks(graph)  # last, because a tuning trains the convolution as it was
    record |= {
        "method": method,
        "in_float": [{"layer": layer, "divergence": round(x, 6)} for layer, x in worst],
        "layers": len(quantiser.layers),
        "tuned": tune.words if tune else "",
    }
    return Made(graph, package, record)


def _costs(model: Model, whole_int8: bytes, mixed: bytes) -> dict[str, float]:
    """Processor time per image, milliseconds, of the bare sessions, measured in turns."""
    names = ("fp32", "int8", "int8 with layers in float")
    models = [model, *(Model(model.package, graph) for graph in (whole_int8, mixed))]
    return {
        name: round(1000 * statistics.median(cost for _, cost in rounds), 3)
        for name, rounds in zip(names, in_turns(models), strict=True)
    }


def _halves(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Two halves by a hash of each file's content; duplicates stay in one half."""
    halves: tuple[list[Sample], list[Sample]] = ([], [])
    for s in samples:
        key = (s.cluster or s.sha256).encode()
        halves[hashlib.sha256(key).digest()[0] % 2].append(s)
    return halves


def _spread(samples: Sequence[Sample], most: int, begin: float = 0.0) -> list[Sample]:
    """At most ``most`` samples, evenly spaced; ``begin``: from this share of a step on."""
    step = max(1, -(-len(samples) // most))
    return list(samples[int(begin * step) :: step])


def _prepared(
    model: Model, scan: Scan, samples: Sequence[Sample], looks: Sequence[Look]
) -> tuple[U8, NDArray[np.float32] | None]:
    """Images (N, C, S, S), with what was measured; every second one drawn, in turn in each look."""
    if model.package.measured or not looks:
        told = list(batches(model, scan, samples))
        numbers = [x.measured for x in told if x.measured is not None]
        images = np.concatenate([batch.images for batch in told])
        return images, np.concatenate(numbers) if numbers else None
    plain = [images for batch in batches(model, scan, samples[::2]) for images in batch.images]
    drawn = [
        drawn_image(looks[place % len(looks)], 0, sample, rgb, model.package.preprocessing)
        for place, (sample, rgb) in enumerate(read_rgb(scan, samples[1::2]))
    ]
    mixed = [image for pair in zip(plain, drawn, strict=False) for image in pair]
    return np.stack(mixed + plain[len(drawn) :]), None


def _flags_alike(package: Package, before: Scored, after: Scored) -> bool:
    """Whether both graphs flag about as many held-out images as unlike the training images."""
    if package.novelty is None or before.novelty is None or after.novelty is None:
        return False
    least = package.novelty.threshold
    first, second = (float(np.mean(x > least)) for x in (before.novelty, after.novelty))
    return abs(first - second) <= _NOVELTY_APART


def _remedy(wanted: Wanted, tuned: bool) -> str:
    more = max(4, 2 * wanted.float_layers)
    ways = [f"--float-layers {more}"]
    if not tuned:
        ways.append("--finetune 0 or 1")
    if wanted.weight_bits == LEAST_BITS:
        ways.append(f"--weight-bits {MOST_BITS} (for CPUs with VNNI alone)")
    return f"nothing was written; try {', '.join(ways)}, or keep the float package"


def write_beside(
    out: Path, package: Package, made: Made, gate: PrecisionGate, before: Scored, after: Scored
) -> None:
    """Write the package with the int8 graph beside its own.

    before, after: scores of held-out images, by which novelty stays with the int8 graph or not.
    """
    _, whole = read_package(package.folder)
    if package.novelty and not _flags_alike(package, before, after):
        alone = without_novelty(package, made.graph)
        made = replace(made, graph=alone, package=replace(package, novelty=None))
    entry = {
        "file": FILE,
        **made.record,
        "novelty": made.package.novelty is not None,
        "gate": gate.to_dict(),
    }
    fields = {**package.description, GRAPHS: {INT8: entry}}
    write_package(
        out, whole, fields, extended_card(package, fields, section(fields)),
        others={FILE: made.graph},
    )  # fmt: skip


def _write_alone(
    out: Path, package: Package, made: Made, gate: PrecisionGate, before: Scored, after: Scored
) -> None:
    small = without_novelty(package, made.graph) if made.package.novelty else made.graph
    truth = before.truth(package.classes)
    bins = [s.bin for s in before.samples]
    fields = derive(
        package,
        "int8",
        name=f"{package.name}-int8",
        novelty=None,  # it was fitted on the float features
        metrics={
            "int8 gate, held out": figures_of(truth, after.probabilities, package.classes, bins)
        },
        int8={**made.record, "gate": gate.to_dict()},
    )
    about = section({GRAPHS: {INT8: {**made.record, "gate": gate.to_dict(), "file": "model.onnx"}}})
    write_package(out, small, fields, f"{about}\n{quoted_card(package)}")
