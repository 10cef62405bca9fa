"""The commands ``pi10 compare``, a table of tested trainings, and ``pi10 table1``, the paper's."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import LABEL_MAP, SPLIT, show_left_out
from pi10_classifier.cli.train import log, pair
from pi10_classifier.datasets.records import exit_code
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.search.spaces import LOSSES

NETWORKS = ("vit", "beit", "resnet18")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--against",
    default="",
    metavar="ROW",
    help='Row to test the others against, e.g. "vit las".  [default: the best row]',
)
@click.option("--resamples", type=click.IntRange(100, 100_000), default=2000, show_default=True,
              help="Number of bootstrap resamples.")  # fmt: skip
@click.option("--csv", "table_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Also write the table to this CSV file.  [default: none]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON instead of text.")
def compare(runs: tuple[str, ...], against: str, resamples: int, table_file: Path | None,
            as_json: bool) -> None:  # fmt: skip
    """Compare tested trainings: macro-F1 and F1 per class for each network and loss.

    RUN is a folder that is searched for test_predictions.csv, such a file, or runs:/RUN_ID for
    an MLflow run and the runs nested in it. Runs with the same network and loss form one row;
    they are its seeds.

    Figures are means over seeds, with 95 % bootstrap intervals over images and seeds. Each row
    is tested against the best one with a paired bootstrap and Holm's correction.

    \b
    Example:
      pi10 compare training-out/vit-las training-out/vit-st_ce --csv table.csv
    """
    from pi10_classifier.evaluation.comparison import compare as tabulate
    from pi10_classifier.foundation.files import write_atomically
    from pi10_classifier.tracking.run_reader import differing_settings, read_runs

    for note in differing_settings(runs):
        click.echo(f"note: {note}", err=True)
    table = tabulate(read_runs(runs), against, resamples)
    if table_file is not None:
        write_atomically(table_file, table.to_csv().encode("utf-8"))
    click.echo(json.dumps(table.to_json(), indent=2) if as_json else table.to_text(), nl=as_json)


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...",
                type=click.Path(exists=True, path_type=Path))  # fmt: skip
@click.option("--out", required=True, type=FOLDER, help="Folder to write the trainings to.")
@click.option("--network", "networks", multiple=True, default=NETWORKS, show_default=True,
              help="Network to train; may be repeated.")  # fmt: skip
@click.option("--loss", "losses", multiple=True, default=LOSSES, show_default=True,
              help="Loss to train with; may be repeated.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True,
              help="Number of seeds of each row.")  # fmt: skip
@click.option(
    "--set",
    "others",
    multiple=True,
    metavar="NAME=VALUE",
    help="Recipe setting that all rows share, e.g. size=96 or epochs=10; may be repeated."
    "  [default: each network's recipe]",
)
@click.option("--init", default="pretrained", show_default=True, metavar="HOW",
              help="Initial weights: pretrained or random.")  # fmt: skip
@LABEL_MAP
@SPLIT
@click.option("--device", default="",
              help="Device to train on.  [default: a GPU if there is one]")  # fmt: skip
@click.option(
    "--experiment", default="", metavar="NAME", help="MLflow experiment.  [default: pi10]"
)
@click.option("--no-tracking", is_flag=True, help="Do not record the trainings in MLflow.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON instead of text.")
def table1(inputs: tuple[Path, ...], out: Path, networks: tuple[str, ...],
           losses: tuple[str, ...], seeds: int, others: tuple[str, ...], init: str,
           label_map: Path | None, manifest: Path | None, device: str, experiment: str,
           no_tracking: bool, as_json: bool) -> None:  # fmt: skip
    """Train each network with each loss, and print the paper's table of them.

    The rows are as in Eftekhari et al. 2024: macro-F1 and the F1 of each class on the test
    images, as means over seeds, with 95 % intervals over images and seeds, and a paired test
    against the best row. A row is a training of `pi10 train` in its own folder below --out; run
    the same command again to go on after an interruption. dynamic_las needs vit or beit; other
    networks are left out there. On two cores the whole table takes days: give --set size=64 and
    fewer networks, or a GPU.

    \b
    Written into the folder --out:
      NETWORK-LOSS/   the trainings of one row
      table1.csv      the table, figures in full precision

    \b
    Examples:
      pi10 table1 labelled.tar --out table1
      pi10 table1 labelled.tar --network mobilenet_v2 --set size=64 --set epochs=4 --out quick
    """
    from pi10_classifier.evaluation.comparison import compare as tabulate
    from pi10_classifier.foundation.files import write_atomically
    from pi10_classifier.foundation.signals import stoppable

    try:
        from pi10_classifier.search.paper_table import entries, plans_of, train_table
        from pi10_classifier.tracking import mlflow_reporter
        from pi10_classifier.tracking.run_reader import read_runs
        from pi10_classifier.training.data.loading import read_examples
        from pi10_classifier.training.output_folder import MANIFEST
    except ImportError as error:
        raise SettingError(
            f"table1 needs torch and transformers ({error}); run: {install_command('train')}"
        ) from error

    rows, notes = entries(networks, [loss.lower().replace("-", "_") for loss in losses], out)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if not rows:
        raise SettingError("no row is left to train; give --network vit or beit, or another --loss")
    base: dict[str, Any] = dict(map(pair, others))
    for name in ("loss", "seed"):
        if name in base:
            raise SettingError(
                f"{name} cannot be given with --set; use --{name if name == 'loss' else 'seeds'}"
            )
    command = shlex.join(["pi10", *sys.argv[1:]])
    plans = plans_of(rows, base, range(seeds), init=init, device=device, command=command)
    # all rows must judge the same images, also when the folder is gone on with
    before = out / MANIFEST
    if manifest is None and before.is_file():
        log(f"using the split and classes of {before}")
        manifest = before
    with stoppable() as raise_if_cancelled:
        examples = read_examples(
            inputs, label_map, manifest, progress=lambda done: raise_if_cancelled()
        )
        show_left_out(examples.scan)
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(before, examples.manifest.encode("utf-8"))
        folders = train_table(
            examples,
            plans,
            emit=log,
            raise_if_cancelled=raise_if_cancelled,
            reporter_of=lambda folder: None if no_tracking else mlflow_reporter.of_training(
                folder, log, experiment=experiment, resume=True
            ),
        )  # fmt: skip
    table = tabulate(read_runs([str(folder) for folder in folders]))
    write_atomically(out / "table1.csv", table.to_csv().encode("utf-8"))
    click.echo(json.dumps(table.to_json(), indent=2) if as_json else table.to_text(), nl=as_json)
    sys.exit(exit_code(examples.scan.left_out))
