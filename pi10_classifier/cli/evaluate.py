"""The commands ``pi10 evaluate`` and ``pi10 calibrate``: a package and labelled images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import FOLDER, Device
from pi10_classifier.cli.terminal.package_options import (
    ALLOW,
    DATA,
    DRAWS,
    LABEL_MAP,
    MANIFEST,
    MODEL,
    note_int8_left_off,
    read_label_map,
    show_left_out,
    show_novelty,
    span,
    warn_of_other_split,
    warn_of_sample_use,
)
from pi10_classifier.datasets.records import LeftOut, exit_code
from pi10_classifier.model.runtime import AUTO

_KEYS = ("f1", "precision", "recall")
_AT_BOUND = {
    True: "scores hardly tell right from wrong on these images; rely on no score or threshold, and"
    " look whether labels and label map are right",
    False: "the model is right on all these images, so they do not show how sure it may be; fit it"
    " on harder ones",
}


@click.command()
@MODEL
@DATA
@LABEL_MAP
@MANIFEST
@click.option(
    "--split",
    default="",
    help="Split to evaluate on: train, validation or test.  [default: test with --manifest,"
    " otherwise all images]",
)
@click.option("--device", type=Device(), default=AUTO, show_default=True,
              help="Runtime to evaluate the model on, as for `classify`.")  # fmt: skip
@click.option(
    "--against",
    metavar="MODEL",
    help="Package to compare with, on ONNX Runtime in fp32: the same one to judge --device, or the"
    " one that an int8 package was made of. The command fails if macro-F1 drops too much."
    "  [default: none]",
)
@ALLOW
@DRAWS
@click.option("--out", required=True, type=FOLDER, help="Folder to write the figures to.")
def evaluate(
    model: str,
    inputs: tuple[Path, ...],
    label_map: Path | None,
    manifest: Path | None,
    split: str,
    device: str,
    against: str | None,
    allow: float,
    draws: int,
    out: Path,
) -> None:
    """Evaluate a model package on labelled images, prepared as `classify` prepares them.

    Writes evaluation.json and evaluation.html: macro-F1, precision, recall and F1 per class with
    95 % intervals, the confusion matrix, and calibration before and after temperature scaling; with
    a label map that names groups, how the images of each group are called.
    With the labels of `pi10 validate` as --data, RESULTS or RESULTS/validation, also accuracy on
    the whole survey by the weights of the sample's design.

    \b
    Examples:
      pi10 evaluate --data labelled/ --out judged
      pi10 evaluate --data results/validation --out judged
      pi10 evaluate --model run/package --data crops.tar --manifest run/manifest.csv --out judged
      pi10 evaluate --data crops.tar --manifest run/manifest.csv --split validation \\
          --device openvino:bf16 --against starter --out judged
    """
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.evaluation import evaluate as room
    from pi10_classifier.model.session import Model
    from pi10_classifier.registry.resolve import find

    evaluated = Model.load(find(model), device)
    gate = None
    if against:
        from pi10_classifier.packaging.precision_gate import TURNS, judge_precision
        from pi10_classifier.training.data.held_out_looks import LOOKS

        gate = judge_precision(
            Model.load(find(against)), evaluated, inputs, label_map=read_label_map(label_map),
            manifest=manifest, split=split or ("test" if manifest else ""), allowed=allow / 100,
            turns=TURNS, looks=LOOKS, draws=draws,
        )  # fmt: skip
    figures = room.evaluate(
        evaluated,
        inputs,
        label_map=read_label_map(label_map),
        split=split,
        manifest=manifest,
        on_scan=show_left_out,
    )
    if not manifest and not split:
        click.echo(
            "note: without --manifest the model is evaluated on all images, including any"
            " that it was trained on",
            err=True,
        )
    warn_of_other_split(evaluated.package, manifest)
    if gate:
        figures["against"] = gate.to_dict()
    written = room.write_evaluation(out, figures)
    rows = []
    for source, part in {"all": figures["all"], **figures["sources"]}.items():
        macro = {key: part[f"macro_{key}"] for key in _KEYS} | {"support": part["n"]}
        for label, row in {"macro": macro, **part["per_class"]}.items():
            others = (f"{row[key]['value']:.3f}" for key in _KEYS[1:])  # the page has all intervals
            rows.append((source, label, row["support"], span(row["f1"]), *others))
    show_table("", ("images from", "class", "images", "F1", "precision", "recall"), rows)
    if means := figures["ranking"].get(""):
        click.echo(
            f"average precision {span(means['average_precision'])}, ROC-AUC"
            f" {span(means['roc_auc'])}: means over the classes, each against all others"
        )
    for source, survey in figures["surveys"].items():
        _show_survey(source, survey)
    if figures["data"]["fitted_on"]:
        click.echo(
            f"note: the model was fitted on {figures['data']['fitted_on']:,} of these"
            f" {figures['data']['judged']:,} images, so the figures are too good; judge it on"
            " others: --manifest with the split that it was fitted with",
            err=True,
        )
    for label in figures["data"]["absent_classes"]:
        click.echo(
            f"note: there is no image of {label!r}, so the macro figures leave it out", err=True
        )
    for name in ("uncalibrated", "as_served", "refitted"):
        part = figures["calibration"][name]
        click.echo(
            f"{name.replace('_', ' ')}: ECE {part['ece']:.4f}, Brier {part['brier']:.4f},"
            f" NLL {part['nll']:.4f}, temperature {part.get('temperature', 1.0)}"
        )
    _show_groups(figures["groups"])
    show_novelty(figures["novelty"])
    for path in written:
        click.echo(path)
    if gate and not gate.accepted:
        from pi10_classifier.packaging.precision_gate import PrecisionRefusedError

        raise PrecisionRefusedError(gate)
    if gate:
        click.echo(f"accepted: {gate}")
    sys.exit(exit_code(LeftOut(**entry) for entry in figures["data"]["left_out"]))


def _show_groups(groups: dict[str, Any]) -> None:
    from pi10_classifier.cli.terminal.console import show_table

    rows = []
    for name, row in groups.items():
        right = row["called"].get(row["class"], 0) / row["images"]
        same = row.get("as_group", {}).get(name)
        found = "" if same is None else f"{same / row['images']:.1%}"
        rows.append((name, row["class"], f"{row['images']:,}", f"{right:.1%}", found))
    if rows:
        show_table("", ("group", "class", "images", "class right", "group right"), rows)


def _show_survey(source: str, survey: dict[str, Any]) -> None:
    from pi10_classifier.cli.terminal.console import show_table

    click.echo(
        f"on the survey {source}, by raised particles: right for {span(survey['accuracy'])};"
        f" of the {survey['labelled']:,} labelled images as they are:"
        f" {survey['accuracy_of_images']:.3f}"
    )
    rows = [
        (label, f"{row['share']:.1%}", f"{row['f1']['value']:.3f}", span(row["precision"]),
         span(row["recall"]))
        for label, row in survey["per_class"].items()
    ]  # fmt: skip
    header = ("class", "share", "F1", "precision", "recall")
    show_table("", header, rows)
    if survey["covered"] < 0.999:
        click.echo(
            f"note: the labels stand for {survey['covered']:.1%} of the survey's particles; the"
            " rest has a stratum or predicted class without a label",
            err=True,
        )


@click.command()
@MODEL
@DATA
@LABEL_MAP
@MANIFEST
@click.option(
    "--split",
    default="",
    help="Split to fit on: train, validation or test.  [default: validation with --manifest,"
    " otherwise all images]",
)
@click.option(
    "--precision",
    type=float,
    help="Set each class's threshold so that this share of the particles above it is right, above"
    " 0 to 1. Excludes --coverage.  [default: no thresholds]",
)
@click.option(
    "--coverage",
    type=float,
    help="Set each class's threshold so that this share of its particles is above it, above 0 to 1."
    " Excludes --precision.  [default: no thresholds]",
)
@click.option(
    "--confidence",
    type=float,
    help="Have the precision hold with this confidence elsewhere too, 0.5 to below 1, e.g. 0.95."
    " Needs --precision.  [default: it holds for these images]",
)
@click.option("--out", required=True, type=FOLDER, help="Folder to write the new package to.")
def calibrate(
    model: str,
    inputs: tuple[Path, ...],
    label_map: Path | None,
    manifest: Path | None,
    split: str,
    precision: float | None,
    coverage: float | None,
    confidence: float | None,
    out: Path,
) -> None:
    """Fit a model's temperature and class thresholds on labelled images.

    Writes a new package. With thresholds, `classify` flags doubtful particles as
    below_threshold. The margins, differences of the two best scores that fulfil the wish too,
    are in model.json under calibration. Use images that the model was not trained on and will not
    be tested on.

    \b
    Examples:
      pi10 calibrate --model run/package --data crops/ --manifest run/manifest.csv \\
          --precision 0.95 --out calibrated
      pi10 calibrate --data results/validation --precision 0.99 --confidence 0.95 --out sure
    """
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.model.session import Model
    from pi10_classifier.packaging.calibrate import calibrate as fit
    from pi10_classifier.registry.resolve import find

    fitted = Model.load(find(model))
    warn_of_other_split(fitted.package, manifest)
    done = fit(
        fitted,
        inputs,
        out,
        label_map=read_label_map(label_map),
        manifest=manifest,
        split=split,
        precision=precision,
        coverage=coverage,
        confidence=confidence,
        on_scan=show_left_out,
    )
    click.echo(
        f"temperature {done.temperature:.4f} (before: {done.before:.4f}), fitted on"
        f" {done.images:,} images"
    )
    note_int8_left_off(fitted.package)
    if done.at_bound:
        click.echo(
            f"note: this temperature is at the end of its range: {_AT_BOUND[done.temperature > 1]}",
            err=True,
        )
    if done.not_sampled:
        click.echo(
            f"{done.not_sampled:,} labelled particles are not used: suggested, not drawn, or"
            " without a particle in the image",
            err=True,
        )
    for key, cuts in (("score", done.thresholds), ("margin", done.margins)):
        rows = [
            (label, f"{t.score:.4f}", f"{t.kept:,} of {t.called:,}", f"{t.passing:.1%}",
             f"{t.precision:.3f}", f"{t.low:.3f}", "" if t.reached else "no")
            for label, t in cuts.items()
        ]  # fmt: skip
        if rows:
            columns = ("class", f"least {key}", "kept", "share", "precision", "at least", "wished")
            show_table("", columns, rows)
    if done.thresholds:
        click.echo(
            f"share: of the particles called so; at least: the precision elsewhere, with"
            f" {done.confidence:.0%} confidence"
            + ("" if confidence else " if the cut were not chosen here: see --confidence")
        )
    warn_of_sample_use(done.of_runs, "calibrated")
    for label in done.without:
        click.echo(
            f"note: too few images were classified as {label!r} to fit its threshold", err=True
        )
    click.echo(out)
    sys.exit(exit_code(done.left_out))
