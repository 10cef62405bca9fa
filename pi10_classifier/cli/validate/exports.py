"""``pi10 validate export`` and ``crops``: the sample for those who label elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pi10_classifier.cli.validate.draw import RUN
from pi10_classifier.cli.validate.moved import moved_option

if TYPE_CHECKING:
    from pi10_classifier.labelling.crops import Located
    from pi10_classifier.labelling.formats.pictures import Pictures

_MOST_SHOWN = 20
_SUGGESTED = click.option(
    "--suggested", is_flag=True,
    help="The particles of `pi10 validate suggest` in place of the sample.",
)  # fmt: skip


@click.command("export")
@click.argument("results", type=RUN)
@click.option("--format", "form", type=click.Choice(["csv", "ecotaxa", "label-studio"]),
              default="csv", show_default=True, help="The tool to label in.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="A file for csv, a zip for ecotaxa, a folder for label-studio.  "
                   "[default: print the csv]")  # fmt: skip
@click.option("--show-predicted", is_flag=True, help="Show the predicted class, which may lead.")
@_SUGGESTED
@moved_option
def export_labels(
    results: Path,
    form: str,
    out: Path | None,
    show_predicted: bool,
    suggested: bool,
    moved: Mapping[str, str],
) -> None:
    """Write the sample of RESULTS, or its suggestions, for labelling elsewhere.

    csv is a table to fill in: particle_id,label and where the image lies. ecotaxa is a zip to
    import there, with the pictures. label-studio is a folder with tasks.json, the pictures in it,
    and labelling.xml. Bring labels back with `pi10 validate import`. The predicted class is left
    out, so that it does not lead. Exit code 3 where a picture cannot be read.
    """
    from pi10_classifier import __version__
    from pi10_classifier.errors import SettingError
    from pi10_classifier.foundation.files import write_atomically
    from pi10_classifier.labelling.formats.ecotaxa_bundle import write_bundle
    from pi10_classifier.labelling.formats.label_studio import write_label_studio
    from pi10_classifier.labelling.formats.sheet import sheet
    from pi10_classifier.labelling.labels import LabelStore, verdicts
    from pi10_classifier.results.run_info import classes_of, refuse_own_files

    if out is not None:
        refuse_own_files(results, out)
        if form == "csv" and out.exists():  # it may hold labels by now
            raise SettingError(f"{out} is there already; name another --out")
    sample = _particles(results, suggested=suggested)
    store = LabelStore(results, classes_of(results))
    if form == "csv":
        label_of = verdicts(store.read()).label_of
        text = "".join(sheet(sample, label_of, show_predicted=show_predicted))
        if out is None:
            click.echo(text, nl=False)
        else:
            write_atomically(out, text.encode("utf-8", "backslashreplace"))
        return
    if out is None:
        raise SettingError(f"--format {form} needs --out")
    pictures = _fetched(results, moved, suggested=suggested)
    if form == "ecotaxa":
        software = f"pi10-classifier {__version__}"
        write_bundle(out, results, pictures.sample, pictures, software,
                     show_predicted=show_predicted)  # fmt: skip
    else:
        write_label_studio(out, pictures, store.allowed, show_predicted=show_predicted)
    _end(pictures, f"{len(pictures.sample) - len(pictures.problems):,} particles in {out}")


@click.command("crops")
@click.argument("results", type=RUN)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--by-prediction", is_flag=True,
              help="Sort the pictures by predicted class, which may lead.")  # fmt: skip
@_SUGGESTED
@moved_option
def crops(
    results: Path, out: Path, by_prediction: bool, suggested: bool, moved: Mapping[str, str]
) -> None:
    """Write the sample of RESULTS, or its suggestions, as pictures, to sort them in a file manager.

    All lie in `unsorted`, beside an empty folder for each label. Move them into the folders and
    bring the labels back: pi10 validate import RESULTS FOLDER. Pictures that lie below the folder
    are not written again. Exit code 3 where a picture cannot be read.
    """
    from pi10_classifier.labelling.formats.crop_folders import write_folders
    from pi10_classifier.labelling.labels import LabelStore
    from pi10_classifier.results.run_info import classes_of, refuse_own_files

    refuse_own_files(results, out)
    store = LabelStore(results, classes_of(results))
    pictures = _fetched(results, moved, suggested=suggested)
    written = write_folders(out, pictures, store.allowed, by_prediction=by_prediction)
    there = len(pictures.sample) - len(pictures.problems) - written
    _end(pictures, f"{written:,} pictures in {out}, {there:,} were there already")


def _fetched(results: Path, moved: Mapping[str, str], *, suggested: bool) -> Pictures:
    from pi10_classifier.cli.terminal.console import counter
    from pi10_classifier.labelling.formats.pictures import Pictures

    pictures = Pictures(results, _particles(results, suggested=suggested))
    pictures.fetch(moved=moved, progress=counter("pictures"))
    return pictures


def _particles(results: Path, *, suggested: bool) -> Sequence[Located]:
    from pi10_classifier.errors import SettingError
    from pi10_classifier.labelling.sample import read_sample
    from pi10_classifier.labelling.suggestions import read_suggestions

    if not suggested:
        return read_sample(results)
    if particles := read_suggestions(results):
        return particles
    raise SettingError(f"{results} has no suggestions; make some: pi10 validate suggest {results}")


def _end(pictures: Pictures, done: str) -> None:
    click.echo(done)
    problems = list(pictures.problems.items())
    for name, problem in problems[:_MOST_SHOWN]:
        click.echo(f"no picture of {name[:80]!r}: {problem}", err=True)
    if len(problems) > _MOST_SHOWN:
        click.echo(f"and {len(problems) - _MOST_SHOWN:,} more without a picture", err=True)
    if problems:
        sys.exit(3)
