"""The commands ``pi10 track sync`` and ``pi10 compare``. Faces: they parse, call and print."""

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
    from pi10_classifier.training.sync import sync as send

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


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--against", default="", metavar="ROW",
              help='The row to test against, e.g. "vit las".  [default: the best]')  # fmt: skip
@click.option("--resamples", type=click.IntRange(100, 100_000), default=2000, show_default=True,
              help="Bootstrap resamples.")  # fmt: skip
@click.option("--csv", "table_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the table to this file too.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def compare(runs: tuple[str, ...], against: str, resamples: int, table_file: Path | None,
            as_json: bool) -> None:  # fmt: skip
    """Print the table of tested RUNs: macro-F1 and F1 per class, a row per network and loss.

    RUN is a folder (searched for test_predictions.csv), such a file, or runs:/RUN_ID of
    MLflow with the runs nested in it. Runs of one network and loss are seeds of one row.

    Figures are means over seeds with 95 % bootstrap intervals over images and seeds; rows
    are tested against the best by a paired bootstrap, Holm-adjusted.

    \b
    Example:
      pi10 compare training-out/vit-las training-out/vit-st_ce --csv table.csv
    """
    from pi10_classifier.results import write_atomically
    from pi10_classifier.training.compare import compare as tabulate
    from pi10_classifier.training.compare import read_runs

    table = tabulate(read_runs(runs), against, resamples)
    if table_file is not None:
        write_atomically(table_file, table.to_csv().encode("utf-8"))
    click.echo(json.dumps(table.to_json(), indent=2) if as_json else table.to_text(), nl=as_json)
