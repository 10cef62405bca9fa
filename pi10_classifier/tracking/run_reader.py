"""Reads the test predictions of finished trainings from folders or MLflow."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.test_predictions import PREDICTIONS, Predictions, read_predictions
from pi10_classifier.foundation.extras import install_command


def read_runs(places: Sequence[str]) -> list[Predictions]:
    """Read runs from folders (searched for ``test_predictions.csv``), files, or ``runs:/RUN_ID``.

    ``runs:/RUN_ID`` is fetched from MLflow (MLFLOW_TRACKING_URI), with the runs nested in it.
    Raises SettingError if a place holds no run.
    """
    runs = []
    for place in places:
        if place.startswith("runs:/"):
            runs += _fetch(place.removeprefix("runs:/").strip("/"))
            continue
        path = Path(place)
        files = sorted(path.rglob(PREDICTIONS)) if path.is_dir() else [path]
        # copies in a spool are not additional runs
        files = [file for file in files if "tracking-spool" not in file.parts]
        if not files:
            raise SettingError(f"{path} holds no {PREDICTIONS}; name folders of tested trainings")
        runs += [read_predictions(file) for file in files]
    return runs


def differing_settings(places: Sequence[str]) -> list[str]:
    """Notes on settings, other than the seed, in which local trainings of one row differ.

    ``compare`` treats trainings with the same network and loss as seeds of one row. If they also
    differ in weights, data or rate, their spread is not only that of the seed.
    """
    rows: dict[str, dict[str, set[str]]] = {}
    for place in places:
        path = Path(place)
        for file in sorted(path.rglob(PREDICTIONS)) if path.is_dir() else ():
            try:
                identity = json.loads(file.with_name("config.json").read_text("utf-8"))["identity"]
                settings = dict(_flat(identity))
            except (OSError, ValueError, LookupError, AttributeError):
                continue  # a training that was tested elsewhere has no settings here
            values = rows.setdefault(read_predictions(file).row, {})
            for name, value in settings.items():
                if name != "recipe.seed":
                    values.setdefault(name, set()).add(value)
    notes = []
    for row, values in rows.items():
        differing = [
            f"{name} ({', '.join(sorted(value[:60] for value in seen))})"
            for name, seen in sorted(values.items())
            if len(seen) > 1
        ]
        if differing:
            notes.append(
                f"{row}: its trainings differ in more than the seed: {'; '.join(differing)}; "
                "compare them one by one"
            )
    return notes


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Each setting by its dotted name, as JSON."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value, sort_keys=True)


def _fetch(run_id: str) -> list[Predictions]:
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise SettingError(f"runs:/ needs mlflow ({error}); {install_command('train')}") from error
    import os

    from pi10_classifier.foundation.redaction import scrub, secrets_of
    from pi10_classifier.tracking.sync import destination

    client = MlflowClient(destination(os.environ))
    runs = []
    try:
        run = client.get_run(run_id)
        nested = client.search_runs(
            [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'"
        )
        for each in (run, *nested):
            listed = client.list_artifacts(each.info.run_id)
            if PREDICTIONS in {item.path for item in listed}:
                with tempfile.TemporaryDirectory() as folder:
                    client.download_artifacts(each.info.run_id, PREDICTIONS, folder)
                    runs.append(read_predictions(Path(folder)))
    except MlflowException as error:
        reason = scrub(str(error).splitlines()[0], secrets_of(os.environ))
        raise SettingError(f"runs:/{run_id}: {reason}") from error
    if not runs:
        raise SettingError(f"runs:/{run_id} and its nested runs have no artifact {PREDICTIONS}")
    return runs
