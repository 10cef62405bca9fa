"""The command ``pi10 train``: train, test and package a network."""

from __future__ import annotations

import shlex
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import LABEL_MAP, SPLIT
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.training.options import OPTIONS
from pi10_classifier.training.recipe import HELP

_PATH = click.Path(path_type=Path)
_OF_RECIPE = "  [default: the recipe's]"


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=_PATH)
@click.option("--out", required=True, type=FOLDER, help="Folder to write the training to.")
@click.option("--recipe", default=OPTIONS["recipe"][0], show_default=True,
              metavar="NAME|FILE", help=OPTIONS["recipe"][1])  # fmt: skip
@click.option("--network", default="", help=OPTIONS["network"][1] + _OF_RECIPE)
@click.option("--loss", help=OPTIONS["loss"][1] + _OF_RECIPE)
@click.option(
    "--loss-option",
    "loss_options",
    multiple=True,
    metavar="NAME=VALUE",
    help=f"Option of the loss, e.g. shape=linear; may be repeated.{_OF_RECIPE}",
)
@click.option("--seeds", default=OPTIONS["seeds"][0], show_default=True, help=OPTIONS["seeds"][1])
@click.option("--init", default=OPTIONS["init"][0], show_default=True, metavar="HOW",
              help=OPTIONS["init"][1])  # fmt: skip
@click.option("--teacher", "teachers", multiple=True, metavar="PACKAGE",
              help=f"{OPTIONS['teacher'][1]} May be repeated: their mean is learnt."
              "  [default: none]")  # fmt: skip
@click.option(
    "--distil",
    type=float,
    help="Weight of the teacher in the loss, 0 to 1; needs --teacher.  [default: 0.5]",
)
@click.option("--epochs", type=int, help=HELP["epochs"] + _OF_RECIPE)
@click.option("--size", type=int, help=HELP["size"] + _OF_RECIPE)
@click.option("--batch", type=int, help=HELP["batch"] + _OF_RECIPE)
@click.option("--accumulate", type=int, help=HELP["accumulate"] + _OF_RECIPE)
@click.option("--rate", type=float, help=HELP["rate"] + _OF_RECIPE)
@click.option("--patience", type=int, help=HELP["patience"] + _OF_RECIPE)
@click.option("--precision", type=click.Choice(["float32", "bf16", "fp16"]),
              help=HELP["precision"] + _OF_RECIPE)  # fmt: skip
@click.option("--deterministic", is_flag=True, default=None,
              help=HELP["deterministic"] + _OF_RECIPE)  # fmt: skip
@click.option(
    "--set",
    "others",
    multiple=True,
    metavar="NAME=VALUE",
    help=f"Any other recipe setting, e.g. augmentation=none; may be repeated.{_OF_RECIPE}",
)
@LABEL_MAP
@SPLIT
@click.option("--split-seed", type=int, default=0, show_default=True,
              help=OPTIONS["split_seed"][1])  # fmt: skip
@click.option(
    "--camera",
    "cameras",
    multiple=True,
    metavar="SOURCE=LOOK",
    help="Convert a source's images to look like the Pi-10's: grey, inverted, and its pixel"
    " size in µm (to rescale to 10 µm), e.g. pwssc=inverted,grey,5.2; may be"
    " repeated.  [default: unchanged]",
)
@click.option(
    "--cite",
    "cited",
    multiple=True,
    metavar="SOURCE=TITLE; LICENCE",
    help="How the model card cites a source of the data; may be repeated.  [default: by name"
    " alone]",
)
@click.option("--licence", default="", metavar="SPDX",
              help="Licence of the model for its card and graph, such as CC-BY-4.0."
                   "  [default: not stated]")  # fmt: skip
@click.option("--never-seen", default="", metavar="TEXT",
              help="What the model has never been trained on; shown in its card and after each run"
                   " with it.  [default: nothing is stated]")  # fmt: skip
@click.option("--name", default="", help=f"{OPTIONS['name'][1]}  [default: the network's name]")
@click.option("--device", default="",
              help=f"{OPTIONS['device'][1]}  [default: a GPU if there is one]")  # fmt: skip
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Number of CPU threads for the network.  [default: PyTorch's own number]",
)
@click.option(
    "--loaders",
    type=click.IntRange(1, 1024),
    help="Number of threads that prepare images; with a GPU, of processes.  [default: 1; with a"
    " GPU, one less than the cores]",
)
@click.option(
    "--save-steps",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Optimiser steps between checkpoints; 0 means only at the end of each epoch.",
)
@click.option("--resume", is_flag=True, help="Continue the training in --out.")
@click.option("--experiment", default="", metavar="NAME",
              help=f"{OPTIONS['experiment'][1]}"
                   "  [default: pi10; with --resume, the one used before]")  # fmt: skip
@click.option("--register", default="", metavar="NAME",
              help=f"{OPTIONS['register'][1]}  [default: none]")  # fmt: skip
