"""``pi10 validate estimate``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pi10_classifier.cli.validate.draw import RUN

if TYPE_CHECKING:
    from pi10_classifier.labelling.estimation.estimate import CorrectedRow, Estimate


@click.command()
@click.argument("results", type=RUN)
@click.option(
    "--labeller", default="", help="Use the labels of one person.  [default: of all who agree]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def estimate(results: Path, labeller: str, as_json: bool) -> None:
    """Correct the densities of RESULTS by the labels of its sample.

    Writes RESULTS/validation/corrected.csv: individuals per litre of each class with 95 %
    intervals that cover the chance of counting and the model's errors, precision and recall of the
    model in this survey; and RESULTS/validation/corrected_bins.csv, the same correction for each
    bin, with the differences between bins in the interval. Exit code 3 where a stratum has too few
    labels; it says how many. Brings run.json and report.html up to date.
    """
    from dataclasses import asdict

    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.cli.terminal.options import report_or_note
    from pi10_classifier.labelling.estimation.estimate import estimate_run

    done = estimate_run(results, labeller)
    show_unused(done)
    rows = done.rows
    # a run made with --no-report gets none here either
    page = report_or_note(results, None) if (results / "report.html").exists() else None
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        show_table(
            "", ("stratum", "class", "per litre", "95 % interval", "plain", "labels"),
            [(row.stratum, row.label, _number(row.per_litre), _interval(row),
              _number(row.plain_per_litre), f"{row.labelled_class:,} of {row.labelled:,}")
             for row in rows],
        )  # fmt: skip
        for note in dict.fromkeys(f"{row.stratum}: {row.note}" for row in rows if row.note):
            click.echo(note, err=True)
        click.echo(results / "validation/corrected.csv")
        click.echo(results / "validation/corrected_bins.csv")
        if page:
            click.echo(page)
    if not all(row.publishable for row in rows):
        sys.exit(3)


def show_unused(done: Estimate) -> None:
    """Say which labels were left out, and why."""
    if done.contradicting:
        click.echo(
            f"{done.contradicting:,} particles have labels that contradict each other and are left "
            "out; agree on them, or give --labeller",
            err=True,
        )
    if done.outside:
        click.echo(
            f"{done.outside:,} labelled particles are neither in the sample nor suggested, and are "
            "not used",
            err=True,
        )
    if done.sorted:
        click.echo(
            f"{done.sorted:,} particles of the sample have a label of a whole cluster alone (pi10"
            " sort), which is no judgement of each and is not used; label them one by one: pi10"
            " validate label",
            err=True,
        )
    if done.shared:
        click.echo(
            f"note: the model was fitted on {done.shared:,} of the labelled particles; so few may "
            "be there by chance",
            err=True,
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _interval(row: CorrectedRow) -> str:
    if row.per_litre_low is None or row.per_litre_high is None:
        return ""
    return f"{row.per_litre_low:.3g} to {row.per_litre_high:.3g}"
