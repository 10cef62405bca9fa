"""The command ``pi10 train``. A face: it parses, calls ``training.runs`` and prints."""

from __future__ import annotations

import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.errors import SettingError
from pi10_classifier.training.options import OPTIONS

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=_PATH)
@click.option("--out", required=True, type=FOLDER, help="Folder of the training.")
@click.option("--recipe", default=OPTIONS["recipe"][0], show_default=True,
              metavar="NAME|FILE", help=OPTIONS["recipe"][1])  # fmt: skip
@click.option("--network", default="", help=OPTIONS["network"][1])
@click.option("--loss", help=OPTIONS["loss"][1])
@click.option("--loss-option", "loss_options", multiple=True, metavar="NAME=VALUE",
              help="An option of the loss, e.g. shape=linear.")  # fmt: skip
@click.option("--seeds", default=OPTIONS["seeds"][0], show_default=True, help=OPTIONS["seeds"][1])
@click.option("--init", default=OPTIONS["init"][0], show_default=True, metavar="HOW",
              help=OPTIONS["init"][1])  # fmt: skip
@click.option("--teacher", default="", metavar="PACKAGE", help=OPTIONS["teacher"][1])
@click.option("--distil", type=float, help="Weight of the teacher, 0 to 1.  [default: 0.5]")
@click.option("--epochs", type=int)
@click.option("--size", type=int, help="Side of the input, px.")
@click.option("--batch", type=int, help="Images a pass.")
@click.option("--accumulate", type=int, help="Passes a step.")
@click.option("--rate", type=float, help="Learning rate.")
@click.option("--patience", type=int, help="End after so many epochs without a better one.")
@click.option("--precision", type=click.Choice(["float32", "bf16", "fp16"]))
@click.option("--deterministic", is_flag=True, default=None,
              help="The same bits every time on one machine.")  # fmt: skip
@click.option("--set", "others", multiple=True, metavar="NAME=VALUE",
              help="Anything else of a recipe, e.g. augmentation=none.")  # fmt: skip
@click.option("--label-map", type=_PATH, help="CSV of label,class.")
@click.option("--manifest", type=_PATH, help="The split of `pi10 dataset`, instead of a new one.")
@click.option("--split-seed", type=int, default=0, show_default=True,
              help=OPTIONS["split_seed"][1])  # fmt: skip
@click.option("--camera", "cameras", multiple=True, metavar="SOURCE=LOOK",
              help="Bring a source to another look: grey, inverted, its µm a pixel (to the "
                   "Pi-10's 10), e.g. pwssc=inverted,grey,5.2.")  # fmt: skip
@click.option("--cite", "cited", multiple=True, metavar="SOURCE=TITLE; LICENCE",
              help="How the model card cites a source of the data.")  # fmt: skip
@click.option("--never-seen", default="", metavar="TEXT",
              help="What the model has not seen, for its card and each run with it.")  # fmt: skip
@click.option("--name", default="", help=f"{OPTIONS['name'][1]}  [default: the network's]")
@click.option("--device", default="", help=OPTIONS["device"][1])
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads of the network.")
@click.option(
    "--loaders",
    type=click.IntRange(1, 1024),
    help="Threads that prepare images; processes beside a GPU.  [default: 1; beside a GPU all"
    " cores but one]",
)
@click.option("--save-steps", type=click.IntRange(0), default=0, show_default=True,
              help="Steps between checkpoints, besides each epoch's end.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the training in --out.")
@click.option("--experiment", default="", metavar="NAME",
              help=f"{OPTIONS['experiment'][1]}"
                   "  [default: pi10; on --resume that of before]")  # fmt: skip
@click.option("--register", default="", metavar="NAME",
              help=OPTIONS["register"][1])  # fmt: skip
