"""Writes and reads checkpoint folders: ``model.safetensors`` and ``checkpoint.json``, no pickle.

The JSON is renamed into place last and holds the weights' SHA-256, so that an interruption between
the two files is noticed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pi10_classifier.errors import ModelError, output_error
from pi10_classifier.foundation.files import write_atomically

WEIGHTS, DESCRIPTION = "model.safetensors", "checkpoint.json"


def save_checkpoint(folder: Path, network: nn.Module, description: dict[str, Any]) -> None:
    """Write weights and description, each to a temporary file that is then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / (WEIGHTS + ".part")
    try:
        save_weights(network, beside)
        digest = hashlib.sha256(beside.read_bytes()).hexdigest()
        beside.replace(folder / WEIGHTS)
        write_description(folder, {**description, "weights_sha256": digest})
    except OSError as error:
        raise output_error(error, folder) from error


def save_weights(network: nn.Module, path: Path) -> None:
    """Write safetensors with the permissions of a new file; raises OSError or SafetensorError."""
    path.touch()
    mode = path.stat().st_mode
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    path.chmod(mode)  # safetensors makes a new file that only its owner may read


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Replace ``checkpoint.json`` atomically."""
    write_atomically(folder / DESCRIPTION, (json.dumps(description, indent=1) + "\n").encode())


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and description of a checkpoint folder; pickles are never read.

    Raises ModelError if a file is missing or damaged, or if they do not belong together.
    """
    weights, description = folder / WEIGHTS, folder / DESCRIPTION
    for path in (weights, description):
        if not path.is_file():
            raise ModelError(f"{path} is missing; a checkpoint holds {WEIGHTS} and {DESCRIPTION}")
    try:
        fields = json.loads(description.read_text(encoding="utf-8"))
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        known = fields["weights_sha256"] == digest
        state = load_file(weights) if known else {}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{folder} is not a readable checkpoint: {error}") from error
    if not known:
        raise ModelError(f"{weights} is not the file that {DESCRIPTION} describes; train again")
    return state, fields
