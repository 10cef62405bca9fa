"""``pi10 sizes``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pi10_classifier.sizes.tables import Written

_RUN = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("results", type=_RUN)
@click.option(
    "--by",
    default="cruise",
    show_default=True,
    metavar="cruise|day|bin|FILE",
    help="Lines for the whole cruise, each day, each bin, or the strata of a CSV file of"
    " bin,stratum.",
)
@click.option("--out", type=_RUN, help="Folder for the tables.  [default: RESULTS]")
@click.option(
    "--volume",
    type=click.Choice(["sphere", "ellipsoid"]),
    default="sphere",
    show_default=True,
    help="Biovolume that decides size classes and slopes.",
)
@click.option(
    "--from-um", type=float, default=180.0, show_default=True, help="Smallest ESD of the slopes."
)
@click.option(
    "--to-um", type=float, default=35000.0, show_default=True, help="Largest ESD of the slopes."
)
@click.option(
    "--carbon",
    multiple=True,
    metavar="CLASS=NAME",
    help="Carbon conversion of a class: gallienne2001, menden_deuer2000_protist,"
    " menden_deuer2000_diatom or none; repeatable.  [default: copepod=gallienne2001]",
)
@click.option(
    "--not-living",
    multiple=True,
    default=("detritus",),
    show_default=True,
    metavar="CLASS",
    help="Class that is no part of `living`; repeatable.",
)
@click.option("--without-bad", is_flag=True, help="Leave out minutes of bad quality (L20 code 4).")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def sizes(
    results: Path,
    by: str,
    out: Path | None,
    volume: str,
    from_um: float,
    to_um: float,
    carbon: tuple[str, ...],
    not_living: tuple[str, ...],
    without_bad: bool,
    as_json: bool,
) -> None:
    """Write densities per m³, biovolume, carbon and size spectra of RESULTS, by size class.

    sizes.csv has a line for each class and size class; size_spectrum.csv the normalised biovolume
    size spectrum; size_slopes.csv its slopes. Every particle is raised by the factor of its minute.
    All have 95 % intervals, which cover the chance of counting alone. docs/sizes.md has the
    formulas and what they leave out.

    \b
    Examples:
      pi10 sizes results
      pi10 sizes results --by day --without-bad --out tables
    """
    from pi10_classifier.labelling.sample import strata_of
    from pi10_classifier.results.run_info import classes_of
    from pi10_classifier.sizes.tables import SizeOptions, write_sizes

    options = SizeOptions(volume, from_um, to_um, carbon, not_living, without_bad)
    done = write_sizes(results, classes_of(results), strata_of(by), options, out)
    if as_json:
        click.echo(json.dumps(_summary(done), indent=2))
        return
    _show(done)


def _summary(done: Written) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "written": [str(path) for path in done.paths],
        "particles": done.particles,
        "litres": done.litres,
        "slopes": [asdict(row) for row in done.slopes],
        "particles_without_density": done.without_factor,
        "minutes_left_out": done.left_out,
        "classes_without_carbon": list(done.without_carbon),
    }


def _show(done: Written) -> None:
    from pi10_classifier.cli.terminal.console import show_table

    shown = done.slopes[:20]
    show_table(
        "", ("stratum", "class", "slope", "95 % interval", "particles"),
        [(row.stratum, row.label, "" if row.slope is None else f"{row.slope:.3f}",
          "" if row.slope_low is None or row.slope_high is None
          else f"{row.slope_low:.3f} to {row.slope_high:.3f}", f"{row.particles:,}")
         for row in shown],
    )  # fmt: skip
    if len(done.slopes) > len(shown):
        click.echo(f"{len(done.slopes) - len(shown):,} more are in size_slopes.csv")
    if lost := sum(done.without_factor.values()):
        click.echo(f"{lost:,} particles of minutes without a density are left out", err=True)
    if done.left_out:
        click.echo(
            f"{done.left_out:,} minutes are left out: of bad quality, or of no stratum", err=True
        )
    if done.without_carbon:
        click.echo(
            f"no carbon for {', '.join(done.without_carbon)}: give --carbon CLASS=NAME", err=True
        )
    for path in done.paths:
        click.echo(path)
