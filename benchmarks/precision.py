"""Low precision of a model, made and judged anew: which int8 graph keeps the accuracy, how fast.

    python -m benchmarks.precision starter fast --data TAR... --manifest manifest.csv
        [--float-layers 6] [--finetune 1 --minutes 30] [--draws 2] [--out FOLDER]

For each package, after one another: int8 graphs by each method of calibration and with weights of 7
and 8 bits, by how far their answers diverge from fp32 on training images; the best one as it is,
with its worst layers left in float (``--float-layers``) and fine-tuned (``--finetune``), each
judged by the gate of ``pi10 export int8`` on the held-out images; the first that is accepted is
written to FOLDER/NAME. Then the largest difference of a score and the share of changed classes on
``--crops`` crops against ONNX Runtime in fp32, and the bare rates in turns, of each runtime that is
here. ``--emulate COMMAND``: also the scores on a CPU without VNNI, which COMMAND runs a program on,
as ``qemu-x86_64 -cpu Haswell``. All figures are in FOLDER/NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.inference.speed import in_turns
from pi10_classifier.model.package import find
from pi10_classifier.model.runtime import installed_runtimes
from pi10_classifier.model.session import Model
from pi10_classifier.packaging import int8
from pi10_classifier.packaging.precision_gate import TURNS, gate_of
from pi10_classifier.packaging.quantiser import METHODS
from pi10_classifier.training.data.held_out_looks import LOOKS

CONSOLE = Console(width=160)
_EMULATED = """
import sys
import numpy as np
import onnxruntime as ort
folder, names = sys.argv[1], sys.argv[2:]
options = ort.SessionOptions()
options.intra_op_num_threads = 1
feeds = dict(np.load(f"{folder}/feeds.npz"))
for name in names:
    session = ort.InferenceSession(f"{folder}/{name}.onnx", options, ["CPUExecutionProvider"])
    np.save(f"{folder}/{name}.npy", session.run([session.get_outputs()[0].name], feeds)[0])
"""


def candidates(options: argparse.Namespace) -> dict[str, tuple[int8.Wanted, Any]]:
    """What is judged, in the order of its cost: name -> how to quantise, and how to train."""
    whole = int8.Wanted("minmax", options.images, options.weight_bits)
    tried: dict[str, tuple[int8.Wanted, Any]] = {}
    if options.plain:
        tried[f"int8, {options.weight_bits} bits"] = (whole, None)
    if options.float_layers:
        mixed = int8.Wanted("minmax", options.images, options.weight_bits, options.float_layers)
        tried[f"{options.float_layers} layers in float"] = (mixed, None)
    if options.finetune >= 0:
        from pi10_classifier.training.quantised.finetune import FineTuning

        tune = FineTuning(
            options.finetune, options.minutes, options.batch, options.rate, progress=_shown
        )
        label = "fine-tuned" if options.finetune else "biases corrected"
        tried[label] = (whole, tune)
    return tried


def _shown(done: int, of: int, loss: float) -> None:
    if done % 320 < 32:
        CONSOLE.print(f"  {done:,} of at most {of:,} images, loss {loss:.4f}")


def methods_compared(model: Model, scan: Scan, fit: list[Sample], images: int) -> dict[str, float]:
    """How far the answers diverge from fp32 on training images, nats, by method and bits."""
    told = {}
    for bits in (8, 7):
        made = int8.quantised(model, scan, fit, int8.Wanted(int8.BEST, images, bits), LOOKS)
        for name in METHODS:
            told[f"{name}, {bits} bits"] = made.record["divergence_by_method"][name]
    return told


def differences(
    folder: Path, scan: Scan, crops: list[Sample], devices: list[str]
) -> dict[str, dict[str, float]]:
    """Against ONNX Runtime in fp32: the largest difference of a score, and changed classes."""
    fp32 = score(Model.load(folder), scan, crops).probabilities
    told = {}
    for device in devices:
        other = score(Model.load(folder, device), scan, crops).probabilities
        told[device] = {
            "images": len(crops),
            "largest": float(np.abs(fp32 - other).max()),
            "changed": float((fp32.argmax(axis=1) != other.argmax(axis=1)).mean()),
        }
    return told


def rates(folder: Path, devices: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Images per second, and core-ms per image, of the bare sessions in turns."""
    models = {device: Model.load(folder, device) for device in devices}
    told = {}
    for device, taken in zip(models, in_turns(list(models.values()), rounds=rounds), strict=True):
        per_second, costs = zip(*taken, strict=True)
        told[device] = {
            "images_per_second": [round(x, 1) for x in per_second],
            "core_ms": [round(1000 * x, 3) for x in costs],
        }
    return told


