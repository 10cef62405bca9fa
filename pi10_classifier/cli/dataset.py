"""The command ``pi10 dataset``: check, split and report on labelled images."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.errors import ExitCode, SettingError

if TYPE_CHECKING:
    from pi10_classifier.datasets.croissant import About
    from pi10_classifier.datasets.label_map import LabelMap
    from pi10_classifier.datasets.scan import Sample, Scan

LABELS_SHOWN = 40
UNKNOWN = "unknown_aphia_ids.txt"


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...",
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--out", required=True, type=FOLDER, help="Folder to write the files to.")
@click.option("--label-map", type=click.Path(path_type=Path), metavar="FILE|taxa",
              help="CSV with the columns label and class; labels may be globs, and class '-' leaves"
                   " images out. Or 'taxa': copepod, noncopepod or detritus by taxon and stage;"
                   " or a CSV of such rules: class,below,when,except,why."
                   "  [default: the first folder of a label is its class]")  # fmt: skip
@click.option("--taxa", metavar="FILE",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="More taxa for a --label-map by taxon: CSV with the columns"
                   " aphia_id,name,rank,parent_id.  [default: the included ones]")  # fmt: skip
@click.option("--labels", "label_file", metavar="FILE",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Labels of the images from another tool, in place of the folders' names: COCO, "
                   "Label Studio, CVAT for images 1.1, or BIIGLE's CSV."
                   "  [default: the folders' names]")  # fmt: skip
@click.option("--split-seed", type=int, default=0, show_default=True,
              help="Random seed of the split; another seed gives another split.")  # fmt: skip
@click.option("--about", metavar="TOML",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The filled-in file of `pi10 export init`: people, licence and title for "
                   "croissant.json.  [default: none are stated]")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a different manifest in --out.")
def dataset(
    inputs: tuple[Path, ...],
    out: Path,
    label_map: Path | None,
    taxa: Path | None,
    label_file: Path | None,
    split_seed: int,
    about: Path | None,
    overwrite: bool,
) -> None:
    """Check labelled images, split them 70/10/20 and report on them.

    INPUT is a folder tree, tar or zip of label/image files, a .csv, .tsv or .parquet table with the
    columns path and label and, where known, bin, split and source, or a run whose particles were
    labelled with `pi10 validate`. Images from the same ten-minute bin always share a split, and so
    do duplicates.

    With --label-map taxa, INPUT may also be a table with AphiaIDs or scientific names, or an export
    of EcoTaxa with its images. Each label is shown with its class and the number of its images;
    labels whose taxon is unknown or contradicts its name, and those that no rule takes, are listed
    in left_out.csv.

    With --labels, images are found by their path or name in FILE, whatever their extension. Images
    that it gives no label or several, and labels whose image is missing, are listed in
    left_out.csv.

    \b
    Written into the folder --out:
      manifest.csv   each image, its class, split and SHA-256
      left_out.csv   each file that is not used, and why
      dataset.html   counts, sizes, duplicates, contact sheets
      dataset.json   the same figures as JSON
      croissant.json the manifest described for machines (MLCommons Croissant)
      unknown_aphia_ids.txt  with --label-map taxa: AphiaIDs that are not known

    \b
    Examples:
      pi10 dataset planktonset1.tar pwssc.tar --out data
      pi10 dataset crops/ --label-map groups.csv --out data
      pi10 dataset crops.tar --labels annotations.xml --out data
      pi10 dataset PlanktoShare_labels.csv --label-map taxa --out data
    """
    from pi10_classifier.datasets.formats.intake import read_label_file
    from pi10_classifier.datasets.records import exit_code
    from pi10_classifier.datasets.report import MANIFEST, write_dataset
    from pi10_classifier.datasets.scan import scan
    from pi10_classifier.datasets.split import manifest, split
    from pi10_classifier.datasets.taxa.taxon_map import read_label_map
    from pi10_classifier.report.page import environment

    environment()  # what the page needs is missed before the work, not after it
    if out.exists() and not out.is_dir():
        raise SettingError(f"--out {out} is a file; name a folder")
    if taxa and not label_map:
        raise SettingError("--taxa needs --label-map taxa, or a table of rules for taxa")
    classes = read_label_map(label_map, taxa) if label_map else None
    labels = read_label_file(label_file) if label_file else None
    facts = _about(about) if about else None
    try:
        with _counter() as progress:
            scanned = scan(inputs, classes, progress=progress, labels=labels)
    except KeyboardInterrupt:  # there is no --resume here, as the face would say
        click.echo("interrupted; nothing was written: run the same command again", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    _show_taxa(scanned, classes)
    _show_left_out(scanned)  # before the split, which may be refused for what was left out
    samples = split(scanned.samples, seed=split_seed)
    before = out / MANIFEST
    if before.is_file() and not overwrite and _digest(before) != _sha256(manifest(samples)):
        raise SettingError(
            f"{before} holds another split, which trainings may refer to; give another --out,"
            " or --overwrite"
        )
    page = write_dataset(scanned, samples, out, split_seed, facts)
    _write_unknown(scanned, classes, out)
    _show(scanned, samples, page)
    sys.exit(exit_code(scanned.left_out))


def _about(path: Path) -> About:
    from pi10_classifier.datasets.croissant import About
    from pi10_classifier.export.dataset_facts import read_facts

    facts = read_facts(path)
    return About(
        name=facts.title,
        description=facts.abstract,
        licence=facts.licence.url,
        cite_as=facts.citation,
        url=facts.identifier,
        creators=tuple((person.name, person.orcid) for person in facts.having("creator")),
        keywords=facts.keywords,
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error


@contextmanager
def _counter() -> Iterator[Callable[[int], None]]:
    """A live count of images on a terminal; silence elsewhere."""
    from pi10_classifier.cli.terminal.console import is_terminal

    if not is_terminal():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("reading: {task.completed:,} images"))
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done: bar.update(task, completed=done)


def _show_taxa(scanned: Scan, label_map: LabelMap | None) -> None:
    """What a label map by taxon made of each label: the most frequent ones."""
    from pi10_classifier.cli.terminal.console import show_table

    if not scanned.taxa or label_map is None:
        return
    often = sorted(scanned.taxa, key=lambda use: (-use.files, use.source, use.label))
    rows = [
        (use.label.replace("|", ", "), use.group or "none", f"{use.files:,}", use.note or use.rule)
        for use in often[:LABELS_SHOWN]
    ]
    show_table("Labels by taxon", ("label", "class", "files", "why"), rows)
    if len(often) > LABELS_SHOWN:
        click.echo(f"{len(often) - LABELS_SHOWN:,} more labels are in dataset.html")
    lost = [use for use in often if not use.group]
    if lost:
        click.echo(
            f"warning: {len(lost):,} labels with {sum(use.files for use in lost):,} files have no"
            " class; see left_out.csv"
        )
    if missing := sorted(set(label_map.classes) - set(scanned.classes)):
        click.echo(f"warning: no image of class {', '.join(missing)}")


def _write_unknown(scanned: Scan, label_map: LabelMap | None, out: Path) -> None:
    """The AphiaIDs that the known taxa lack, for ``taxonomy.renew --aphia-ids``."""
    from pi10_classifier.datasets.taxa.taxon_map import TaxonMap
    from pi10_classifier.foundation.files import write_atomically

    if not isinstance(label_map, TaxonMap):
        return
    unknown = label_map.unknown(use.label for use in scanned.taxa)
    path = out / UNKNOWN
    write_atomically(path, "".join(f"{number}\n" for number in unknown).encode())
    if unknown:
        click.echo(
            f"{path}: {len(unknown):,} AphiaIDs are not among the known taxa; look them up with:"
            f" python -m pi10_classifier.taxonomy.renew --aphia-ids {path} --out worms.csv, and"
            " give --taxa worms.csv"
        )


def _show_left_out(scanned: Scan) -> None:
    from collections import Counter

    for code, n in sorted(Counter(x.code for x in scanned.left_out).items()):
        first = next(x for x in scanned.left_out if x.code == code)
        name = f"{first.source}: {first.member}" if first.member else first.source
        click.echo(f"left out: {n:,} x {code}, such as {name}: {first.message}")
    if scanned.unused_rules:
        shown = ", ".join(scanned.unused_rules[:20])
        click.echo(f"label map lines without an image, perhaps misspelt: {shown}")


def _show(scanned: Scan, samples: list[Sample], page: Path) -> None:
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.datasets.report import FACTS
    from pi10_classifier.datasets.split import SPLITS, counts

    table = counts(samples)
    rows = [
        (name, *(f"{n:,}" for n in numbers), f"{sum(numbers):,}")
        for name in scanned.classes
        for numbers in [[table[part][name] for part in SPLITS]]
    ]
    show_table("Images by class", ("class", *SPLITS, "all"), rows)
    facts = json.loads((page.parent / FACTS).read_text("utf-8"))
    click.echo(f"imbalance ratio: {facts['imbalance_ratio']:g}")
    if len(scanned.classes) == 1:
        click.echo(
            f"warning: {scanned.classes[0]!r} is the only class; if the classes are one folder"
            " deeper, name that folder or give a --label-map"
        )
    duplicates = facts["duplicates"]
    click.echo(
        f"duplicates: {duplicates['images']:,} images in groups that share a split;"
        f" {len(duplicates['under_two_classes']):,} of the groups have images of two classes"
    )
    if facts["leaks"]:
        click.echo(
            f"warning: {len(facts['leaks']):,} bins or groups of duplicates lie in several"
            " splits, because the table's column split says so; test figures will look too"
            " good"
        )
    click.echo(f"report: {page}")
