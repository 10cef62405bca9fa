"""Reads ``run.json`` of a finished run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.results.run_folder import JOURNAL, PREDICTIONS, SUMMARIES


def read_run(run: Path) -> dict[str, Any]:
    """The content of ``run.json``. Raises SettingError if the run is not finished."""
    path = run / "run.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingError(
            f"{run} holds no finished run (no run.json); finish it: pi10 classify … --resume"
        ) from None
    except (OSError, ValueError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from error
    return record


def classes_of(run: Path, model_sha256: str = "") -> tuple[str, ...]:
    """The model's classes. Raises SettingError if the run used another model than given."""
    model = read_run(run)["model"]
    if model_sha256 and model["sha256"] != model_sha256:
        raise SettingError(
            f"the sample in {run} was drawn from results of another model, or of another graph of "
            f"it (fp32, int8); draw it again: pi10 validate draw {run}"
        )
    return tuple(model["classes"])


def refuse_own_files(run: Path, out: Path) -> None:
    """Raises SettingError where writing ``out`` would destroy what the run read or wrote."""
    target = out.resolve()
    for name in (*SUMMARIES, PREDICTIONS, JOURNAL, "validation"):
        own = (run / name).resolve()
        if target == own or own in target.parents or target == run.resolve():
            raise SettingError(f"--out is {out}, which is of the run itself; choose another place")
    if not out.exists():
        return
    for source in read_run(run).get("parameters", {}).get("inputs", []):
        if "://" in source:
            continue
        path = Path(source).resolve()
        if target == path or path in target.parents:
            raise SettingError(
                f"--out is {out}, which {run} was classified from; it is never replaced: choose "
                "another place"
            )
