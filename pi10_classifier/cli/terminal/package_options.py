"""Options and messages of the commands that evaluate model packages or make new ones."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pi10_classifier.datasets.records import LeftOut, Scan
from pi10_classifier.errors import Code, SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.model.package import Package

MODEL = click.option(
    "--model",
    default="starter",
    show_default=True,
    help="Model package: a folder, the name of an embedded one, or models:/NAME@ALIAS.",
)
DATA = click.option(
    "--data",
    "inputs",
    multiple=True,
    required=True,
    metavar="INPUT",
    type=click.Path(path_type=Path),
    help="Labelled images: a folder with one subfolder per class, an archive of one, a .csv or"
    " .parquet table with the columns path and label, or a run whose particles were labelled with"
    " `pi10 validate`; may be repeated.",
)
LABEL_MAP = click.option(
    "--label-map",
    metavar="FILE|cefas|taxa",
    type=click.Path(path_type=Path),
    help="CSV with the columns label and class, or 'cefas' or 'taxa' or rules for taxa, as for"
    " `pi10 dataset`."
    "  [default: the first folder of a label is its class]",
)
MANIFEST = click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The manifest.csv of a training or of `pi10 dataset`, whose images and splits are used."
    "  [default: none; all images are read]",
)
# of the gate, in the commands that use it
ALLOW = click.option(
    "--allow",
    type=float,
    default=0.3,
    show_default=True,
    help="Gate: largest drop of macro-F1, in percentage points, that the 95 % interval may reach.",
)
DRAWS = click.option(
    "--draws",
    type=click.IntRange(1, 50),
    default=2,
    show_default=True,
    help="Gate: drawings of each image in each look of the Pi-10; more narrow the interval.",
)
# of the commands that train, which make a split where they are given none
SPLIT = click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="The manifest.csv of `pi10 dataset`, whose split is used.  [default: a new split]",
)


def read_label_map(path: Path | None) -> Any:
    from pi10_classifier.datasets.taxa.taxon_map import read_label_map as read

    return read(path) if path else None


@contextmanager
def training_extra(command: str) -> Iterator[None]:
    """Turn a failed import from the extra [train] into a SettingError."""
    try:
        yield
    except ImportError as error:
        raise SettingError(
            f"{command} needs {error.name}; run: {install_command('train')}"
        ) from error


def show_left_out_files(
    left_out: Sequence[LeftOut], where: str = "left_out.csv lists them all", most: int = 20
) -> None:
    """Print the first files that are not used, with their codes, those with lost data first."""
    for entry in sorted(left_out, key=lambda x: not x.failed)[:most]:
        name = f"{entry.source}: {entry.member}" if entry.member else entry.source
        click.echo(f"left out: {name}: {entry.code}: {entry.message}", err=True)
    if len(left_out) > most:
        click.echo(f"left out: {len(left_out) - most:,} more; {where}", err=True)


def show_left_out(scanned: Scan, most: int = 20) -> None:
    """Print the files that are not used, with their codes, and count those left out on request."""
    meant = (Code.LABEL_LEFT_OUT, Code.NO_CLASS)
    on_request = [entry for entry in scanned.left_out if entry.code == Code.LABEL_LEFT_OUT]
    of_no_class = Counter(e.message for e in scanned.left_out if e.code == Code.NO_CLASS)
    left_out = [entry for entry in scanned.left_out if entry.code not in meant]
    show_left_out_files(left_out, "`pi10 dataset` lists them all", most)
    if on_request:
        click.echo(f"left out as the label map asks: {len(on_request):,} images", err=True)
    for message, count in sorted(of_no_class.items()):
        click.echo(f"left out: {count:,} particles: {message}", err=True)
    if scanned.unused_rules:
        shown = ", ".join(scanned.unused_rules[:most])
        click.echo(f"label map lines without an image, perhaps misspelt: {shown}", err=True)


def warn_of_other_split(package: Package, manifest: Path | None) -> None:
    """Warn if a model was trained with another split than ``manifest``."""
    if manifest is None:
        return
    split = str(package.description.get("training", {}).get("split_sha256", ""))
    if hashlib.sha256(manifest.read_bytes()).hexdigest() != split:
        click.echo(
            f"note: {package.name} was trained with another split than {manifest}, or does not"
            " say with which; it may have been trained on images used here, so the figures"
            " may be too good",
            err=True,
        )


def warn_of_sample_use(runs: Iterable[str], how: str) -> None:
    """Say that labels which a model was made of cannot judge it, nor correct its densities."""
    names = ", ".join(runs)
    if not names:
        return
    remedy = (
        "judge its scores on others; densities are not touched, as no particle changes its class"
        if how == "calibrated"
        else "judge it on the test part of a split, or on others; and for the densities of a run"
        " with the new model draw and label a sample with another --seed"
    )
    click.echo(f"note: the model is {how} on the labels of {names}: {remedy}", err=True)


def show_novelty(judged: Mapping[str, Any]) -> None:
    """Print how well a package tells images of none of its classes; nothing if it cannot."""
    from pi10_classifier.cli.terminal.console import show_table

    rows = [
        (source, f"{row['known']:,}", f"{row['outside']:,}", span(row["auroc"]), span(row["aupr"]),
         f"{row['flagged_known']['value']:.1%}", f"{row['flagged_outside']['value']:.1%}")
        for source, row in judged.items()
    ]  # fmt: skip
    if rows:
        columns = ("unlike training", "known", "outside", "AUROC", "AUPR", "known flagged",
                   "outside flagged")  # fmt: skip
        show_table("", columns, rows)


def note_left_off(package: Package, *, groups: bool = True) -> None:
    """Say what a new package does not tell though its base does.

    groups: whether it lacks the groups of its base; what is unlike training it never tells.
    """
    if groups and package.groups:
        click.echo(
            f"note: {package.name} predicts groups within the classes, the new package does not",
            err=True,
        )
    note_int8_left_off(package)
    if package.novelty:
        click.echo(
            f"note: {package.name} tells what is unlike its training images, the new package does"
            " not: its features or classes are others; fit it: pi10 export novelty",
            err=True,
        )


def note_int8_left_off(package: Package) -> None:
    """Say that a new package has no int8 graph though its base has one."""
    if package.description.get("graphs"):
        click.echo(
            f"note: {package.name} has an int8 graph, the new package has not, as the gate judged"
            " the graph of another package; make one: pi10 export int8",
            err=True,
        )


def span(interval: dict[str, float]) -> str:
    return f"{interval['value']:.3f} ({interval['low']:.3f}-{interval['high']:.3f})"
