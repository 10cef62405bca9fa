"""Combines two packages in one graph: a fast one, and an accurate one for doubtful images.

The result is an ordinary package. Its input has the accurate model's size and is shrunk inside the
graph for the fast one. Validation images determine which images are doubtful. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from pi10_classifier.datasets.records import Scan
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.metrics import F64, I64, macro_f1, report
from pi10_classifier.evaluation.scoring import Scored, score
from pi10_classifier.model.package import MADE_OF, read_package
from pi10_classifier.model.session import Model
from pi10_classifier.model.writer import check_out, derive, quoted_card, write_package
from pi10_classifier.packaging.adaptation.features import prune
from pi10_classifier.packaging.novelty_graph import without_novelty

SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
OPSET = 18  # the first opset whose Resize averages when it shrinks
_FAST, _ACCURATE = "fast/", "accurate/"
NO_GAIN = "This cascade does not pay: {} alone is as good on the validation images, and faster"
_LEAST = 1e-30  # lower bound of a probability before its logarithm is taken


@dataclass(frozen=True, slots=True)
class Cascade:
    """The written package. ``validation``: macro-F1 of fast, accurate and cascade."""

    package: Path
    below: float
    share: float
    validation: dict[str, float]
    metrics: dict[str, Any]
    found: Scan

    @property
    def pays(self) -> bool:
        """Whether it is better than the fast model alone on the validation images."""
        return self.validation["cascade"] > self.validation["fast"]


def cascade(
    fast: Model,
    accurate: Model,
    inputs: Sequence[Path],
    out: Path,
    *,
    manifest: Path,
    share: float | None = None,
    name: str = "cascade",
) -> Cascade:
    """Combine two packages with the same classes; evaluate the result on the test split.

    share: the share of the validation images that the accurate model answers. None takes the
    smallest of ``SHARES`` at which the cascade reaches the accurate model's macro-F1 on these
    images, else the best. Raises SettingError if the packages do not fit together, and ModelError
    if ONNX Runtime refuses the joint graph.
    """
    check_out(out, fast.package)
    check_out(out, accurate.package)
    _check_pair(fast, accurate, share)
    classes = fast.package.classes
    scan = load_labelled(inputs, None, manifest)
    held, tested = (of_split(scan, split) for split in ("validation", "test"))
    alone, slow = score(fast, scan, held), score(accurate, scan, held)
    quick = score(_joined(accurate, joint(fast, accurate, 0.0)), scan, held)
    below, passed = _doubt(quick, slow, classes, share)
    graph = joint(fast, accurate, below)
    joined = _joined(accurate, graph)
    both = score(joined, scan, held)
    truth = quick.truth(classes)
    figures = {
        "fast": macro_f1(truth, alone.probabilities.argmax(axis=1), len(classes)),
        "accurate": macro_f1(truth, slow.probabilities.argmax(axis=1), len(classes)),
        "cascade": macro_f1(truth, both.probabilities.argmax(axis=1), len(classes)),
    }
    described = {
        "name": name,
        "version": "1",
        "input": {"name": "image", "dtype": "uint8", "layout": "NCHW"},
        "output": {"name": "logits", "activation": "softmax"},
        "temperature": 1.0,
        "thresholds": {},
        "novelty": None,  # either network has features of its own
        "groups": None,
        # the labelled particles that either network was fitted on
        MADE_OF: [
            *fast.package.description.get(MADE_OF, ()),
            *accurate.package.description.get(MADE_OF, ()),
        ]
        or None,
        "metrics": _figures(score(joined, scan, tested), scan, classes),
        "cascade": {
            "fast": {"name": fast.package.name, "sha256": fast.package.sha256},
            "below": below,
            "share_of_validation": round(passed, 4),
            "validation_macro_f1": {key: round(value, 4) for key, value in figures.items()},
        },
    }
    fields = derive(accurate.package, "cascade", **described)
    done = Cascade(out, below, passed, figures, fields["metrics"], scan)
    write_package(out, graph, fields, _card(fields, fast, accurate, done.pays))
    return done


def joint(fast: Model, accurate: Model, below: float) -> bytes:
    """The graph: probabilities of ``fast``, replaced if the highest is less than ``below``."""
    small, large = (m.package.preprocessing.size for m in (fast, accurate))
    first, second = _part(fast, _FAST), _part(accurate, _ACCURATE)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node(
            "Resize", ["pixels", "", "scales"], ["shrunk"], mode="linear", antialias=1
        ),
        helper.make_node("Round", ["shrunk"], ["whole"]),
        helper.make_node("Clip", ["whole", "black", "white"], ["inside"]),
        helper.make_node("Cast", ["inside"], [first.graph.input[0].name], to=TensorProto.UINT8),
        *first.graph.node,
        *_softmax(first.graph.output[0].name, "quick", fast.package.temperature),
        helper.make_node("ReduceMax", ["quick", "one"], ["surest"], keepdims=0),
        helper.make_node("Less", ["surest", "below"], ["doubtful"]),
        helper.make_node("NonZero", ["doubtful"], ["places"]),
        helper.make_node("Transpose", ["places"], ["rows"], perm=[1, 0]),
        helper.make_node("Squeeze", ["rows", "one"], ["chosen"]),
        helper.make_node("Gather", ["image", "chosen"], [second.graph.input[0].name], axis=0),
        *second.graph.node,
        *_softmax(second.graph.output[0].name, "slow", accurate.package.temperature),
        helper.make_node("ScatterND", ["quick", "rows", "slow"], ["said"]),
        helper.make_node("Clip", ["said", "least"], ["some"]),
        helper.make_node("Log", ["some"], ["logits"]),
    ]
    scale = small / large
    values: dict[str, NDArray[Any]] = {
        "scales": np.array([1, 1, scale, scale], np.float32),
        "black": np.array(0, np.float32),
        "white": np.array(255, np.float32),
        "one": np.array([1], np.int64),
        "below": np.array(below, np.float32),
        "least": np.array(_LEAST, np.float32),
    }
    channels, count = accurate.package.preprocessing.channels, len(fast.package.classes)
    graph = helper.make_graph(
        nodes,
        "cascade",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", channels, large, large])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", count])],
        [
            *first.graph.initializer,
            *second.graph.initializer,
            *(numpy_helper.from_array(value, key) for key, value in values.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = max(first.ir_version, second.ir_version, 8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _joined(accurate: Model, graph: bytes) -> Model:
    """A joint graph as a model, before it is a package.

    If no image is doubtful, it is the fast model on the other's shrunk input, which is slightly
    less accurate.
    """
    package = replace(
        accurate.package,
        input_name="image",
        output_name="logits",
        temperature=1.0,
        thresholds=(),
        novelty=None,
        groups=None,
    )
    return Model(package, graph)


def _check_pair(fast: Model, accurate: Model, share: float | None) -> None:
    one, two = fast.package, accurate.package
    if one.classes != two.classes:
        raise SettingError(
            f"{one.name} has the classes {', '.join(one.classes)}, {two.name} has"
            f" {', '.join(two.classes)}; a cascade needs the same classes in the same order"
        )
    a, b = one.preprocessing, two.preprocessing
    looks = [
        f"{p.channels} channels, level {p.level}, trim {p.trim}, ground_clip {p.ground_clip}"
        for p in (a, b)
    ]
    if looks[0] != looks[1]:
        raise SettingError(
            f"{one.name} takes {looks[0]}, {two.name} {looks[1]}; a cascade needs the same"
            " input, except for its size"
        )
    if a.size > b.size:
        raise SettingError(
            f"{one.name} takes {a.size} px, {two.name} {b.size} px; the size of the fast model"
            " must be the accurate one's, or smaller"
        )
    for package in (one, two):
        if package.measured:
            raise SettingError(
                f"{package.name} takes measured numbers beside the image, which a cascade does not"
                " pass on; name the package that it was adapted from, or adapt with"
                " --features network"
            )
        if package.input_dtype != "uint8" or package.activation != "softmax":
            raise SettingError(
                f"{package.name} must have uint8 input and logits as output, and does not; export"
                " it again"
            )
    if share is not None and not 0 < share < 1:
        raise SettingError(f"share is {share}; it must be above 0 and below 1")


def _part(model: Model, prefix: str) -> onnx.ModelProto:
    """A package's graph, converted to our opset, with prefixed names."""
    package, whole = read_package(model.package.folder)
    graph = onnx.load_model_from_string(without_novelty(package, whole))
    if package.groups:
        prune(graph, package.output_name)
    return compose.add_prefix(version_converter.convert_version(graph, OPSET), prefix)


