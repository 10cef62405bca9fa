"""The output folder of one training: its settings, its epochs, and whether it is complete."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.foundation.files import write_atomically

CONFIG, METRICS, MANIFEST, LEFT_OUT = "config.json", "metrics.csv", "manifest.csv", "left_out.csv"
CHECKPOINT, PACKAGE, RESUME = "checkpoint", "package", "resume"
VALIDATION = "validation.json"
# of a pretraining
PARTICLES, LEARNER = "particles.csv", "learner"
# files of a search; its trainings are in folders below it
TRIALS_TABLE, BEST_TRIAL = "trials.csv", "best.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create the folder and lock it against other trainings."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise SettingError(
            f"another training is writing to {folder}; wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise output_error(error, folder) from error
    try:
        yield
    finally:
        lock.release()


def reached(folder: Path) -> bool:
    """Whether a training has an epoch or a checkpoint that is worth keeping."""
    return (folder / METRICS).is_file() or any((folder / RESUME).glob("checkpoint-*"))


def begin(folder: Path, config: Mapping[str, Any], resume: bool) -> None:
    """Store a new training's settings, or check them against those of an existing one.

    A training that failed before its first epoch is replaced. Raises SettingError with the
    settings that differ, or if there is a training and ``resume`` is false.
    """
    path = folder / CONFIG
    if path.is_file() and reached(folder):
        if not resume:
            raise SettingError(
                f"{folder} holds a training; continue with --resume, or choose another --out"
            )
        before = read_config(folder)
        as_stored = json.loads(json.dumps(config))
        for name in _differences(before["identity"], as_stored["identity"]):
            raise SettingError(
                f"{folder} was started with another {name}; continue with the same one, or"
                " choose another --out"
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, folder) from error
    text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode("utf-8"))


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json``; raises SettingError if it is damaged."""
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        if isinstance(config, dict) and isinstance(config.get("identity"), dict):
            return config
        problem = "its settings are missing"
    except (OSError, ValueError) as error:
        problem = str(error)
    raise SettingError(f"{folder / CONFIG} cannot be read ({problem}); choose another --out")


def write_metrics(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``metrics.csv``: one line per epoch."""
    stream = io.StringIO()
    columns = list(dict.fromkeys(name for record in history for name in record))
    rows = csv.DictWriter(stream, columns, lineterminator="\n")
    rows.writeheader()
    rows.writerows(history)
    write_atomically(folder / METRICS, stream.getvalue().encode("utf-8"))


def add_metrics(folder: Path, record: Mapping[str, Any]) -> None:
    """Add an epoch to ``metrics.csv``; replaces a row that a killed training wrote for it."""
    before: list[Mapping[str, Any]] = []
    if (folder / METRICS).is_file():
        rows = csv.DictReader(io.StringIO((folder / METRICS).read_text("utf-8")))
        before = [row for row in rows if int(row["epoch"] or 0) < record["epoch"]]
    write_metrics(folder, [*before, record])


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Read ``metrics.csv``, one record per epoch; raises SettingError if it is damaged."""
    path = folder / METRICS
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
        return [{name: float(v) for name, v in row.items() if name and v} for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise SettingError(f"{path} cannot be read ({error}); train again") from error


def best_validation(folder: Path) -> float:
    """The highest validation macro-F1 in ``metrics.csv``, which the stored weights have."""
    scores = [row["validation_macro_f1"] for row in read_metrics(folder)]
    if not scores:
        raise SettingError(f"{folder / METRICS} holds no epoch; train again")
    return max(scores)


def write_validation(folder: Path) -> None:
    """Write ``validation.json``: the result of a training without a test."""
    text = json.dumps({"macro_f1": best_validation(folder)}) + "\n"
    write_atomically(folder / VALIDATION, text.encode("utf-8"))


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> list[str]:
    """Names whose values differ, e.g. ``recipe.rate (0.1, now 0.2)``."""
    names: list[str] = []
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            names += _differences(old, new, f"{above}{name}.")
        elif old != new:
            names.append(f"{above}{name} ({old}, now {new})")
    return names
