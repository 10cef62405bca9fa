"""What ``run.json`` tells of a finished run, for those who read it later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError


def read_run(run: Path) -> dict[str, Any]:
    """``run.json``. Raises SettingError where the run is not finished."""
    path = run / "run.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingError(
            f"{run} holds no finished run (no run.json); finish it: pi10 classify … --resume"
        ) from None
    except (OSError, ValueError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from error
    return found


def classes_of(run: Path, model_sha256: str = "") -> tuple[str, ...]:
    """The model's classes. Raises SettingError where the run is of another model than given."""
    model = read_run(run)["model"]
    if model_sha256 and model["sha256"] != model_sha256:
        raise SettingError(
            f"the sample in {run} was drawn from results of another model; draw it again: "
            f"pi10 validate draw {run}"
        )
    return tuple(model["classes"])
