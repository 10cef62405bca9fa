"""Reads a training's progress and result from the files that it writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.redaction import redacted
from pi10_classifier.tracking.spool import SPOOL, runs_of
from pi10_classifier.training import output_folder


def progress_of(out: Path) -> dict[str, Any]:
    """The progress of each seed (epochs done, epochs in all, history), and the MLflow run."""
    return {"seeds": [_seed(path) for path in _seeds(out)], "mlflow": mlflow_run(out)}


def _seeds(out: Path) -> list[Path]:
    return sorted(path.parent for path in out.glob(f"seed-*/{output_folder.CONFIG}"))


def _seed(folder: Path) -> dict[str, Any]:
    fields: dict[str, Any] = {"seed": folder.name.removeprefix("seed-"), "epochs_done": 0}
    try:
        recipe = output_folder.read_config(folder)["identity"]["recipe"]
        fields |= {"epochs": recipe["epochs"], "loss": recipe["loss"]}
        if (folder / output_folder.METRICS).is_file():
            history = output_folder.read_metrics(folder)
            best = output_folder.best_validation(folder)
            fields |= {"epochs_done": len(history), "validation_macro_f1": best, "history": history}
    except (SettingError, KeyError, TypeError) as error:  # the file is just being written
        fields["note"] = str(error)
    return fields


def mlflow_run(out: Path) -> dict[str, Any] | None:
    """The training's MLflow run: experiment, name, destination, and id once MLflow gave one."""
    try:
        runs = [run for run in runs_of(out / SPOOL) if not run.header.parent]
    except SettingError:  # the header is just being written
        return None
    if not runs:
        return None
    run = runs[-1]
    sent = run.sent
    return {
        "experiment": run.header.experiment,
        "run_name": run.header.name,
        "run_id": sent.run_id,
        "tracking_uri": redacted(sent.destination or run.header.destination),
        "status": sent.status,
        "waiting_to_be_sent": run.pending,
    }


def result_of(out: Path) -> dict[str, Any]:
    """The package of the seed with the best validation score, and its test metrics."""
    done = [p for p in _seeds(out) if (p / output_folder.PACKAGE / "model.json").is_file()]
    if not done:
        return {}
    best = max(done, key=output_folder.best_validation)
    described = json.loads((best / output_folder.PACKAGE / "model.json").read_text("utf-8"))
    files: Mapping[str, Any] = described.get("files", {})
    return {
        "package": f"{best.name}/{output_folder.PACKAGE}",
        "sha256": files.get("model.onnx", {}).get("sha256", ""),
        "classes": described.get("classes", []),
        "test": described.get("metrics", {}),
    }
