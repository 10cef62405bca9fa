"""Commands that judge packages and make new ones of them; registered in ``cli.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pi10_classifier.errors import SettingError
from pi10_classifier.options import FOLDER

_MODEL = click.option(
    "--model",
    default="starter",
    show_default=True,
    help="A model package: a folder, or the name of an embedded one.",
)
_DATA = click.option(
    "--data",
    "inputs",
    multiple=True,
    required=True,
    metavar="INPUT",
    type=click.Path(path_type=Path),
    help="Labelled images: a folder with a folder a class, an archive of one, or a .csv or"
    " .parquet table of path,label; may be repeated.",
)
_LABEL_MAP = click.option(
    "--label-map",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV label,class that turns the data's labels into classes.",
)
_MANIFEST = click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The manifest.csv of a training or of `pi10 dataset`: its splits, no new scan.",
)


def _label_map(path: Path | None) -> Any:
    from pi10_classifier.training.labels import LabelMap

    return LabelMap.read(path) if path else None


@contextmanager
def _extra(what: str) -> Iterator[None]:
    """Around the import of what the extra [train] brings."""
    try:
        yield
    except ImportError as error:
        raise SettingError(
            f'{what} needs {error.name}; run: pip install "pi10-classifier[train]"'
        ) from error


def _tell_left_out(left_out: Sequence[Any], most: int = 20) -> None:
    for entry in left_out[:most]:
        click.echo(f"left out: {entry.source}: {entry.member}: {entry.message}", err=True)
    if len(left_out) > most:
        click.echo(f"left out: {len(left_out) - most} more", err=True)


@click.command()
@_MODEL
@_DATA
@_LABEL_MAP
@_MANIFEST
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
    from pi10_classifier.model import Model, find
    from pi10_classifier.terminal import show_table
    from pi10_classifier.training import evaluate as room
    from pi10_classifier.training.sample import LeftOut

    found = room.evaluate(
        Model.load(find(model)),
        inputs,
        label_map=_label_map(label_map),
        split=split,
        manifest=manifest,
    )
    written = room.write_evaluation(out, found)
    _tell_left_out([LeftOut(**entry) for entry in found["data"]["left_out"]])
    rows = []
    for source, part in {"all": found["all"], **found["sources"]}.items():
        macro = {key: part[f"macro_{key}"] for key in _KEYS} | {"support": part["n"]}
        for label, row in {"macro": macro, **part["per_class"]}.items():
            others = (f"{row[key]['value']:.3f}" for key in _KEYS[1:])  # the page has all intervals
            rows.append((source, label, row["support"], _span(row["f1"]), *others))
    show_table("", ("images from", "class", "images", "F1", "precision", "recall"), rows)
    for name in ("uncalibrated", "as_served", "refitted"):
        part = found["calibration"][name]
        click.echo(
            f"{name.replace('_', ' ')}: ECE {part['ece']:.4f}, Brier {part['brier']:.4f},"
            f" NLL {part['nll']:.4f}, temperature {part.get('temperature', 1.0)}"
        )
    for path in written:
        click.echo(path)


@click.command()
@_MODEL
@_DATA
@_LABEL_MAP
@_MANIFEST
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
    from pi10_classifier.model import Model, find
    from pi10_classifier.terminal import show_table
    from pi10_classifier.training.calibrate import calibrate as fit

    done = fit(
        Model.load(find(model)),
        inputs,
        out,
        label_map=_label_map(label_map),
        manifest=manifest,
        split=split,
        precision=precision,
        coverage=coverage,
    )
    _tell_left_out(done.left_out)
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


@click.command()
@_MODEL
@_DATA
@_LABEL_MAP
@_MANIFEST
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
    from pi10_classifier.model import Model, find

    with _extra("export int8"):
        from pi10_classifier.training.quantise import export_int8
    done = export_int8(
        Model.load(find(model)),
        inputs,
        out,
        label_map=_label_map(label_map),
        manifest=manifest,
        method=method,
        images=images,
        allowed=allow / 100,
    )
    _tell_left_out(done.left_out)
    click.echo(f"accepted: {done.gate}")
    click.echo(f"{done.bytes_before / 1e6:.2f} MB became {done.bytes_after / 1e6:.2f} MB")
    click.echo(out)


@click.command()
@_MODEL
@click.option("--gallery", required=True, type=click.Path(exists=True, path_type=Path),
              help="Labelled crops: a folder with a folder a class, archive or table.")  # fmt: skip
@_LABEL_MAP
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
    from pi10_classifier.model import Model, find
    from pi10_classifier.terminal import show_table

    with _extra("adapt"):
        from pi10_classifier.training.adapt import adapt as fit
    done = fit(
        Model.load(find(model)),
        gallery,
        out,
        head=head,
        label_map=_label_map(label_map),
        name=name,
        seed=seed,
    )
    _tell_left_out(done.left_out)
    rows = [
        (label + (" (new)" if label in done.new else ""), n,
         _span(done.figures["per_class"][label]["f1"]))
        for label, n in done.labels.items()
    ]  # fmt: skip
    show_table("", ("class", "labels", "cross-validated F1"), rows)
    tried = ", ".join(f"{head} {value:.3f}" for head, value in done.tried.items())
    click.echo(
        f"{done.head} head, cross-validated macro-F1 {_span(done.figures['macro_f1'])} on these"
        f" crops alone (tried: {tried})"
    )
    click.echo("note: label crops of another day and run `pi10 evaluate` before you trust it")
    click.echo(out)


_KEYS = ("f1", "precision", "recall")


def _span(interval: dict[str, float]) -> str:
    return f"{interval['value']:.3f} ({interval['low']:.3f}-{interval['high']:.3f})"
