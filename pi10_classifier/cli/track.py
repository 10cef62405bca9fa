"""``pi10 track``: runs of trainings and what MLflow has of them."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pi10_classifier.errors import ExitCode


@click.group()
def track() -> None:
    """See to the runs of trainings in MLflow.

    Trainings write to MLFLOW_TRACKING_URI; without it to mlflow.db in the working folder,
    which `mlflow ui` shows.
    """


@track.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was sent as JSON.")
def sync(folder: Path, as_json: bool) -> None:
    """Send what MLflow has not taken yet of the trainings under FOLDER.

    May be run at any time and again: nothing is sent twice. Exit code 3 where something
    could not be sent.

    \b
    Example, after the server was away:
      pi10 track sync training-out
    """
    from pi10_classifier.tracking.sync import sync as send

    runs = send(folder)
    if as_json:
        click.echo(json.dumps([asdict(run) for run in runs], indent=2))
    for run in runs if not as_json else ():
        state = f"{run.pending} entries wait: {run.problem}" if run.pending else "complete"
        click.echo(f"{run.experiment} / {run.name}: {run.sent} sent, {state}")
        click.echo(f"    {run.status or 'unknown'}, run {run.run_id or '-'} in {run.destination}")
        for reason in run.refused:
            click.echo(f"    refused by MLflow: {reason}")
    wrong = any(run.pending or run.refused for run in runs)
    sys.exit(ExitCode.SOME_FAILED if wrong else ExitCode.OK)