@click.option("--no-tracking", is_flag=True, help="Tell MLflow nothing.")
def train(inputs: tuple[Path, ...], out: Path, resume: bool, threads: int | None,
          label_map: Path | None, manifest: Path | None, split_seed: int, experiment: str,
          register: str, no_tracking: bool, cameras: tuple[str, ...],
          **options: Any) -> None:  # fmt: skip
    """Train a network on labelled images, test it and package it.

    INPUT is as for `pi10 dataset`: a folder tree, tar or zip of label/image files, or a table
    of path,label. Needs the extra [train]. The defaults of vit and beit are the paper's.

    \b
    Written into the folder --out, and into seed-N/ there for each seed:
      manifest.csv           each image, its class, split and SHA-256
      left_out.csv           each file not used, and why
      seed-N/config.json     all settings, versions
      seed-N/metrics.csv     a line an epoch; the best by validation macro-F1 is kept
      seed-N/checkpoint/     its weights, as safetensors
      seed-N/package/        the model package, for `pi10 classify --model`
      seed-N/test_predictions.csv

    MLflow, at MLFLOW_TRACKING_URI or else mlflow.db in the working folder, gets a run with one
    nested in it for each seed. What a server does not take waits in the folder, for
    `pi10 track sync`.

    \b
    Examples:
      pi10 train planktonset1.tar --recipe vit --loss las --seeds 1,2,3 --out vit-las
      pi10 train crops/ --label-map groups.csv --epochs 5 --size 64 --out quick
      pi10 train crops/ --recipe small --teacher vit-las/seed-1/package --out student
      accelerate launch -m pi10_classifier train crops/ --recipe beit --out beit
    """
    from pi10_classifier.foundation.signals import stoppable

    try:
        from pi10_classifier.cli.terminal.package_options import tell_left_out
        from pi10_classifier.datasets.records import exit_code
        from pi10_classifier.tracking import mlflow_reporter
        from pi10_classifier.training import output_folder
        from pi10_classifier.training import run as runs
        from pi10_classifier.training.data.camera_look import Device
        from pi10_classifier.training.data.loading import read_examples
        from pi10_classifier.training.plan import Plan
    except ImportError as error:
        raise SettingError(
            f'training needs torch and transformers ({error}); pip install "pi10-classifier[train]"'
        ) from error
    from pi10_classifier.training.recipe import named

    recipe_name, network, loaders = (options.pop(x) for x in ("recipe", "network", "loaders"))
    seeds, init, teacher = (options.pop(x) for x in ("seeds", "init", "teacher"))
    kept = {x: options.pop(x) for x in ("name", "device", "save_steps", "never_seen")}
    sources = dict(map(citation, options.pop("cited")))
    chosen, recipe = named(recipe_name, network, **_changes(options, teacher))
    plan = Plan(network=chosen, recipe=recipe, out=out, seeds=_seeds(seeds), init=init,
                teacher=teacher, loaders=loaders, sources=sources,
                command=shlex.join(["pi10", *sys.argv[1:]]), **kept)  # fmt: skip
    looks = {name: Device.parse(text) for name, text in map(source_of, cameras)}
    if threads:
        runs.use_threads(threads)
    before = out / output_folder.MANIFEST
    if resume and manifest is None and before.is_file():
        say(f"split and classes are those of {before}")
        manifest = before
    reporter = None if no_tracking else mlflow_reporter.of_training(
        out, say, experiment=experiment, register=register, resume=resume
    )  # fmt: skip
    with stoppable() as check:
        examples = read_examples(inputs, label_map, manifest, split_seed,
                                 progress=lambda done: check(), cameras=looks)  # fmt: skip
        tell_left_out(examples.scan)
        done = runs.train_seeds(examples, plan, resume=resume, say=say, check=check,
                                reporter=reporter)  # fmt: skip
    for folder in done:
        click.echo(folder)
    sys.exit(exit_code(examples.scan.left_out))


def _changes(options: dict[str, Any], teacher: str) -> dict[str, Any]:
    """The flags that were given, as changes of a recipe."""
    others, loss_options = options.pop("others"), options.pop("loss_options")
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in map(pair, others):
        if name == "seed":
            raise SettingError("a seed is given by --seeds")
        given.setdefault(name, value)
    if "loss" in given:
        given["loss"] = str(given["loss"]).lower().replace("-", "_")
    if loss_options:
        given["loss_options"] = dict(map(pair, loss_options))
    if teacher:
        given.setdefault("distil", 0.5)
    return given


def pair(text: str) -> tuple[str, Any]:
    """``name=value``; the value as TOML has it, else a word."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SettingError(f"{text!r} is no NAME=VALUE")
    try:
        return name.strip(), tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def source_of(text: str) -> tuple[str, str]:
    """``source=what is said of it``."""
    name, equals, rest = text.partition("=")
    if not equals or not name.strip() or not rest.strip():
        raise SettingError(f"{text!r} is no SOURCE=VALUE")
    return name.strip(), rest.strip()


def citation(text: str) -> tuple[str, tuple[str, str]]:
    """``source=title; licence``; the licence may be left out."""
    name, rest = source_of(text)
    title, semicolon, licence = rest.rpartition(";")
    return name, (title.strip(), licence.strip()) if semicolon else (rest, "not stated")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingError(f"--seeds is {text!r}; give whole numbers, e.g. 1,2,3") from None


def say(line: str) -> None:
    click.echo(line, err=True)
