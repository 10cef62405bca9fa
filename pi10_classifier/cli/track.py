"""The command ``pi10 track``: the MLflow runs of trainings."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pi10_classifier.errors import ExitCode


@click.group()
def track() -> None:
    """Manage the MLflow runs of trainings.

    Trainings record their runs at MLFLOW_TRACKING_URI or, if it is not set, in mlflow.db in the
    working folder. `mlflow ui` shows that file.
    """


@track.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--json", "as_json", is_flag=True, help="Print what was sent as JSON instead of text."
)
def sync(folder: Path, as_json: bool) -> None:
    """Send MLflow what it has not received yet from the trainings under FOLDER.

    It can be run at any time and repeated; nothing is sent twice. The exit code is 3 if
    something could not be sent.

    \b
    Example, after the server was away:
      pi10 track sync training-out
    """
    from pi10_classifier.tracking.sync import sync as send

    runs = send(folder)
    if as_json:
        click.echo(json.dumps([asdict(run) for run in runs], indent=2))
    for run in runs if not as_json else ():
        state = f"{run.pending} entries not sent: {run.problem}" if run.pending else "complete"
        click.echo(f"{run.experiment} / {run.name}: {run.sent} sent, {state}")
        click.echo(f"    {run.status or 'unknown'}, run {run.run_id or '-'} in {run.destination}")
        for reason in run.refused:
            click.echo(f"    refused by MLflow: {reason}")
    wrong = any(run.pending or run.refused for run in runs)
    sys.exit(ExitCode.SOME_FAILED if wrong else ExitCode.OK)
