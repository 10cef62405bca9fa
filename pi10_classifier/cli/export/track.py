"""``pi10 export track``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.geojson|FILE.parquet",
    help="Where to write it; the ending chooses the format.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file that --out names.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def track(results: Path, out: Path, overwrite: bool, as_json: bool) -> None:
    """Write the track as GeoJSON or GeoParquet, for QGIS, R, Python and maps on the web.

    One point for each minute with a position: time, density of each class, quality codes, and what
    `pi10 underway` joined.
    """
    from pi10_classifier.errors import SettingError
    from pi10_classifier.results.run_info import refuse_own_files
    from pi10_classifier.underway.track import write_track

    refuse_own_files(results, out)
    if out.exists() and not overwrite:
        raise SettingError(f"{out} is there; add --overwrite, or choose another name")
    done = write_track(results, out)
    if as_json:
        click.echo(
            json.dumps(
                {"written": str(out), "points": done.points, "left_out": done.without_position}
            )
        )
        return
    if done.without_position:
        click.echo(f"{done.without_position:,} minutes have no position: left out", err=True)
    click.echo(f"{out}: {done.points:,} minutes")
