"""The commands that make packages of packages: ``pi10 export int8, cascade``, ``adapt``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import (
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


@click.group()
def export() -> None:
    """Turn results and trainings into what other programs take."""


@export.command()
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
    from pi10_classifier.model.package import find
    from pi10_classifier.model.session import Model

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


@export.command()
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
    from pi10_classifier.model.package import find
    from pi10_classifier.model.session import Model

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


@export.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=FOLDER, help="Package folder.")
def onnx(checkpoint: Path, out: Path) -> None:
    """Export a training's CHECKPOINT folder to a model package that `classify --model` takes.

    Refuses where ONNX Runtime's scores differ from the network's. Needs the extra [train].
    """
    from pi10_classifier.errors import SettingError

    try:
        from pi10_classifier.training.onnx_export import export_package
    except ImportError as error:
        raise SettingError(
            f'export needs torch ({error}); pip install "pi10-classifier[train]"'
        ) from error
    export_package(checkpoint, out)
    click.echo(out)
