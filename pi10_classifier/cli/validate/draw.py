"""``pi10 validate draw`` and ``plan``."""

from __future__ import annotations

import json
from pathlib import Path

import click

RUN = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("results", type=RUN)
@click.option("--n", "size", type=int, default=300, show_default=True,
              help="Particles to draw of each stratum.")  # fmt: skip
@click.option("--by", default="cruise", show_default=True, metavar="cruise|day|bin|FILE",
              help="What gets a density of its own; FILE is a CSV of bin,stratum.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same sample.")
@click.option("--overwrite", is_flag=True,
              help="Draw another sample, although the one before has labels.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the design as JSON.")
def draw(results: Path, size: int, by: str, seed: int, overwrite: bool, as_json: bool) -> None:
    """Draw a probability sample of the particles of a run, RESULTS.

    Half of the sample follows the raised totals of the predicted classes, half is equal between
    them; within a class, particles are drawn in proportion to their raising factor. Writes
    RESULTS/validation/sample.csv. A larger --n adds to the sample and keeps what is labelled.
    """
    from dataclasses import asdict

    from pi10_classifier.cli.terminal.console import counter, show_table
    from pi10_classifier.labelling.draw import draw as draw_sample
    from pi10_classifier.labelling.labelled import labels_before, shared_with_model

    design, sample = draw_sample(
        results,
        size,
        seed=seed,
        by=by,
        overwrite=overwrite,
        progress=counter("parts", shown=not as_json),
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(asdict(design), indent=2))
        return
    rows = [
        (stratum, label, f"{its.particles:,}", f"{its.raised:,.0f}", f"{its.wanted:,}")
        for stratum, classes in design.strata.items()
        for label, its in classes.items()
    ]
    show_table("", ("stratum", "predicted", "particles", "raised", "drawn"), rows[:60])
    if len(rows) > 60:
        click.echo(f"and {len(rows) - 60:,} rows more in validation/design.json")
    if design.left_out:
        click.echo(
            f"note: {design.left_out:,} particles have no raising factor (no HitsMisses of their "
            "minute); they are not drawn and not in the densities",
            err=True,
        )
    shared = shared_with_model(results, [particle.particle_id for particle in sample])
    if shared:
        click.echo(
            f"note: the model of this run was fitted on {len(shared):,} of these particles; labels "
            "of more than 5 % of such particles are refused as not independent: draw with another "
            "--seed before you label",
            err=True,
        )
    if earlier := labels_before(results):
        click.echo(
            f"note: {earlier:,} labels are older than this run; they hold only if it was made of "
            "the same images. If not, move validation/labels.csv away",
            err=True,
        )
    click.echo(f"{len(sample):,} particles in {results / 'validation/sample.csv'}")
