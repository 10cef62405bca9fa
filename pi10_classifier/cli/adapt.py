"""The command ``pi10 adapt``: fit a new head to a model with a few labelled crops."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import (
    LABEL_MAP,
    MODEL,
    note_left_off,
    read_label_map,
    show_left_out,
    span,
    training_extra,
    warn_of_sample_use,
)
from pi10_classifier.datasets.records import exit_code


@click.command()
@MODEL
@click.option(
    "--gallery",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Labelled crops: a folder with one subfolder per class, an archive of one, a .csv or"
    " .parquet table with the columns path and label, or a run whose particles were labelled with"
    " `pi10 validate`.",
)
@LABEL_MAP
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The manifest.csv of `pi10 dataset`: its test part is left out, for `pi10 evaluate` with"
    " the same manifest.  [default: none; all crops are used]",
)
@click.option(
    "--head",
    type=click.Choice(["linear", "knn", "forest", "auto"]),
    default="linear",
    show_default=True,
    help="Classifier to fit on the features; auto tries all, and takes another than linear only if"
    " it is better by more than one standard error.",
)
@click.option(
    "--features",
    type=click.Choice(["auto", "network", "joined"]),
    default="auto",
    show_default=True,
    help="What a linear head sees: the network's features, or joined with size, shape and grey of"
    " the particle, which `classify` measures anyway.",
)
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of `pi10 export replay`: features of the model's source images, fitted together with"
    " the crops.  [default: replay.npz beside the model, if it is there]",
)
@click.option(
    "--finetune",
    is_flag=True,
    help="Train the whole network too, from the linear head on, at a low rate: minutes on a CPU. It"
    " is judged on held-out crops beside the linear head, and refused where it is not better.",
)
@click.option(
    "--data",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="With --finetune: source images to train on together with the crops, at most 100 a class;"
    " they need the label map of the gallery. Repeatable.  [default: the features of --replay]",
)
@click.option(
    "--anyway",
    is_flag=True,
    help="Write the new model even if it is not better on these crops than the model as it is, or a"
    " fine-tuned one not better than the linear head.",
)
@click.option(
    "--name", default="", help="Name of the new model.  [default: the model's name with -adapted]"
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Random seed; the same seed gives the same package.",
)
@click.option("--out", required=True, type=FOLDER, help="Folder to write the new package to.")
def adapt(
    model: str,
    gallery: Path,
    label_map: Path | None,
    manifest: Path | None,
    head: str,
    features: str,
    replay: Path | None,
    finetune: bool,
    data: tuple[Path, ...],
    anyway: bool,
    name: str,
    seed: int,
    out: Path,
) -> None:
    """Adapt a model to new classes or waters with a few labelled crops.

    The network's features are kept; only its last layer is fitted again, which takes less than a
    minute on a CPU. With --finetune the network is trained too. Give twenty crops per class or
    more. If the model knows all the classes and the new head is not better in cross-validation,
    nothing is written. The result is a package for `classify --model`.

    \b
    Example:
      pi10 adapt --gallery crops/ --out adapted
      pi10 classify 1450.tar --model adapted --out results
    """
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.model.session import Model
    from pi10_classifier.registry.resolve import find

    with training_extra("adapt"):
        from pi10_classifier.packaging.adaptation.adapt import adapt as fit

        if finetune:
            from pi10_classifier.training.finetuning.tune import tune
    original = Model.load(find(model))
    done = fit(
        original,
        gallery,
        out,
        head=head,
        features=features,
        replay=replay,
        anyway=anyway,
        label_map=read_label_map(label_map),
        manifest=manifest,
        name=name,
        seed=seed,
        tuner=tune if finetune else None,
        data=data,
        on_scan=show_left_out,
        progress=lambda number, total: click.echo(f"training {number + 1} of {total}", err=True),
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
        f" crops only (tried: {tried})"
    )
    click.echo("settings: " + ", ".join(f"{k} {v}" for k, v in done.settings.items()))
    if not done.chosen:
        click.echo("note: these are the default settings; the crops are too few to choose by")
    if done.compared:
        click.echo(str(done.compared))
        if not done.compared.better:
            click.echo("note: not better than the model as it is; written because of --anyway")
    else:
        click.echo("note: the model does not know all these classes, so it is not compared with")
    if done.replayed:
        counts = ", ".join(f"{n:,} {label}" for label, n in done.replayed.items())
        click.echo(f"fitted together with features of source images: {counts}")
        lacking = [label for label in done.labels if label not in done.replayed]
        if lacking:
            click.echo(f"note: there is no source image of {', '.join(lacking)}")
    warn_of_sample_use(done.of_runs, "fitted")
    note_left_off(original.package)
    click.echo("note: before you rely on it, label crops of another day and run `pi10 evaluate`")
    click.echo(out)
    sys.exit(exit_code(done.left_out))
