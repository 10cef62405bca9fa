"""``pi10 export labels``: the labels of a data set for other tools."""

from __future__ import annotations

from pathlib import Path

import click

# as in datasets.formats.outlet, which is imported late
_FORMATS = ("coco", "cvat", "biigle", "label-studio")


@click.command()
@click.argument("dataset", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--format", "form", required=True, type=click.Choice(_FORMATS),
              help="Whose format to write.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path),
              metavar="FILE", help="Where to write it.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "validation", "test"]),
              help="One split alone.  [default: all images]")  # fmt: skip
@click.option("--images", multiple=True, metavar="INPUT",
              type=click.Path(exists=True, path_type=Path),
              help="Where the images lie now, for label-studio; may be given several times.  "
                   "[default: where they lay when DATASET was made]")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file that --out names.")
def labels(
    dataset: Path,
    form: str,
    out: Path,
    split: str | None,
    images: tuple[Path, ...],
    overwrite: bool,
) -> None:
    """Write the labels of a folder of `pi10 dataset` for another tool.

    \b
      coco          JSON; an annotation an image, its box the whole image
      cvat          XML, CVAT for images 1.1; a tag an image
      biigle        CSV, as BIIGLE's report of image labels
      label-studio  JSON; tasks with the pictures and the labels in them

    Images are named by their path in their source, with the source before it where there are
    several. Bring labels back: pi10 dataset INPUT... --labels FILE.
    """
    from pi10_classifier import __version__
    from pi10_classifier.datasets.formats.outlet import write_labels
    from pi10_classifier.errors import SettingError

    if out.exists() and not overwrite:
        raise SettingError(f"{out} is there already; add --overwrite, or name another --out")
    if not out.resolve().parent.is_dir():
        raise SettingError(f"--out is {out}, but there is no folder {out.parent}; make it first")
    software = f"pi10-classifier {__version__}"
    count = write_labels(dataset, form, out, software, split or "", images)
    click.echo(f"{count:,} images in {out}")
