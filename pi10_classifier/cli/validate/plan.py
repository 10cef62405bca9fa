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

    Labels narrow the part of the interval that the model's errors make; the chance of counting
    stays, whatever is labelled. The forecast is rough below 100 labels.
    """
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.cli.validate.estimate import show_unused
    from pi10_classifier.errors import SettingError
    from pi10_classifier.labelling.estimation.estimate import estimate_run
    from pi10_classifier.labelling.estimation.plan import forecast

    try:
        wanted = float(width.strip().removesuffix("%")) / 100
    except ValueError:
        wanted = 0.0
    if not 0.01 <= wanted <= 10:
        raise SettingError(f"--width is {width!r}; give 1% to 1000%, for example 25%")
    done = estimate_run(results, write=False)
    show_unused(done)
    rows = []
    for entry in forecast(results, done.rows, wanted):
        row = entry.row
        if entry.width is None:
            rows.append((row.stratum, row.label, f"{row.labelled:,}", "unknown", row.note))
            continue
        if entry.labels is None:
            needed = f"not by labels: counting alone leaves {entry.narrowest:.0%}; more water"
        else:
            needed = f"about {entry.labels:,}"
        rows.append((row.stratum, row.label, f"{row.labelled:,}", f"{entry.width:.0%}", needed))
    show_table("", ("stratum", "class", "labels", "width now", f"labels for {width}"), rows)