def _softmax(logits: str, name: str, temperature: float) -> list[onnx.NodeProto]:
    value = numpy_helper.from_array(np.array(temperature, np.float32))
    return [
        helper.make_node("Constant", [], [f"{name}/temperature"], value=value),
        helper.make_node("Div", [logits, f"{name}/temperature"], [f"{name}/cooled"]),
        helper.make_node("Softmax", [f"{name}/cooled"], [name], axis=1),
    ]


def _merged(quick: Scored, slow: Scored, below: float) -> F64:
    on = quick.probabilities.max(axis=1, keepdims=True) < below
    return np.where(on, slow.probabilities, quick.probabilities)


def _doubt(
    quick: Scored, slow: Scored, classes: Sequence[str], share: float | None
) -> tuple[float, float]:
    """The score below which an image is passed on, and the share of these images that is."""
    truth: I64 = quick.truth(classes)
    top = quick.probabilities.max(axis=1)
    wanted = macro_f1(truth, slow.probabilities.argmax(axis=1), len(classes))
    reached: list[tuple[float, float]] = []
    for candidate in SHARES if share is None else (share,):
        below = float(np.quantile(top, candidate))
        guess = _merged(quick, slow, below).argmax(axis=1)
        reached.append((macro_f1(truth, guess, len(classes)), below))
        if reached[-1][0] >= wanted:
            break
    below = max(reached, key=lambda x: x[0])[1]
    return below, float((top < below).mean())