@click.option("--no-tracking", is_flag=True, help="Do not record the training in MLflow.")
def train(inputs: tuple[Path, ...], out: Path, resume: bool, threads: int | None,
          label_map: Path | None, manifest: Path | None, split_seed: int, experiment: str,
          register: str, no_tracking: bool, cameras: tuple[str, ...],
          **options: Any) -> None:  # fmt: skip
    """Train a network on labelled images, test it and package it.

    INPUT is as for `pi10 dataset`: a folder tree, tar or zip of label/image files, a table with
    the columns path and label, or a run whose particles were labelled with `pi10 validate`.
    The recipes vit and beit are those of the paper. Needs the
    extra [train].

    \b
    Written into the folder --out, with a folder seed-N/ for each seed:
      manifest.csv                  each image, its class, split and SHA-256
      left_out.csv                  each file that is not used, and why
      seed-N/config.json            all settings and versions
      seed-N/metrics.csv            one line per epoch
      seed-N/checkpoint/            weights of the epoch with the best validation macro-F1
      seed-N/package/               the model package, for `pi10 classify --model`
      seed-N/test_predictions.csv   the class and scores of each test image

    The training is recorded in MLflow as one run, with a nested run per seed: at
    MLFLOW_TRACKING_URI or, if it is not set, in mlflow.db in the working folder. What the server
    does not accept stays in --out until `pi10 track sync` sends it.

    \b
    Examples:
      pi10 train planktonset1.tar --recipe vit --loss las --seeds 1,2,3 --out vit-las
      pi10 train crops/ --label-map groups.csv --epochs 5 --size 64 --out quick
      pi10 train crops/ --recipe small --teacher vit-las/seed-1/package --out student
      accelerate launch -m pi10_classifier train crops/ --recipe beit --out beit
    """
    from pi10_classifier.foundation.signals import stoppable

    try:
        from pi10_classifier.cli.terminal.package_options import show_left_out, warn_of_sample_use
        from pi10_classifier.datasets.records import exit_code
        from pi10_classifier.datasets.validated import runs_of
        from pi10_classifier.tracking import mlflow_reporter
        from pi10_classifier.training import output_folder
        from pi10_classifier.training import run as runs
        from pi10_classifier.training.data.camera_look import Device
        from pi10_classifier.training.data.loading import read_examples
        from pi10_classifier.training.plan import TrainingPlan
    except ImportError as error:
        raise SettingError(
            f"training needs torch and transformers ({error}); run: {install_command('train')}"
        ) from error
    from pi10_classifier.registry.resolve import pinned
    from pi10_classifier.training.recipe import named

    recipe_name, network, loaders = (options.pop(x) for x in ("recipe", "network", "loaders"))
    seeds = options.pop("seeds")
    # one version, also where the training is gone on with after the alias has moved
    init = pinned(options.pop("init"))
    teachers = tuple(pinned(name) for name in options.pop("teachers"))
    kept = {x: options.pop(x) for x in ("name", "device", "save_steps", "never_seen", "licence")}
    sources = dict(map(citation, options.pop("cited")))
    chosen, recipe = named(recipe_name, network, **_changes(options, teachers))
    plan = TrainingPlan(network=chosen, recipe=recipe, out=out, seeds=_seeds(seeds), init=init,
                teachers=teachers, loaders=loaders, sources=sources,
                command=shlex.join(["pi10", *sys.argv[1:]]), **kept)  # fmt: skip
    looks = {name: Device.parse(text) for name, text in map(source_of, cameras)}
    if threads:
        runs.use_threads(threads)
    before = out / output_folder.MANIFEST
    if resume and manifest is None and before.is_file():
        log(f"using the split and classes of {before}")
        manifest = before
    reporter = None if no_tracking else mlflow_reporter.of_training(
        out, log, experiment=experiment, register=register, resume=resume
    )  # fmt: skip
    with stoppable() as raise_if_cancelled:
        examples = read_examples(
            inputs,
            label_map,
            manifest,
            split_seed,
            progress=lambda done: raise_if_cancelled(),
            cameras=looks,
        )
        show_left_out(examples.scan)
        warn_of_sample_use(runs_of(examples.scan), "trained")
        done = runs.train_seeds(
            examples,
            plan,
            resume=resume,
            emit=log,
            raise_if_cancelled=raise_if_cancelled,
            reporter=reporter,
        )
    for folder in done:
        click.echo(folder)
    sys.exit(exit_code(examples.scan.left_out))


def _changes(options: dict[str, Any], teachers: Sequence[str]) -> dict[str, Any]:
    """The given flags, as changes to a recipe."""
    others, loss_options = options.pop("others"), options.pop("loss_options")
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in map(pair, others):
        if name == "seed":
            raise SettingError("seed cannot be given with --set; use --seeds")
        given.setdefault(name, value)
    if "loss" in given:
        given["loss"] = str(given["loss"]).lower().replace("-", "_")
    if loss_options:
        given["loss_options"] = dict(map(pair, loss_options))
    if teachers:
        given.setdefault("distil", 0.5)
    return given


def pair(text: str) -> tuple[str, Any]:
    """Parse ``name=value``; the value is read as TOML, or else taken as a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SettingError(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name.strip(), tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def source_of(text: str) -> tuple[str, str]:
    """Parse ``source=text``."""
    name, equals, rest = text.partition("=")
    if not equals or not name.strip() or not rest.strip():
        raise SettingError(f"{text!r} is not of the form SOURCE=VALUE")
    return name.strip(), rest.strip()


def citation(text: str) -> tuple[str, tuple[str, str]]:
    """Parse ``source=title; licence``; the licence is optional."""
    name, rest = source_of(text)
    title, semicolon, licence = rest.rpartition(";")
    return name, (title.strip(), licence.strip()) if semicolon else (rest, "not stated")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingError(f"--seeds is {text!r}; give whole numbers, e.g. 1,2,3") from None


def log(line: str) -> None:
    click.echo(line, err=True)
