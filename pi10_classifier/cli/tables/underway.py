"""``pi10 underway``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--limit",
    "--underway-limit",
    "limit",
    type=float,
    default=60.0,
    show_default=True,
    help="Seconds that a reading may lie from the middle of its minute.",
)
@click.option("--time", "time", default="", help="Column of times.  [default: found by its name]")
@click.option(
    "--variable", multiple=True, help="Column to take; repeatable.  [default: all but the time]"
)
@click.option("--utc", is_flag=True, help="Times that name no zone are UTC.")
@click.option("--json", "as_json", is_flag=True, help="Print what was joined as JSON.")
def underway(
    results: Path,
    files: tuple[Path, ...],
    limit: float,
    time: str,
    variable: tuple[str, ...],
    utc: bool,
    as_json: bool,
) -> None:
    """Join what the ship measured (temperature, salinity, …) to the minutes of RESULTS.

    FILES are CSV with a header, a column of times in ISO 8601 with their zone, and columns of
    numbers, sorted by time. underway.csv gives each minute the nearest reading of each variable;
    underway_bins.csv the mean of each bin. Exports then take them along (docs/publish.md).

    \b
    Example:
      pi10 underway results tsg.csv --variable temperature --variable salinity
    """
    from dataclasses import asdict

    from pi10_classifier.results.run_info import read_run
    from pi10_classifier.underway.readings import Readings
    from pi10_classifier.underway.table import join

    read_run(results)  # a run that is not finished has no tables yet
    done = join(results, Readings(files, time, variable, utc), limit)
    if as_json:
        click.echo(json.dumps({**asdict(done), "paths": [str(path) for path in done.paths]}))
        return
    for name, count in done.with_value.items():
        click.echo(f"{name}: {count:,} of {done.minutes:,} minutes")
    if done.missed:
        click.echo(
            f"{done.missed:,} minutes have no reading within {limit:g} s: their cells are empty",
            err=True,
        )
    if done.repeated:
        click.echo(
            f"{done.repeated:,} readings have the time of the one before; of these the first is "
            "used",
            err=True,
        )
    for path in done.paths:
        click.echo(path)
