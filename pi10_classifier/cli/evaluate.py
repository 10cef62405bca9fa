"""The commands ``pi10 evaluate`` and ``calibrate``: a package against labelled images."""

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
)
from pi10_classifier.datasets.records import LeftOut, exit_code

_KEYS = ("f1", "precision", "recall")


@click.command()
@MODEL
@DATA
@LABEL_MAP
@MANIFEST
@click.option("--split", default="", help="The split to judge.  [default: test, with --manifest]")
@click.option("--out", required=True, type=FOLDER, help="Folder for figures.")
def evaluate(
    model: str,
    inputs: tuple[Path, ...],
    label_map: Path | None,
    manifest: Path | None,
    split: str,
    out: Path,
) -> None:
    """Judge a model package on labelled images, as serving would see them.

    Writes evaluation.json and evaluation.html: macro-F1, precision, recall and F1 by class with
    95 % intervals, confusion, calibration before and after temperature scaling.

    \b
    Examples:
      pi10 evaluate --data labelled/ --out judged
      pi10 evaluate --model run/package --data crops.tar --manifest run/manifest.csv --out judged
    """
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.evaluation import evaluate as room
    from pi10_classifier.model.package import find
    from pi10_classifier.model.session import Model

    judged = Model.load(find(model))
    found = room.evaluate(
        judged,
        inputs,
        label_map=read_label_map(label_map),
        split=split,
        manifest=manifest,
        tell=tell_left_out,
    )
    if not manifest and not split:
        click.echo(
            "note: without --manifest all images are judged, those that the model was trained on"
            " too, if they are among them",
            err=True,
        )
    tell_split(judged.package, manifest)
    written = room.write_evaluation(out, found)
    rows = []
    for source, part in {"all": found["all"], **found["sources"]}.items():
        macro = {key: part[f"macro_{key}"] for key in _KEYS} | {"support": part["n"]}
        for label, row in {"macro": macro, **part["per_class"]}.items():
            others = (f"{row[key]['value']:.3f}" for key in _KEYS[1:])  # the page has all intervals
            rows.append((source, label, row["support"], span(row["f1"]), *others))
    show_table("", ("images from", "class", "images", "F1", "precision", "recall"), rows)
    for label in found["data"]["absent_classes"]:
        click.echo(f"note: no image of {label!r}; the macro figures are without it", err=True)
    for name in ("uncalibrated", "as_served", "refitted"):
        part = found["calibration"][name]
        click.echo(
            f"{name.replace('_', ' ')}: ECE {part['ece']:.4f}, Brier {part['brier']:.4f},"
            f" NLL {part['nll']:.4f}, temperature {part.get('temperature', 1.0)}"
        )
    for path in written:
        click.echo(path)
    sys.exit(exit_code(LeftOut(**entry) for entry in found["data"]["left_out"]))


@click.command()
@MODEL
@DATA
@LABEL_MAP
@MANIFEST
@click.option(
    "--split", default="", help="Split to fit on.  [default: validation, with --manifest]"
)
@click.option(
    "--precision", type=float, help="Flag scores below which a class is less often right."
)
@click.option("--coverage", type=float, help="Flag all but this share of each class.")
@click.option("--out", required=True, type=FOLDER, help="Package folder.")
def calibrate(
    model: str,
    inputs: tuple[Path, ...],
    label_map: Path | None,
    manifest: Path | None,
    split: str,
    precision: float | None,
    coverage: float | None,
    out: Path,
) -> None:
    """Fit temperature and thresholds on labelled images; writes a new package.

    The classes' thresholds make `classify` flag doubtful particles as below_threshold. Fit on
    images that the model was neither trained on nor will be judged by.

    \b
    Example:
      pi10 calibrate --model run/package --data crops/ --manifest run/manifest.csv \\
          --precision 0.95 --out calibrated
    """
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.model.package import find
    from pi10_classifier.model.session import Model
    from pi10_classifier.packaging.calibrate import calibrate as fit

    fitted = Model.load(find(model))
    tell_split(fitted.package, manifest)
    done = fit(
        fitted,
        inputs,
        out,
        label_map=read_label_map(label_map),
        manifest=manifest,
        split=split,
        precision=precision,
        coverage=coverage,
        tell=tell_left_out,
    )
    click.echo(f"temperature {done.temperature:.4f}, was {done.before:.4f}; {done.images:,} images")
    rows = [
        (label, f"{t.score:.4f}", t.called, t.kept, f"{t.precision:.3f}", "" if t.reached else "no")
        for label, t in done.thresholds.items()
    ]
    if rows:
        header = ("class", "least score", "called", "kept", "precision of kept", "as wished")
        show_table("", header, rows)
    for label in done.without:
        click.echo(f"note: too few images were called {label!r} to fit its threshold", err=True)
    click.echo(out)
    sys.exit(exit_code(done.left_out))