def emulated(
    command: str, model: Model, graphs: Mapping[str, bytes], images: Any
) -> dict[str, float]:
    """The largest difference of a logit between this CPU and the emulated one, by graph."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "feeds.npz", **model.package.feed(images))
        for label, graph in graphs.items():
            (folder / f"{label}.onnx").write_bytes(graph)
        # a virtual environment's interpreter is found by its link, which an emulator follows
        paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        answers: list[dict[str, Any]] = []
        for prefix in ([], shlex.split(command)):
            words = [*prefix, str(Path(sys.executable).resolve()), "-c", _EMULATED]
            subprocess.run([*words, name, *graphs], env=paths, check=True)
            answers.append({label: np.load(folder / f"{label}.npy") for label in graphs})
        here, there = answers
        return {label: float(np.abs(here[label] - there[label]).max()) for label in graphs}


def _table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    for name in ("", *columns):
        table.add_column(name)
    for name, row in rows.items():
        table.add_row(name, *(str(row.get(column, "")) for column in columns))
    CONSOLE.print(table)


def _row(view: Any, allowed: float) -> dict[str, str]:
    drop, low, high = (100 * x for x in (view.scores.drop, view.scores.low, view.scores.high))
    return {
        "images": f"{view.scores.images:,} x {view.scores.draws}",
        "macro-F1 fp32": f"{view.scores.before:.4f}",
        "int8": f"{view.scores.after:.4f}",
        "drop, points (95 %)": f"{drop:.2f} ({low:.2f} to {high:.2f})",
        "other class": f"{view.changed:.2%}",
        "largest": f"{view.largest:.2f}",
        "ECE fp32": f"{view.ece_before:.4f}",
        "ECE int8": f"{view.ece_after:.4f}",
        "refused for": view.refused_for(allowed),
    }


def judge(name: str, options: argparse.Namespace) -> None:
    """All figures of one package."""
    model = Model.load(find(name))
    scan = load_labelled(options.data, None, options.manifest)
    fit, held = int8.divided(scan, model.package)
    held = held[:: max(1, -(-len(held) // options.held))]
    record: dict[str, Any] = {"package": name, "sha256": model.package.sha256}
    if options.methods:
        record["divergence"] = methods_compared(model, scan, fit, options.images)
        rows = {key: {"divergence, nats": f"{x:.4f}"} for key, x in record["divergence"].items()}
        _table(f"{name}: answers against fp32 on training images", rows)
    record["gate"] = {}
    accepted = None
    for label, (wanted, tune) in candidates(options).items():
        made = int8.quantised(model, scan, fit, wanted, LOOKS, tune)
        judged = Model(made.package, made.graph)
        gate, before, after = gate_of(
            model, judged, scan, held, turns=TURNS, looks=LOOKS, draws=options.draws
        )
        record["gate"][label] = {**made.record, **gate.to_dict()}
        rows = {view.name: _row(view, gate.allowed) for view in gate.views}
        verdict = "accepted" if gate.accepted else "refused"
        _table(f"{name}, {label}: {verdict}", rows)
        (options.out / f"{name}-{label.replace(' ', '-')}.onnx").write_bytes(made.graph)
        _write(options.out / f"{Path(name).name}.json", record)
        if gate.accepted and accepted is None:
            accepted = options.out / Path(name).name
            int8.write_beside(accepted, model.package, made, gate, before, after)
            CONSOLE.print(f"written: {accepted}")
    if accepted:
        _measured(accepted, scan, record, options)
    else:  # a refused graph is measured all the same
        with tempfile.TemporaryDirectory() as folder:
            refused = Path(folder) / "refused"
            int8.write_beside(refused, model.package, made, gate, before, after)
            _measured(refused, scan, record, options)
    last = made.graph
    if options.emulate:
        seven = int8.quantised(model, scan, fit, int8.Wanted("minmax", options.images, 7), LOOKS)
        _, whole = int8.read_package(model.package.folder)
        graphs = {"fp32": whole, "7-bits": seven.graph, "8-bits": last}
        images = np.concatenate([batch.images for batch in int8.batches(model, scan, held[:16])])
        record["emulated"] = emulated(options.emulate, model, graphs, images)
        rows = {key: {"largest difference of a logit": x} for key, x in record["emulated"].items()}
        _table(f"{name}: {options.emulate}, against this CPU, 16 images", rows)
    _write(options.out / f"{Path(name).name}.json", record)


def _measured(
    folder: Path, scan: Scan, record: dict[str, Any], options: argparse.Namespace
) -> None:
    """Differences and rates of a package with an int8 graph, on each runtime that is here."""
    devices = installed_runtimes()
    name = record["package"]
    if options.crops:
        step = max(1, len(scan.samples) // options.crops)
        crops = list(scan.samples[::step][: options.crops])
        record["crops"] = differences(folder, scan, crops, devices)
        _table(f"{name}: {len(crops):,} crops against cpu", record["crops"])
    record["rates"] = rates(folder, devices, options.rounds)
    rows = {
        device: {key: f"{statistics.median(x):,.2f} ({min(x):,.2f} to {max(x):,.2f})"
                 for key, x in told.items()}
        for device, told in record["rates"].items()
    }  # fmt: skip
    _table(f"{name}: bare network, in turns; load {os.getloadavg()[0]:.1f}", rows)


def _write(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("packages", nargs="+")
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("bench-out/precision"))
    parser.add_argument("--images", type=int, default=512, help="To take ranges from.")
    parser.add_argument("--weight-bits", type=int, default=8)
    parser.add_argument("--methods", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--plain", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--float-layers", type=int, default=6)
    parser.add_argument("--finetune", type=float, default=1.0, metavar="EPOCHS",
                        help="0 corrects the biases alone; -1 leaves it out.")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--held", type=int, default=100_000, help="Most held-out images.")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--crops", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--emulate", default="", metavar="COMMAND")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.packages:
        judge(name, options)


if __name__ == "__main__":
    main()
