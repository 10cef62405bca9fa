"""``pi10 export ecotaxa``: the particles of a run for EcoTaxa."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pi10_classifier.cli.export.publish import (
    FILE,
    check_out,
    facts_of,
    results_options,
    show_notes,
)
from pi10_classifier.cli.validate.moved import moved_option

if TYPE_CHECKING:
    from pi10_classifier.export.ecotaxa.export import Exported

_MOST_SHOWN = 10


@click.command()
@results_options
@click.option("--out", required=True, type=FILE, metavar="BUNDLE.zip", help="Where to write it.")
@click.option(
    "--per-minute",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most N particles of each minute, drawn at random.  [default: all]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Another seed draws other particles.",
)
@click.option(
    "--split",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    metavar="MB",
    help="Size of a bundle; more become BUNDLE-1.zip, BUNDLE-2.zip and so on.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Number of threads.  [default: one per core]"
)
@moved_option
def ecotaxa(
    results: Path,
    out: Path,
    dataset: Path | None,
    taxa: Path | None,
    per_minute: int | None,
    seed: int,
    split: int,
    jobs: int | None,
    moved: Mapping[str, str],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the particles of a run as a bundle that EcoTaxa imports, with their pictures.

    One sample for each bin and one acquisition for each minute, with volumes and raising factors
    such that EcoTaxa computes the densities of bins.csv. The pictures are read again from where
    the run read them. Particles that a person labelled are validated, all others predicted.
    Particles left out are listed beside the bundle; then the exit code is 3.
    """
    from pi10_classifier.cli.terminal.console import counter
    from pi10_classifier.export.ecotaxa.bundles import earlier, numbered
    from pi10_classifier.export.ecotaxa.export import write_bundles
    from pi10_classifier.export.left_out import left_out_path
    from pi10_classifier.export.taxa import read_taxa

    facts = facts_of(results, dataset)
    check_out(results, out, ".zip", overwrite, left_out_path(out))
    check_out(results, numbered(out, 1), ".zip", overwrite, left_out_path(out))
    done = write_bundles(
        results, out, facts, read_taxa(taxa), per_minute=per_minute, seed=seed,
        most_bytes=split * 10**6, threads=jobs, moved=moved, progress=counter("particles"),
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(asdict(done), indent=2, default=str))
    else:
        _tell(done)
    for path in earlier(out, done.paths):
        click.echo(f"{path} is of an earlier export, and no part of this one; remove it", err=True)
    if done.left_out:
        sys.exit(3)


def _tell(done: Exported) -> None:
    from pi10_classifier.export.ecotaxa.listing import ALTERED, LEFT_OUT

    click.echo(
        f"{done.objects:,} objects, {done.validated:,} of them validated, in {done.samples:,} "
        f"samples and {done.acquisitions:,} acquisitions"
    )
    total = done.objects + sum(done.left_out.values())
    for outcome, count in sorted(done.left_out.items()):
        click.echo(f"left out: {count:,} of {total:,} particles: {LEFT_OUT[outcome]}", err=True)
    show_notes(done.notes)
    for outcome, count in sorted(done.altered.items()):
        click.echo(f"{count:,} times {ALTERED[outcome]}", err=True)
    if done.left_out or done.altered:
        click.echo(f"all are listed in {done.list_path}", err=True)
    if done.gone_bins:
        click.echo(f"{done.gone_bins:,} bins have no picture left and are no samples", err=True)
    if done.without_density:
        click.echo(
            f"{done.without_density:,} of {done.acquisitions:,} minutes have no density: no "
            "acq_sub_part, and not in sample_tot_vol",
            err=True,
        )
    if done.contradicting:
        click.echo(
            f"{done.contradicting:,} labelled particles stay predicted: labellers differ", err=True
        )
    if done.without_score:
        click.echo(
            f"{len(done.without_score):,} classes have no column of scores: EcoTaxa takes 500 "
            "numbers of an object",
            err=True,
        )
    if done.by_name:
        more = f" and {len(done.by_name) - _MOST_SHOWN:,} more"
        click.echo(
            f"EcoTaxa will ask what these are: {', '.join(done.by_name[:_MOST_SHOWN])}"
            f"{more if len(done.by_name) > _MOST_SHOWN else ''}"
        )
    for path in done.paths:
        click.echo(path)
