"""Exports a checkpoint to a model package: ONNX graph, parity gate, description, card."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from pi10_classifier.errors import ModelError, SettingError, output_error
from pi10_classifier.evaluation.metrics import softmax
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.imaging.preprocess import Preprocessing
from pi10_classifier.model.card import card
from pi10_classifier.model.groups import FIELD as GROUPS
from pi10_classifier.model.groups import Groups
from pi10_classifier.model.measured import FIELD as MEASURED
from pi10_classifier.model.measured import INPUT, Measured
from pi10_classifier.model.onnx_metadata import with_metadata
from pi10_classifier.model.package import MADE_OF, format_of
from pi10_classifier.training.checkpoint import load_checkpoint
from pi10_classifier.training.loop.loop import predict
from pi10_classifier.training.networks.grouped import GroupedNetwork
from pi10_classifier.training.networks.measured import (
    Standard,
    taking_numbers,
    with_numbers,
)
from pi10_classifier.training.networks.registry import Logits, build

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

MODEL, DESCRIPTION, CARD = "model.onnx", "model.json", "README.md"
PARITY_IMAGES, PARITY_NUMBERS = "parity.npy", "parity_measured.npy"
FEATURES = "features"  # output with those of the image, where there are measured numbers too
TOLERANCE = 1e-4
OPSET = 17
NEVER_SEEN = "Labelled Pi-10 images: neither trained on, nor selected by, nor tested on."


def export_package(checkpoint_dir: Path, out_dir: Path, images: U8 | None = None) -> Path:
    """Turn a checkpoint folder into the model package ``out_dir``; return its path.

    images: prepared images (N, C, S, S) uint8 for the parity gate; by default those in the
    checkpoint's ``parity.npy`` (validation images).
    Raises ModelError if the checkpoint is unusable, or if ONNX Runtime and torch differ by more
    than 1e-4 in a probability. In these cases nothing is written.
    """
    state, fields = load_checkpoint(checkpoint_dir)
    try:
        spec = Preprocessing.from_dict(fields["preprocessing"])
        groups = Groups.from_dict(fields.get(GROUPS), fields["classes"])
        network: nn.Module = build(
            fields["architecture"],
            len(groups.names if groups else fields["classes"]),
            size=spec.size,
            channels=spec.channels,
            init="random",
            head=fields.get("head", "linear"),
        )
        measured = Measured.from_dict(fields.get(MEASURED))
        if measured:
            standard = Standard.unknown(measured.names)
            network = with_numbers(network, standard, spec.channels, spec.size)
        network.load_state_dict(state)
        if groups:
            network = GroupedNetwork(network, groups)
        temperature = float(fields["temperature"])
        if missing := {"name", "version"} - fields.keys():
            raise KeyError(*missing)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{checkpoint_dir}: weights and description disagree: {error}") from error
    numbers: F32 | None = None
    if images is None:
        images = np.asarray(_parity(checkpoint_dir / PARITY_IMAGES), np.uint8)
        if measured:
            numbers = np.asarray(_parity(checkpoint_dir / PARITY_NUMBERS), np.float32)
    if images.ndim != 4 or images.shape[1:] != (spec.channels, spec.size, spec.size):
        raise ModelError(
            f"parity images have shape {images.shape}, not (N, {spec.channels}, {spec.size},"
            f" {spec.size})"
        )
    if out_dir.is_dir() and any(out_dir.iterdir()) and not (out_dir / DESCRIPTION).is_file():
        raise SettingError(f"{out_dir} holds files but no model package; name another folder")
    beside = out_dir / (MODEL + ".part")
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        try:
            write_onnx(network, spec, beside)
            gap = check_parity(network, beside, images, temperature, numbers)
            beside.replace(out_dir / MODEL)
        finally:
            beside.unlink(missing_ok=True)
        parity = {
            "images": len(images),
            "largest_difference": float(f"{gap:.2e}"),
            "allowed": TOLERANCE,
        }
        describe(out_dir, {**fields, "parity": parity})
    except OSError as error:
        raise output_error(error, out_dir) from error
    return out_dir


def _parity(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: there are no images for the parity gate ({error}); give some"
        ) from error


def write_onnx(network: nn.Module, spec: Preprocessing, path: Path) -> None:
    """Write the graph: ``image`` uint8 (N, C, S, S) -> ``logits`` float32 (N, K).

    A grouped network has a second output with the groups' logits, float32 (N, G). One that takes
    measured numbers has a second input for them, float32 (N, M), and the output ``features``.
    """
    inputs, outputs = ["image"], ["logits"]
    example = [torch.zeros(2, spec.channels, spec.size, spec.size, dtype=torch.uint8)]
    if isinstance(network, GroupedNetwork):
        outputs.append(network.table.output)
    if taking := taking_numbers(network):
        inputs.append(INPUT)
        outputs.append(FEATURES)
        example.append(torch.zeros(2, len(taking.names)))
    network = Logits(network, features=taking is not None).eval()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but its successor needs onnxscript as well.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Uneven padding (EfficientNet) gives a warning about a reversed slice, which is harmless.
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            network,
            tuple(example),
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "N"} for name in (*inputs, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )


def open_session(path: Path, threads: int = 1) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU with ``threads`` threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no other common base
        raise ModelError(f"{path} does not load in ONNX Runtime: {error}") from error


def run_session(
    session: ort.InferenceSession,
    images: U8,
    batch: int = 64,
    output: str = "logits",
    measured: F32 | None = None,
) -> F32:
    """Prepared images (N, C, S, S) uint8 -> logits (N, K) float32, or another output."""
    given: dict[str, NDArray[Any]] = {"image": images}
    if measured is not None:
        given[INPUT] = measured
    parts = [
        session.run([output], {name: value[i : i + batch] for name, value in given.items()})[0]
        for i in range(0, len(images), batch)
    ]
    return np.concatenate(parts)


def check_parity(
    network: nn.Module,
    path: Path,
    images: U8,
    temperature: float = 1.0,
    measured: F32 | None = None,
) -> float:
    """Largest absolute difference of a probability between torch and ONNX Runtime.

    Of classes and, for a grouped network, of groups. measured: numbers (N, M) of a network that
    takes them, which it is judged with and without; None for the latter alone. Raises ModelError
    with the difference if it exceeds 1e-4 or is not a number.
    """
    if not len(images):
        raise ModelError("the parity gate needs at least one image")
    session, gap = open_session(path), 0.0
    fields = {"logits": "logits"}
    if isinstance(network, GroupedNetwork):
        fields["groups"] = network.table.output
    given: list[F32 | None] = [None]
    if taking := taking_numbers(network):
        lacking = np.full((len(images), len(taking.names)), np.nan, np.float32)
        given = [lacking] if measured is None else [lacking, measured]
    for numbers in given:
        for field, output in fields.items():
            logits = run_session(session, images, output=output, measured=numbers)
            ours = softmax(predict(network, images, numbers, output=field), temperature)
            # the maximum keeps what is not a number
            gap = float(np.maximum(gap, np.abs(softmax(logits, temperature) - ours).max()))
    if not gap <= TOLERANCE:
        raise ModelError(
            f"ONNX Runtime and torch differ by {gap:.2e} in a probability over {len(images)}"
            f" images (allowed: {TOLERANCE:.0e}); the package was not written"
        )
    return gap


def describe(package: Path, fields: dict[str, Any]) -> None:
    """Write ``model.json`` and ``README.md`` beside an existing ``model.onnx``, and into that too.

    ``fields`` is a checkpoint's description.
    """
    blob = with_metadata((package / MODEL).read_bytes(), fields)
    write_atomically(package / MODEL, blob)
    spec, measured = Preprocessing.from_dict(fields["preprocessing"]), fields.get(MEASURED)
    description = {
        "format": format_of(spec, Measured.from_dict(measured)),
        "name": fields["name"],
        "version": fields["version"],
        "classes": fields["classes"],
        "preprocessing": fields["preprocessing"],
        "input": {"name": "image", "dtype": "uint8", "layout": "NCHW"},
        "output": {"name": "logits", "activation": "softmax"},
        "temperature": fields["temperature"],
        "thresholds": fields.get("thresholds", {}),
        "training": fields.get("training", {}),
        "metrics": fields.get("metrics", {}),
        "never_seen": fields.get("never_seen", NEVER_SEEN),
        **({GROUPS: fields[GROUPS]} if fields.get(GROUPS) else {}),
        **({MEASURED: measured, "features": {"name": FEATURES}} if measured else {}),
        **({"licence": fields["licence"]} if fields.get("licence") else {}),
        **({"parity": fields["parity"]} if "parity" in fields else {}),
        **({MADE_OF: fields[MADE_OF]} if fields.get(MADE_OF) else {}),
        **({"limits": fields["limits"]} if "limits" in fields else {}),
        "files": {MODEL: {"sha256": hashlib.sha256(blob).hexdigest(), "bytes": len(blob)}},
    }
    write_atomically(package / CARD, card(description).encode())
    text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    write_atomically(package / DESCRIPTION, text.encode())
