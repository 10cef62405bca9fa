"""The command ``pi10 compare``: a table of tested trainings."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--against",
    default="",
    metavar="ROW",
    help='Row to test the others against, e.g. "vit las".  [default: the best row]',
)
@click.option("--resamples", type=click.IntRange(100, 100_000), default=2000, show_default=True,
              help="Number of bootstrap resamples.")  # fmt: skip
@click.option("--csv", "table_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Also write the table to this CSV file.  [default: none]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON instead of text.")
def compare(runs: tuple[str, ...], against: str, resamples: int, table_file: Path | None,
            as_json: bool) -> None:  # fmt: skip
    """Compare tested trainings: macro-F1 and F1 per class for each network and loss.

    RUN is a folder that is searched for test_predictions.csv, such a file, or runs:/RUN_ID for
    an MLflow run and the runs nested in it. Runs with the same network and loss form one row;
    they are its seeds.

    Figures are means over seeds, with 95 % bootstrap intervals over images and seeds. Each row
    is tested against the best one with a paired bootstrap and Holm's correction.

    \b
    Example:
      pi10 compare training-out/vit-las training-out/vit-st_ce --csv table.csv
    """
    from pi10_classifier.evaluation.comparison import compare as tabulate
    from pi10_classifier.foundation.files import write_atomically
    from pi10_classifier.tracking.run_reader import differing_settings, read_runs

    for note in differing_settings(runs):
        click.echo(f"note: {note}", err=True)
    table = tabulate(read_runs(runs), against, resamples)
    if table_file is not None:
        write_atomically(table_file, table.to_csv().encode("utf-8"))
    click.echo(json.dumps(table.to_json(), indent=2) if as_json else table.to_text(), nl=as_json)
