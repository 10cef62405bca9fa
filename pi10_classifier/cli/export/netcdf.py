"""``pi10 export netcdf``: the minutes of a run as a CF trajectory."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pi10_classifier.cli.export.publish import (
    FILE,
    check_out,
    facts_of,
    results_options,
    show_labels,
    show_left_out,
    show_notes,
)


@click.command()
@results_options
@click.option("--out", required=True, type=FILE, metavar="FILE.nc", help="Where to write it.")
@click.option("--instrument", default="", metavar="NAME",
              help="Whose minutes to write, such as pia7.  [default: the only one's]")  # fmt: skip
def netcdf(
    results: Path,
    out: Path,
    instrument: str,
    dataset: Path | None,
    taxa: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the minutes of a run as a CF-1.12 trajectory for ERDDAP and EMODnet.

    Densities by taxon in individuals per cubic metre, with 95 % intervals, of each minute and of
    its bin; corrected ones where RESULTS is validated; biovolumes of the bins; what the ship
    measured (pi10 underway); volumes, raising factors and quality flags;
    ACDD-1.3 attributes from dataset.toml. Minutes without a density stay, with flags that say why.
    Minutes without a position are left out and listed beside the file. Needs the extra [publish].
    """
    from pi10_classifier.export.left_out import left_out_path
    from pi10_classifier.export.netcdf.trajectory import write_trajectory
    from pi10_classifier.export.taxa import read_taxa

    facts = facts_of(results, dataset)
    check_out(results, out, ".nc", overwrite, left_out_path(out))
    done = write_trajectory(results, out, facts, read_taxa(taxa), instrument)
    track = done.track
    if as_json:
        click.echo(
            json.dumps(
                {
                    "file": str(out),
                    "instrument": track.instrument,
                    "minutes": len(track.points),
                    "corrected_minutes": done.corrected,
                    "taxa": list(done.taxa),
                    "left_out": dict(track.reasons),
                    "not_published": list(done.not_published),
                    "refused_strata": dict(done.labels.refused),
                    "underway": {reading.column: reading.name for reading in done.readings},
                    "notes": list(done.notes),
                },
                indent=2,
            )
        )
        return
    click.echo(
        f"{len(track.points):,} minutes of {track.instrument or 'an unnamed instrument'}, "
        f"{done.corrected:,} with a corrected density; taxa: {', '.join(done.taxa)}"
    )
    show_labels(done.labels)
    show_notes(done.notes)
    total = len(track.points) + len(track.left_out)
    show_left_out("minutes", total, track.reasons, done.not_published, done.list_path)
    click.echo(out)
