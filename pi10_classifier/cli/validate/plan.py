"""``pi10 validate plan``."""

from __future__ import annotations

from pathlib import Path

import click

from pi10_classifier.cli.validate.draw import RUN


@click.command()
@click.argument("results", type=RUN)
@click.option("--width", default="25%", show_default=True,
              help="Wanted width of the 95 % interval, in % of the density.")  # fmt: skip
def plan(results: Path, width: str) -> None:
    """Say how many labels give intervals of a wanted width, by what is labelled so far.

    Widths fall with the square root of the number of labels, so the forecast is rough below 100.
    """
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.cli.validate.estimate import show_unused
    from pi10_classifier.errors import SettingError
    from pi10_classifier.labelling.estimation.estimate import estimate_run

    try:
        wanted = float(width.strip().removesuffix("%")) / 100
    except ValueError:
        wanted = 0.0
    if not 0.01 <= wanted <= 10:
        raise SettingError(f"--width is {width!r}; give 1% to 1000%, for example 25%")
    done = estimate_run(results, write=False)
    show_unused(done)
    rows = []
    for row in done.rows:
        if not row.per_litre or row.per_litre_low is None or row.per_litre_high is None:
            rows.append((row.stratum, row.label, f"{row.labelled:,}", "unknown", row.note))
            continue
        now = (row.per_litre_high - row.per_litre_low) / row.per_litre
        needed = max(row.labelled, round(row.labelled * (now / wanted) ** 2))
        rows.append(
            (row.stratum, row.label, f"{row.labelled:,}", f"{now:.0%}", f"about {needed:,}")
        )
    show_table("", ("stratum", "class", "labels", "width now", f"labels for {width}"), rows)
