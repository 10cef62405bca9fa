"""What the commands that judge packages, or make new ones of them, have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pi10_classifier.datasets.records import Scan
from pi10_classifier.errors import Code, SettingError
from pi10_classifier.model.package import Package

MODEL = click.option(
    "--model",
    default="starter",
    show_default=True,
    help="A model package: a folder, or the name of an embedded one.",
)
DATA = click.option(
    "--data",
    "inputs",
    multiple=True,
    required=True,
    metavar="INPUT",
    type=click.Path(path_type=Path),
    help="Labelled images: a folder with a folder a class, an archive of one, or a .csv or"
    " .parquet table of path,label; may be repeated.",
)
LABEL_MAP = click.option(
    "--label-map",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV label,class that turns the data's labels into classes.",
)
MANIFEST = click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The manifest.csv of a training or of `pi10 dataset`: its splits, no new scan.",
)


def read_label_map(path: Path | None) -> Any:
    from pi10_classifier.datasets.label_map import LabelMap

    return LabelMap.read(path) if path else None


@contextmanager
def training_extra(what: str) -> Iterator[None]:
    """Around the import of what the extra [train] brings."""
    try:
        yield
    except ImportError as error:
        raise SettingError(
            f'{what} needs {error.name}; run: pip install "pi10-classifier[train]"'
        ) from error


def tell_left_out(found: Scan, most: int = 20) -> None:
    """Names the files that are not used, with their codes; counts those left out as asked."""
    asked = [entry for entry in found.left_out if entry.code == Code.LABEL_LEFT_OUT]
    left_out = [entry for entry in found.left_out if entry.code != Code.LABEL_LEFT_OUT]
    for entry in sorted(left_out, key=lambda x: not x.failed)[:most]:
        name = f"{entry.source}: {entry.member}" if entry.member else entry.source
        click.echo(f"left out: {name}: {entry.code}: {entry.message}", err=True)
    if len(left_out) > most:
        click.echo(
            f"left out: {len(left_out) - most:,} more; `pi10 dataset` lists them all", err=True
        )
    if asked:
        click.echo(f"left out as the label map asks: {len(asked):,} images", err=True)
    if found.unused_rules:
        shown = ", ".join(found.unused_rules[:most])
        click.echo(f"the label map's lines without an image, misspelt perhaps: {shown}", err=True)


def tell_split(package: Package, manifest: Path | None) -> None:
    """Warns where a model was trained by another split than ``manifest``."""
    if manifest is None:
        return
    split = str(package.description.get("training", {}).get("split_sha256", ""))
    if hashlib.sha256(manifest.read_bytes()).hexdigest() != split:
        click.echo(
            f"note: {package.name} was trained by another split than {manifest}, or names"
            " none: it may have been trained on images used here, and the figures flatter",
            err=True,
        )


def span(interval: dict[str, float]) -> str:
    return f"{interval['value']:.3f} ({interval['low']:.3f}-{interval['high']:.3f})"
