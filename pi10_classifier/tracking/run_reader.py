"""Test predictions of finished trainings, read from folders or MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.test_predictions import PREDICTIONS, Predictions, read_predictions


def read_runs(places: Sequence[str]) -> list[Predictions]:
    """Read runs from folders (searched for ``test_predictions.csv``), files, or ``runs:/RUN_ID``.

    ``runs:/RUN_ID`` is fetched from MLflow (MLFLOW_TRACKING_URI), with the runs nested in it.
    Raises SettingError where a place holds none.
    """
    runs = []
    for place in places:
        if place.startswith("runs:/"):
            runs += _fetch(place.removeprefix("runs:/").strip("/"))
            continue
        path = Path(place)
        files = sorted(path.rglob(PREDICTIONS)) if path.is_dir() else [path]
        # copies that wait in a spool are not further runs
        files = [file for file in files if "tracking-spool" not in file.parts]
        if not files:
            raise SettingError(f"{path} holds no {PREDICTIONS}; name folders of tested trainings")
        runs += [read_predictions(file) for file in files]
    return runs


def _fetch(run_id: str) -> list[Predictions]:
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise SettingError(
            f'runs:/ needs mlflow ({error}); pip install "pi10-classifier[train]"'
        ) from error
    import os

    from pi10_classifier.foundation.redaction import scrub, secrets_of
    from pi10_classifier.tracking.sync import destination

    client = MlflowClient(destination(os.environ))
    found = []
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
                    found.append(read_predictions(Path(folder)))
    except MlflowException as error:
        reason = scrub(str(error).splitlines()[0], secrets_of(os.environ))
        raise SettingError(f"runs:/{run_id}: {reason}") from error
    if not found:
        raise SettingError(f"runs:/{run_id} and its nested runs have no artifact {PREDICTIONS}")
    return found
