"""The command ``pi10 search``: search for the best settings of a training."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import LABEL_MAP, SPLIT, show_left_out
from pi10_classifier.cli.train import log, pair
from pi10_classifier.datasets.records import exit_code
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.search.spaces import SAMPLERS, Value

if TYPE_CHECKING:
    from pi10_classifier.search.study import Trial


@click.command()
@click.option("--data", required=True, multiple=True, metavar="PATH",
              type=click.Path(exists=True, path_type=Path),
              help="Labelled images, as for `pi10 train`; may be repeated.")  # fmt: skip
@click.option("--out", required=True, type=FOLDER, help="Folder to write the search to.")
@click.option(
    "--network",
    default="vit",
    show_default=True,
    help="Network to train: vit, beit, resnet18 or resnet50; with --grid, any network that"
    " `pi10 train` takes.",
)
@click.option("--loss", "losses", multiple=True, default=("las",), show_default=True,
              help="Loss to train with; repeat it to compare several.")  # fmt: skip
@click.option(
    "--grid",
    "grids",
    multiple=True,
    metavar="NAME=VALUE,VALUE",
    help="Values to try for a setting, e.g. rate=0.001,0.0003; may be repeated.  [default: the"
    " paper's grid]",
)
@click.option(
    "--set",
    "others",
    multiple=True,
    metavar="NAME=VALUE",
    help="Recipe setting that all trials share, e.g. size=128; may be repeated.  [default: the"
    " network's recipe]",
)
@click.option(
    "--sampler",
    type=click.Choice(SAMPLERS),
    default="grid",
    show_default=True,
    help="How to choose trials: every point of the grid, or TPE, which samples learning rates"
    " between the lowest and highest of the grid.",
)
@click.option(
    "--trials", type=int, help="Number of trials; required with tpe.  [default: the whole grid]"
)
@click.option("--seed", type=int, default=0, show_default=True,
              help="Random seed of the order of trials and of each training.")  # fmt: skip
@click.option(
    "--init",
    default="pretrained",
    show_default=True,
    metavar="HOW",
    help="Initial weights: pretrained, random, or a folder with safetensors.",
)
@LABEL_MAP
@SPLIT
@click.option(
    "--device",
    default="",
    help="Device to train on; cpu ignores a GPU.  [default: a GPU if there is one]",
)
@click.option("--resume", is_flag=True, help="Continue the search in --out.")
@click.option(
    "--experiment",
    default="",
    metavar="NAME",
    help="MLflow experiment.  [default: pi10; with --resume, the one used before]",
)
@click.option("--no-tracking", is_flag=True, help="Do not record the search in MLflow.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the best trial as JSON instead of text."
)
def search(data: tuple[Path, ...], out: Path, network: str, losses: tuple[str, ...],
           grids: tuple[str, ...], others: tuple[str, ...], sampler: str, trials: int | None,
           seed: int, init: str, label_map: Path | None, manifest: Path | None, device: str,
           resume: bool, experiment: str, no_tracking: bool, as_json: bool) -> None:  # fmt: skip
    """Search for the best training settings, on the paper's grid or with TPE.

    If LAS is the only loss, its four shapes are searched too. Trials are ranked by macro-F1 on
    the validation images; the test images are never used. In MLflow the search is one run, with
    a nested run per trial. Afterwards, train with the best settings and several seeds.

    \b
    Written into the folder --out:
      trials.csv   settings and validation macro-F1 of each trial, or why it failed
      best.json    the best trial
      trials/      a folder for each training, named after its settings
      search.db    Optuna's record; --resume continues from it and retries failed trials

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
        from pi10_classifier.training.plan import TrainingPlan
    except ImportError as error:
        raise SettingError(
            f"search needs torch and transformers ({error}); run: {install_command('train')}"
        ) from error

    def log_trial(trial: Trial) -> None:
        result = f"{trial.macro_f1:.4f}" if trial.macro_f1 is not None else trial.error
        log(f"trial {trial.number}: {_listed(trial.params)}: {result}")

    space = read_space(grids, losses) if grids else paper_space(network, sampler, losses)
    base = {"loss": losses[0], **dict(map(pair, others))}
    # a wrong setting is told before data are read
    first = {name: v[0] for name, v in space.items() if not isinstance(v, Range)}
    recipe_of(network, base, first)
    recipe = recipe_of(network, base, {})
    command = shlex.join(["pi10", *sys.argv[1:]])
    plan = TrainingPlan(network, recipe, out, (seed,), init, device=device, command=command)
    reporter = None if no_tracking else mlflow_reporter.of_search(
        out, log, experiment=experiment, resume=resume
    )  # fmt: skip
    with stoppable() as raise_if_cancelled:
        examples = read_examples(
            data, label_map, manifest, progress=lambda done: raise_if_cancelled()
        )
        show_left_out(examples.scan)
        train_one = Trainer(examples, plan, base, reporter, log, raise_if_cancelled)
        about = {"network": network, "init": init, "split_sha256": examples.sha256,
                 "recipe": recipe.to_dict()}  # fmt: skip
        finished = run_search(train_one, space, folder=out, sampler=sampler, trials=trials,
                              seed=seed, resume=resume, about=about, done=log_trial,
                              reporter=reporter)  # fmt: skip
    best = best_of(finished)
    failed = [trial for trial in finished if trial.macro_f1 is None]
    if failed:
        log(f"{len(failed)} of {len(finished)} trials failed, see trials.csv; --resume retries"
            " them")  # fmt: skip
    if best is None:
        raise SettingError(
            f"all of the {len(finished)} trials failed, the first with: {finished[0].error}"
        )
    if as_json:
        click.echo((out / BEST_TRIAL).read_text("utf-8"), nl=False)
    else:
        click.echo(f"best of {len(finished)} trials by validation macro-F1 {best.macro_f1:.4f}:"
                   f" {_listed(best.params)}")  # fmt: skip
    sys.exit(exit_code(examples.scan.left_out))


def _listed(params: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} {value}" for name, value in params.items())
