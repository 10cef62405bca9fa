"""``pi10 adapt``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import (
    LABEL_MAP,
    MODEL,
    read_label_map,
    span,
    tell_left_out,
    training_extra,
)
from pi10_classifier.datasets.records import exit_code


@click.command()
@MODEL
@click.option("--gallery", required=True, type=click.Path(exists=True, path_type=Path),
              help="Labelled crops: a folder with a folder a class, archive or table.")  # fmt: skip
@LABEL_MAP
@click.option("--head", type=click.Choice(["auto", "linear", "knn", "forest"]), default="auto",
              show_default=True, help="auto: the best in cross-validation.")  # fmt: skip
@click.option("--name", default="", help="Name of the new model.  [default: NAME-adapted]")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same package.")
@click.option("--out", required=True, type=FOLDER, help="Package folder.")
def adapt(
    model: str,
    gallery: Path,
    label_map: Path | None,
    head: str,
    name: str,
    seed: int,
    out: Path,
) -> None:
    """Teach a model new classes or a new sea from a handful of labelled crops.

    The network's features stay; only its last layer is fitted anew, in a minute or two on a CPU.
    Ten to twenty crops a class are a good start. Writes a package that `classify --model` takes.

    \b
    Example:
      pi10 adapt --gallery crops/ --out adapted
      pi10 classify 1450.tar --model adapted --out results
    """
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.model.package import find
    from pi10_classifier.model.session import Model

    with training_extra("adapt"):
        from pi10_classifier.packaging.adaptation.adapt import adapt as fit
    done = fit(
        Model.load(find(model)),
        gallery,
        out,
        head=head,
        label_map=read_label_map(label_map),
        name=name,
        seed=seed,
        tell=tell_left_out,
    )
    rows = [
        (label + (" (new)" if label in done.new else ""), n,
         span(done.figures["per_class"][label]["f1"]))
        for label, n in done.labels.items()
    ]  # fmt: skip
    show_table("", ("class", "labels", "cross-validated F1"), rows)
    tried = ", ".join(f"{head} {value:.3f}" for head, value in done.tried.items())
    click.echo(
        f"{done.head} head, cross-validated macro-F1 {span(done.figures['macro_f1'])} on these"
        f" crops alone (tried: {tried})"
    )
    click.echo("note: label crops of another day and run `pi10 evaluate` before you trust it")
    click.echo(out)
    sys.exit(exit_code(done.left_out))
