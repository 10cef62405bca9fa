"""The graphs of a package: the one in fp32, and others of the same model in a lower precision.

``model.onnx`` is always there. The field ``graphs`` of ``model.json`` names the others, by their
precision, with what the gate of accuracy said of each. Programs that do not know the field run
``model.onnx``, as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pi10_classifier.model.runtime import INT8

FIELD = "graphs"
MAIN = "model.onnx"
LEAST_BITS, MOST_BITS = 7, 8  # of int8 weights


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph of a package.

    weight_bits: of its int8 weights; with 8 the sums overflow on a CPU without instructions for
    8-bit dot products. accepted: whether the gate accepted it in place of the fp32 graph. novelty:
    whether it has the package's output for novelty. gate: the record of the gate.
    """

    precision: str
    file: str
    sha256: str
    weight_bits: int = LEAST_BITS
    accepted: bool = False
    novelty: bool = False
    gate: Mapping[str, Any] = field(default_factory=dict)


def graphs_of(fields: Mapping[str, Any]) -> dict[str, Graph]:
    """The graphs beside ``model.onnx`` by their precision, from ``model.json``.

    Raises ValueError, TypeError or LookupError for a field that is wrong.
    """
    told = fields.get(FIELD)
    if not isinstance(told, dict | None):
        raise ValueError(f"{FIELD} is {str(told)[:80]!r}, no object")
    graphs: dict[str, Graph] = {}
    told = told or {}
    for precision, entry in told.items():
        if precision != INT8:
            raise ValueError(f"{FIELD}: {precision!r} is unknown; only {INT8} is read")
        if not isinstance(entry, dict):
            raise ValueError(f"{FIELD}: {precision} is {str(entry)[:80]!r}, no object")
        name = str(entry["file"])
        if name == MAIN or Path(name).name != name or not name.endswith(".onnx"):
            raise ValueError(f"{FIELD}: {name!r} is no name of an .onnx file beside {MAIN}")
        if name not in fields["files"]:
            raise ValueError(f"{FIELD}: {name} of {precision} is missing in files")
        bits = entry["weight_bits"]
        if type(bits) is not int or bits not in (LEAST_BITS, MOST_BITS):
            raise ValueError(
                f"{FIELD}: weight_bits is {bits!r}, neither {LEAST_BITS} nor {MOST_BITS}"
            )
        gate = entry.get("gate") or {}
        graphs[precision] = Graph(
            precision,
            name,
            str(fields["files"][name]["sha256"]),
            bits,
            gate.get("accepted") is True,
            entry.get("novelty") is True,
            gate,
        )
    return graphs


def section(fields: Mapping[str, Any]) -> str:
    """The part of the model card about other graphs, from ``model.json``; may be empty."""
    lines = []
    for precision, entry in (fields.get(FIELD) or {}).items():
        gate = entry["gate"]
        tuned = f", {entry['tuned']}" if entry["tuned"] else ""
        lines += [
            f"## The graph in {precision}: `{entry['file']}`",
            "",
            "Made of the graph in fp32 by ONNX Runtime's static quantisation: activations uint8,"
            f" weights int8 per channel with {entry['weight_bits']} bits, ranges"
            f" ({entry['method']}) from {entry['calibration_images']:,} training images; of"
            f" {entry['layers']} layers {len(entry['in_float'])} are left in float{tuned}."
            " `--device cpu:int8` and `openvino:int8` run it.",
            "",
            "Its SHA-256 is in the table at the head of this card. Results name the hash of the"
            " graph that ran (`model_sha256`), so runs of one model may differ in it.",
            "",
            f"The gate compared it with fp32 on held-out images and"
            f" {'accepted' if gate['accepted'] else 'refused'} it: the 95 % interval of the drop of"
            f" macro-F1 must stay at or below {100 * gate['allowed']:.2f} points.",
            "",
            "| images | n | macro-F1 fp32 | here | drop, points | other class | ECE fp32 | here |",
            "|---|---:|---|---|---|---|---|---|",
        ]
        for name, view in gate["views"].items():
            scores = view["scores"]
            drop, low, high = (100 * scores[key] for key in ("drop", "low", "high"))
            times = f" x {scores['draws']}" if scores["draws"] > 1 else ""
            lines.append(
                f"| {name} | {scores['images']:,}{times} | {scores['before']:.4f}"
                f" | {scores['after']:.4f} | {drop:.2f} ({low:.2f} to {high:.2f})"
                f" | {view['changed']:.2%} | {view['ece_before']:.4f} | {view['ece_after']:.4f} |"
            )
        lines.append("")
    return "\n".join(lines)
