"""The commands that make packages of packages: ``pi10 export int8, cascade``, ``adapt``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pi10_classifier.cli.options import FOLDER
from pi10_classifier.cli.package_options import (
    DATA,
    LABEL_MAP,
    MANIFEST,
    MODEL,
    read_label_map,
    span,
    tell_left_out,
    tell_split,
    training_extra,
)
from pi10_classifier.datasets.records import exit_code


@click.command()
@MODEL
@DATA
@LABEL_MAP
@MANIFEST
@click.option("--method", type=click.Choice(["minmax", "entropy", "percentile"]), default="minmax",
              show_default=True,
              help="How ranges are taken; entropy and percentile need memory.")  # fmt: skip
@click.option("--images", type=click.IntRange(30, 10_000), default=512, show_default=True,
              help="Images that ranges are taken from.")  # fmt: skip
@click.option("--allow", type=float, default=0.5, show_default=True,
              help="Points of macro-F1 that may be lost.")  # fmt: skip
@click.option("--out", required=True, type=FOLDER, help="Package folder.")
def int8(
    model: str,
    inputs: tuple[Path, ...],
    label_map: Path | None,
    manifest: Path | None,
    method: str,
    images: int,
    allow: float,
    out: Path,
) -> None:
    """Make a package in int8: smaller, and faster where the network is heavy.

    Judged against the float package on held-out images (the validation split of --manifest, else
    half of the data): refused, with the figures, where it loses too much.

    \b
    Example:
      pi10 export int8 --model run/package --data crops/ --manifest run/manifest.csv --out run/int8
    """
    from pi10_classifier.model.package import Model, find

    with training_extra("export int8"):
        from pi10_classifier.packaging.int8 import export_int8
    judged = Model.load(find(model))
    tell_split(judged.package, manifest)
    done = export_int8(
        judged,
        inputs,
        out,
        label_map=read_label_map(label_map),
        manifest=manifest,
        method=method,
        images=images,
        allowed=allow / 100,
        tell=tell_left_out,
    )
    click.echo(f"accepted: {done.gate}")
    click.echo(f"{done.bytes_before / 1e6:.2f} MB became {done.bytes_after / 1e6:.2f} MB")
    click.echo(out)
    sys.exit(exit_code(done.left_out))


@click.command()
@click.option("--fast", default="fast", show_default=True, help="The package that answers.")
@click.option("--accurate", default="starter", show_default=True,
              help="The package that doubtful images go to.")  # fmt: skip
@DATA
@click.option("--manifest", required=True,
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The manifest.csv of a training or of `pi10 dataset`.")  # fmt: skip
@click.option("--share", type=float,
              help="Share of the validation images that is passed on.  [default: the least that "
                   "is as good as the accurate package alone, else the best]")  # fmt: skip
@click.option("--name", default="cascade", show_default=True, help="Name of the new model.")
@click.option("--out", required=True, type=FOLDER, help="Package folder.")
def cascade(
    fast: str,
    accurate: str,
    inputs: tuple[Path, ...],
    manifest: Path,
    share: float | None,
    name: str,
    out: Path,
) -> None:
    """Join a fast and an accurate package: the doubtful images get a second look.

    What is doubtful is set on the validation split of --manifest; figures are of its test split.
    The result is one ordinary package, which `classify --model` takes; where the fast
    model alone is as good it is written all the same, and says so.

    \b
    Example:
      pi10 export cascade --data crops/ --manifest data/manifest.csv --out both
    """
    from pi10_classifier.model.package import Model, find

    with training_extra("export cascade"):
        from pi10_classifier.packaging.cascade import NO_GAIN
        from pi10_classifier.packaging.cascade import cascade as join
    models = [Model.load(find(which)) for which in (fast, accurate)]
    for model in models:
        tell_split(model.package, manifest)
    done = join(models[0], models[1], inputs, out, manifest=manifest, share=share, name=name)
    tell_left_out(done.found)
    f1 = done.validation
    click.echo(
        f"below {done.below:.4f} goes on: {done.share:.1%} of the validation images; macro-F1 there"
        f" {f1['fast']:.4f} fast, {f1['accurate']:.4f} accurate, {f1['cascade']:.4f} together"
    )
    if not done.pays:
        click.echo(NO_GAIN.format(models[0].package.name))
    for source, row in done.metrics.items():
        click.echo(f"{source}: macro-F1 {span(row['macro_f1'])}, {row['n']:,} images")
    click.echo(out)
    sys.exit(exit_code(done.found.left_out))


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
    from pi10_classifier.cli.console import show_table
    from pi10_classifier.model.package import Model, find

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
