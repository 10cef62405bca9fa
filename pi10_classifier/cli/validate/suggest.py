"""``pi10 validate suggest``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from pi10_classifier.cli.validate.draw import RUN


@click.command()
@click.argument("results", type=RUN)
@click.option("--n", "size", type=int, default=100, show_default=True,
              help="Particles to suggest.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same list.")
def suggest(results: Path, size: int, seed: int) -> None:
    """Suggest particles of RESULTS whose labels would teach a model most.

    Writes RESULTS/validation/suggestions.csv: particles that the model is uncertain of, that are
    unlike its training (where the run tells its novelty), and one of each common kind. They are
    for `pi10 adapt` and `pi10 train`: no estimate uses their labels, and none is in the sample.
    """
    from pi10_classifier.cli.terminal.console import counter, show_table
    from pi10_classifier.labelling.suggest import suggest as choose

    fresh = choose(results, size, seed=seed, progress=counter("parts"))
    rows = [(why, f"{number:,}") for why, number in Counter(entry.why for entry in fresh).items()]
    show_table("", ("why", "particles"), rows)
    if len(fresh) < size:
        click.echo(
            f"note: {len(fresh):,} of {size:,}: the run has no more particles that are neither in "
            "the sample nor labelled, or they are alike",
            err=True,
        )
    click.echo(results / "validation/suggestions.csv")
    click.echo(f"to look at them: pi10 validate crops {results} --suggested --out FOLDER")
