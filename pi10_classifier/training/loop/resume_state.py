"""Publishes and reads a training's checkpoints, with the state that Trainer does not store.

Trainer writes to ``.partial``. A finished checkpoint is renamed out of it, and only then is the
previous one deleted, so a checkpoint is always complete. Trainer reads its optimiser and random
states with ``weights_only=True`` (transformers 5); the weights are safetensors.
"""

from __future__ import annotations

import contextlib
import errno
import json
import pickle  # only for the exception that torch raises  # nosec B403
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pi10_classifier.errors import Code, OutputError, SettingError, output_error
from pi10_classifier.training.checkpoint import save_weights

PARTIAL, STATE, AVERAGE = ".partial", "pi10.json", "average.safetensors"


@dataclass(slots=True)
class Reached:
    """The progress of a training; the sums are of the current epoch."""

    identity: str
    history: list[dict[str, Any]] = field(default_factory=list)
    total: float = 0.0
    seen: int = 0
    waited: float = 0.0
    epoch_seconds: float = 0.0
    seconds: float = 0.0


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a training folder."""
    checkpoints = [
        (int(path.name.rpartition("-")[2]), path)
        for path in folder.glob("checkpoint-*")
        if (path / STATE).is_file() and path.name.rpartition("-")[2].isdigit()
    ]
    return max(checkpoints)[1] if checkpoints else None


def publish(folder: Path, step: int, reached: Reached, average: nn.Module | None) -> None:
    """Complete the checkpoint that Trainer has written, and rename it into ``folder``."""
    partial = folder / PARTIAL / f"checkpoint-{step}"
    if average is not None:
        save_weights(average, partial / AVERAGE)
    (partial / STATE).write_text(json.dumps(asdict(reached)), "utf-8")
    final = folder / partial.name
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
    for other in folder.glob("checkpoint-*"):
        if other != final:
            shutil.rmtree(other, ignore_errors=True)


def recall(checkpoint: Path, identity: str, average: nn.Module | None) -> Reached:
    """Read what ``publish`` stored; raises SettingError if it is of another training."""
    try:
        reached = Reached(**json.loads((checkpoint / STATE).read_text("utf-8")))
        if reached.identity != identity:
            raise SettingError(
                f"{checkpoint.parent} holds a training with another recipe, network or data;"
                " continue with the same ones, or give another folder"
            )
        if average is not None:
            average.load_state_dict(load_file(checkpoint / AVERAGE))
    except (OSError, ValueError, TypeError, SafetensorError, RuntimeError) as error:
        raise SettingError(
            f"{checkpoint} cannot be read ({error}); delete it and start again"
        ) from error
    return reached


def clear(folder: Path) -> None:
    """Remove the incomplete files of a killed or failed training."""
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)


@contextlib.contextmanager
def writing(folder: Path, under_way: Callable[[], bool]) -> Iterator[None]:
    """Turn the errors of a full or failing disk into OutputError while writing.

    torch and safetensors wrap the system's error in their own exceptions, with its text.
    ``under_way()`` says whether an error may come from writing.
    """
    try:
        yield
    except OSError as error:
        if not under_way():
            raise
        raise output_error(error, folder) from error
    except (RuntimeError, SafetensorError) as error:
        if not under_way():
            raise
        full = f"os error {errno.ENOSPC}" in str(error) or shutil.disk_usage(folder).free < 2**20
        if full:
            raise output_error(OSError(errno.ENOSPC, ""), folder) from error
        raise OutputError(
            Code.STORAGE_UNAVAILABLE,
            f"cannot write a checkpoint in {folder}: {str(error)[:200]}; check the disk",
        ) from error


@contextlib.contextmanager
def reading(folder: Path, under_way: Callable[[], bool]) -> Iterator[None]:
    """Turn the errors of a damaged or foreign checkpoint into SettingError.

    Nothing is unpickled: torch refuses whatever is not a tensor or a number.
    """
    try:
        yield
    except (pickle.UnpicklingError, OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        if not under_way():
            raise
        raise SettingError(
            f"the checkpoint in {folder} cannot be read ({str(error).strip()[:120]}); delete"
            " it and start again"
        ) from error
