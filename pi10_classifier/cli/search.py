"""``pi10 search``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import tell_left_out
from pi10_classifier.cli.train import pair, say
from pi10_classifier.datasets.records import exit_code
from pi10_classifier.errors import SettingError
from pi10_classifier.search.spaces import SAMPLERS, Value

if TYPE_CHECKING:
    from pi10_classifier.search.study import Trial


@click.command()
@click.option("--data", required=True, multiple=True, metavar="PATH",
              type=click.Path(exists=True, path_type=Path),
              help="Labelled images, as for train; may be given several times.")  # fmt: skip
@click.option("--out", required=True, type=FOLDER, help="Folder of the search.")
@click.option("--network", default="vit", show_default=True,
              help="vit, beit, resnet18, resnet50; with --grid, any of train's.")  # fmt: skip
@click.option("--loss", "losses", multiple=True, default=("las",), show_default=True,
              help="A loss; several are searched too.")  # fmt: skip
@click.option("--grid", "grids", multiple=True, metavar="NAME=VALUE,VALUE",
              help="Settings to try instead of the paper's, e.g. rate=0.001,0.0003.")  # fmt: skip
@click.option("--set", "others", multiple=True, metavar="NAME=VALUE",
              help="A setting of the recipe that all trials share, e.g. size=128.")  # fmt: skip
@click.option("--sampler", type=click.Choice(SAMPLERS), default="grid", show_default=True,
              help="The grid, or TPE (of the paper's rates, between their ends).")  # fmt: skip
@click.option("--trials", type=int, help="How many trainings.  [default: the whole grid]")
@click.option("--seed", type=int, default=0, show_default=True,
              help="Of the order of trials, and of each training.")  # fmt: skip
@click.option("--init", default="pretrained", show_default=True, metavar="HOW",
              help="pretrained, random, or a folder of safetensors.")  # fmt: skip
@click.option("--label-map", type=click.Path(path_type=Path), help="CSV of label,class.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="The split of `pi10 dataset`, instead of a new one.",
)
@click.option("--device", default="", help="cpu, to leave a GPU alone.")
@click.option("--resume", is_flag=True, help="Go on with the search in --out.")
@click.option("--experiment", default="", metavar="NAME",
              help="Of MLflow.  [default: pi10; on --resume that of before]")  # fmt: skip
@click.option("--no-tracking", is_flag=True, help="Tell MLflow nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the best trial as JSON.")
def search(data: tuple[Path, ...], out: Path, network: str, losses: tuple[str, ...],
           grids: tuple[str, ...], others: tuple[str, ...], sampler: str, trials: int | None,
           seed: int, init: str, label_map: Path | None, manifest: Path | None, device: str,
           resume: bool, experiment: str, no_tracking: bool, as_json: bool) -> None:  # fmt: skip
    """Search for the best settings of a training: the paper's grid, or TPE.

    With LAS alone its four shapes are searched too. Trials are judged by macro-F1 on the
    validation images; the test images are never looked at. MLflow gets a run with one nested
    in it for each trial. Then train with the best settings, with several seeds.

    \b
    Written into the folder --out:
      trials.csv   settings and validation macro-F1 of each trial, or why it has none
      best.json    the best trial
      trials/      a folder for each training, named after its settings
      search.db    Optuna's record, from which --resume goes on; it tries again what failed

    \b
    Examples:
      pi10 search --data labelled.tar --network resnet18 --loss st_ce --out search
      pi10 search --data labelled.tar --sampler tpe --trials 20 --out search
      pi10 search --data crops --network mobilenet_v2 --grid rate=0.001,0.0003 --out search
    """
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.search.spaces import Range, paper_space, read_space
    from pi10_classifier.search.study import best_of
    from pi10_classifier.search.study import search as run_search
    from pi10_classifier.training.output_folder import BEST_TRIAL

    try:
        from pi10_classifier.search.trial import Trainer, recipe_of
        from pi10_classifier.tracking import mlflow_reporter
        from pi10_classifier.training.data.loading import read_examples
        from pi10_classifier.training.plan import Plan
    except ImportError as error:
        raise SettingError(
            f'search needs torch and transformers ({error}); pip install "pi10-classifier[train]"'
        ) from error

    def tell(trial: Trial) -> None:
        result = f"{trial.macro_f1:.4f}" if trial.macro_f1 is not None else trial.error
        say(f"trial {trial.number}: {_listed(trial.params)}: {result}")

    space = read_space(grids, losses) if grids else paper_space(network, sampler, losses)
    base = {"loss": losses[0], **dict(map(pair, others))}
    # a wrong setting is told before data are read
    first = {name: v[0] for name, v in space.items() if not isinstance(v, Range)}
    recipe_of(network, base, first)
    recipe = recipe_of(network, base, {})
    command = shlex.join(["pi10", *sys.argv[1:]])
    plan = Plan(network, recipe, out, (seed,), init, device=device, command=command)
    reporter = None if no_tracking else mlflow_reporter.of_search(
        out, say, experiment=experiment, resume=resume
    )  # fmt: skip
    with stoppable() as check:
        examples = read_examples(data, label_map, manifest, progress=lambda done: check())
        tell_left_out(examples.scan)
        train_one = Trainer(examples, plan, base, reporter, say, check)
        about = {"network": network, "init": init, "split_sha256": examples.sha256,
                 "recipe": recipe.to_dict()}  # fmt: skip
        found = run_search(train_one, space, folder=out, sampler=sampler, trials=trials, seed=seed,
                           resume=resume, about=about, done=tell, reporter=reporter)  # fmt: skip
    best = best_of(found)
    lacking = [trial for trial in found if trial.macro_f1 is None]
    if lacking:
        say(f"{len(lacking)} of {len(found)} points have no value, see trials.csv; --resume tries "
            "them again")  # fmt: skip
    if best is None:
        raise SettingError(f"none of {len(found)} trials could be trained: {found[0].error}")
    if as_json:
        click.echo((out / BEST_TRIAL).read_text("utf-8"), nl=False)
    else:
        click.echo(f"best of {len(found)} trials by validation macro-F1 {best.macro_f1:.4f}:"
                   f" {_listed(best.params)}")  # fmt: skip
    sys.exit(exit_code(examples.scan.left_out))


def _listed(params: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} {value}" for name, value in params.items())
