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
    told = fields.get(FIELD) or {}
    graphs = {}
    for precision, entry in told.items():
        if precision != INT8:
            raise ValueError(f"{FIELD}: {precision!r} is unknown; only {INT8} is read")
        name = str(entry["file"])
        if name == MAIN or Path(name).name != name or not name.endswith(".onnx"):
            raise ValueError(f"{FIELD}: {name!r} is no name of an .onnx file beside {MAIN}")
        bits = entry["weight_bits"]
        if type(bits) is not int or bits not in (LEAST_BITS, MOST_BITS):
            raise ValueError(f"{FIELD}: weight_bits is {bits!r}; it must be {LEAST_BITS} or {MOST_BITS}")
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
