"""``pi10 validate``: look at a sample, say what is right, get a density with an interval."""

from __future__ import annotations

import click

from pi10_classifier.cli.validate import (
    draw,
    estimate,
    exports,
    label,
    labels,
    plan,
    suggest,
)  # fmt: skip


@click.group()
def validate() -> None:
    """Correct densities by a sample of particles that people have labelled.

    \b
    The way from a run to a number that can be published:
      pi10 classify cruise --out results
      pi10 validate draw results --n 300
      pi10 validate label results
      pi10 validate estimate results
    """


for command in (
    draw.draw, plan.plan, label.label, exports.export_labels, exports.crops, labels.import_labels,
    suggest.suggest, estimate.estimate,
):  # fmt: skip
    validate.add_command(command)
