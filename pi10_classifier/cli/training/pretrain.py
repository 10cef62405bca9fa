"""The command ``pi10 pretrain``: first weights for a network from images without labels."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import show_left_out_files, training_extra
from pi10_classifier.cli.train import log, pair
from pi10_classifier.errors import SettingError
from pi10_classifier.training.options import OPTIONS
from pi10_classifier.training.recipe import HELP

_OF_NETWORK = "  [default: the network's]"


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, type=FOLDER, help="Folder to write the pretraining to.")
@click.option(
    "--method",
    default="",
    metavar="NAME",
    help="simclr, simsiam or dino, which see images alone, or profiles.  [default: profiles with"
    " --profiles, else simclr]",
)
@click.option(
    "--profiles",
    default="",
    metavar="lines|FILE",
    help="Profiles of the particles: lines, the extinction of each scanned line of a line-scan"
    " camera in red, green and blue, or a Parquet table with the column particle_id and a column of"
    " lists for each channel.  [default: none]",
)
@click.option("--encoder", default="cnn", show_default=True, metavar="NAME",
              help="Encoder of the profiles: cnn, lstm or transformer.")  # fmt: skip
@click.option("--network", default="small", show_default=True,
              help="Network to pretrain, as for `pi10 train`.")  # fmt: skip
@click.option("--init", default="pretrained", show_default=True, metavar="HOW",
              help=OPTIONS["init"][1])  # fmt: skip
@click.option("--images", type=int, default=20_000, show_default=True,
              help="Most images to draw from the inputs, at random.")  # fmt: skip
@click.option("--epochs", type=int, help=HELP["epochs"] + "  [default: 100]")
@click.option("--minutes", type=float, help=HELP["minutes"] + "  [default: no limit]")
@click.option("--size", type=int, help=HELP["size"] + _OF_NETWORK)
@click.option("--batch", type=int, help="Images per step, each compared with all others of it."
                                        "  [default: 128]")  # fmt: skip
@click.option("--rate", type=float, help=HELP["rate"] + "  [default: 0.0005]")
@click.option("--precision", type=click.Choice(["float32", "bf16", "fp16"]),
              help=HELP["precision"] + "  [default: float32]")  # fmt: skip
@click.option("--deterministic", is_flag=True, default=None, help=HELP["deterministic"])
@click.option(
    "--set",
    "others",
    multiple=True,
    metavar="NAME=VALUE",
    help=f"Another setting of a recipe, e.g. ground_clip=6; may be repeated.{_OF_NETWORK}",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Random seed, also of the draw of images.")  # fmt: skip
@click.option("--name", default="",
              help=f"{OPTIONS['name'][1]}  [default: NETWORK-pretrained]")  # fmt: skip
@click.option("--device", default="",
              help="Device to train on; cpu ignores a GPU."
                   "  [default: a GPU if there is one]")  # fmt: skip
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Number of CPU threads for the network.  [default: PyTorch's own number]",
)
@click.option("--resume", is_flag=True, help="Continue the pretraining in --out.")
@click.option("--experiment", default="", metavar="NAME",
              help=f"{OPTIONS['experiment'][1]}"
                   "  [default: pi10; with --resume, the one used before]")  # fmt: skip
@click.option("--no-tracking", is_flag=True, help="Do not record the pretraining in MLflow.")
def pretrain(inputs: tuple[str, ...], out: Path, method: str, profiles: str, encoder: str,
             network: str, init: str, images: int, others: tuple[str, ...], seed: int, name: str,
             device: str, threads: int | None, resume: bool, experiment: str, no_tracking: bool,
             **settings: Any) -> None:  # fmt: skip
    """Pretrain a network on images without labels.

    INPUT is a file, folder, tar or zip of images, or s3://bucket/prefix, as for `pi10 classify`.
    With --profiles, each image is to be told by the profile of its particle from all others;
    without, two views of an image are to be told, or predicted, from each other. Needs the extra
    [train].

    \b
    Written into the folder --out:
      particles.csv    each image that was drawn
      left_out.csv     each file that is not used, and why
      config.json      all settings and versions
      metrics.csv      one line per epoch
      checkpoint/      weights, for `pi10 train --init`
      learner/         the same with what they were trained with, such as the profiles' encoder
      package/         a model package, for `pi10 adapt --model`; its classes are clusters, no taxa

    The run is recorded in MLflow as that of `pi10 train`.

    \b
    Examples:
      pi10 pretrain cruise/ --out unlabelled --minutes 60
      pi10 pretrain cruise/ --profiles lines --encoder lstm --out cross
      pi10 pretrain crops/ --profiles cytosense.parquet --out cross --images 50000
      pi10 train labelled.tar --recipe small --init unlabelled --out trained
      pi10 adapt --model cross/package --gallery crops/ --out adapted
    """
    from pi10_classifier.datasets.records import exit_code
    from pi10_classifier.foundation.signals import stoppable

    with training_extra("pretrain"):
        from pi10_classifier.tracking import mlflow_reporter
        from pi10_classifier.training import run as trainings
        from pi10_classifier.training.pretraining import plan as plans
        from pi10_classifier.training.pretraining import run as runs

    from pi10_classifier.registry.resolve import pinned

    given = {key: value for key, value in settings.items() if value is not None}
    for key, value in map(pair, others):
        if key in settings:
            raise SettingError(f"{key} cannot be given with --set; use --{key}")
        given[key] = value
    chosen = plans.network_named(network)
    plan = plans.PretrainingPlan(
        network=chosen,
        recipe=plans.pretraining_recipe(chosen, seed, **given),
        out=out,
        method=method or ("profiles" if profiles else "simclr"),
        profiles=profiles,
        encoder=encoder,
        images=images,
        init=pinned(init),
        name=name,
        device=device,
        command=shlex.join(["pi10", *sys.argv[1:]]),
    )
    if threads:
        trainings.use_threads(threads)
    reporter = None if no_tracking else mlflow_reporter.of_pretraining(
        out, log, experiment=experiment, resume=resume
    )  # fmt: skip
    with stoppable() as raise_if_cancelled:
        drawn = runs.draw_particles(inputs, plan, emit=log, raise_if_cancelled=raise_if_cancelled)
        show_left_out_files(drawn.left_out)
        log(f"{len(drawn.particles):,} of {drawn.images:,} images are used")
        done = runs.pretrain(
            drawn,
            plan,
            resume=resume,
            emit=log,
            raise_if_cancelled=raise_if_cancelled,
            reporter=reporter,
        )
    click.echo(done)
    sys.exit(exit_code(drawn.left_out))