def _figures(seen: Scored, scan: Scan, classes: tuple[str, ...]) -> dict[str, Any]:
    """The metrics of the whole test split and of each source."""
    metrics = {"test split": report(seen.truth(classes), seen.probabilities, classes)}
    for source in scan.origins if len(scan.origins) > 1 else ():
        part = seen.of(lambda s, name=source: s.source == name)  # type: ignore[misc]
        if part.samples:
            metrics[source] = report(part.truth(classes), part.probabilities, classes)
    return metrics


def _card(fields: dict[str, Any], fast: Model, accurate: Model, pays: bool) -> str:
    summary = fields["cascade"]
    f1 = summary["validation_macro_f1"]
    lines = [
        f"{fast.package.name} answers; images whose highest probability is below"
        f" {summary['below']:.4f} go to {accurate.package.name}:"
        f" {summary['share_of_validation']:.1%} of the validation images,"
        f" on which macro-F1 is {f1['fast']:.4f} for {fast.package.name},"
        f" {f1['accurate']:.4f} for {accurate.package.name} and {f1['cascade']:.4f} together.",
        "",
        *([] if pays else [f"{NO_GAIN.format(fast.package.name)}.", ""]),
        "| test images | n | macro-F1 |",
        "|---|---:|---|",
    ]
    for source, row in fields["metrics"].items():
        f1 = row["macro_f1"]
        span = f"{f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f})"
        lines.append(f"| {source} | {row['n']:,} | {span} |")
    return "\n".join([*lines, "", quoted_card(fast.package), quoted_card(accurate.package)])
