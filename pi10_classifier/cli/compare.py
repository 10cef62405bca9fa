"""``pi10 compare``."""

from __future__ import annotations

import json
from pathlib import Path

import click


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
    from pi10_classifier.evaluation.comparison import compare as tabulate
    from pi10_classifier.foundation.files import write_atomically
    from pi10_classifier.tracking.run_reader import read_runs

    table = tabulate(read_runs(runs), against, resamples)
    if table_file is not None:
        write_atomically(table_file, table.to_csv().encode("utf-8"))
    click.echo(json.dumps(table.to_json(), indent=2) if as_json else table.to_text(), nl=as_json)
