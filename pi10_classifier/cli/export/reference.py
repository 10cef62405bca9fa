"""The command ``pi10 export reference``: what drift of the camera is told by."""

from __future__ import annotations

from pathlib import Path

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import MODEL, note_int8_left_off


@click.command()
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@MODEL
@click.option(
    "--version", default="", help="Version of the package.  [default: the model's, with +reference]"
)
@click.option("--out", required=True, type=FOLDER,
              help="Folder to write the package to, or a file that ends in .json.")  # fmt: skip
def reference(results: Path, model: str, version: str, out: Path) -> None:
    """Make a reference of the good run in RESULTS, for `classify` and `watch` to tell drift by.

    RESULTS is of `pi10 classify --camera` with the same --model: some hours of your own
    instrument with a clean flow cell, as many conditions as it may meet. Only its predictions
    table is read. Without --camera the reference knows scores, sizes and classes, nothing of the
    camera. A folder --out becomes a package, which has the reference in it; a file is given to
    `classify --reference`.

    \b
    Examples:
      pi10 classify good-days/ --out good --camera
      pi10 export reference good --out starter-pia7
      pi10 watch /data/incoming --out results --model starter-pia7
    """
    from pi10_classifier.model.package import read_package
    from pi10_classifier.packaging.reference import export_reference, lacks_camera
    from pi10_classifier.registry.resolve import find

    package = read_package(find(model))[0]
    made = export_reference(results, package, out, version=version)
    if made.path.suffix != ".json":
        note_int8_left_off(package)
    told = made.reference
    click.echo(f"of {told.images:,} images in {told.minutes:,} minutes: {', '.join(told.names)}")
    if lacks_camera(made):
        click.echo(
            "note: the run has no columns of the camera, so only a change of the model's answers"
            " and of the sea is told; classify it with --camera",
            err=True,
        )
    if made.classes_left_out:
        click.echo(
            f"note: too few images of {', '.join(made.classes_left_out)}: they count only in the"
            " mix of classes",
            err=True,
        )
    click.echo(out)
