"""The commands ``pi10 classify``, and ``pi10 report`` for what a run left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import (
    CAMERA,
    FOLDER,
    REFERENCE,
    caps_of,
    engine_options,
    reference_of,
    report_or_note,
)
from pi10_classifier.foundation.output import lossy_output


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, type=FOLDER, help="Folder to write the results to.")
@engine_options
@click.option("--groups", is_flag=True,
              help="Add the column group, the most probable finer group within the class; needs a"
                   " model with groups.")  # fmt: skip
@CAMERA
@REFERENCE
@click.option("--report/--no-report", default=True, show_default=True,
              help="Whether to write report.html (needs the extra [report]).")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option("--overwrite", is_flag=True, help="Delete the run in --out and start again.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print run.json instead of progress and tables."
)
@lossy_output()
def classify(inputs: tuple[str, ...], out: Path, model: str, as_json: bool, report: bool,
             resume: bool, overwrite: bool, measure: bool, **options: Any) -> None:  # fmt: skip
    """Classify particles, measure them and compute their abundance.

    INPUT is a TIFF, PNG or JPEG, a folder tree, a tar or zip, or s3://bucket/prefix. Folders
    and buckets may hold archives, one per ten-minute bin. Archives are streamed, not
    extracted. The S3 endpoint and keys come from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY.

    \b
    Written into the folder --out:
      predictions.parquet/  one row per particle: class, scores, sizes in µm, time, position
      counts.csv            per minute and class: count, raised count, individuals per litre
      bins.csv              the same per ten-minute bin
      failures.csv          each input without a result, and why
      run.json              totals, parameters, versions
      report.html           figures and example images

    \b
    Examples:
      pi10 classify 2024-06-24/1450.tar --out results
      pi10 classify /data/cruise --out results --resume
      pi10 classify s3://pi10/cruise/2024-06-24/ --out results
    """
    from pi10_classifier.classify import classify as run_classify
    from pi10_classifier.cli.terminal.console import is_terminal, note_model, progress_of, show_run
    from pi10_classifier.errors import SettingError
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.inference.pipeline import Progress
    from pi10_classifier.inference.settings import Settings
    from pi10_classifier.registry.resolve import find

    if resume and overwrite:
        raise SettingError("--resume and --overwrite exclude each other; give only one")
    given = {name: value for name, value in options.items() if value is not None}
    given |= reference_of(given.pop("reference", None))
    given |= caps_of(given.pop("max_megapixels", None), given.pop("max_megabytes", None))
    settings = Settings(model=find(model), measure=measure, **given)
    watched = is_terminal() and not as_json
    with stoppable() as raise_if_cancelled, progress_of(inputs, shown=watched) as show:

        def progress(reached: Progress) -> None:
            raise_if_cancelled()
            show(reached)

        run = run_classify(
            inputs, out, settings, resume=resume, overwrite=overwrite, progress=progress,
            begun=note_model(shown=not as_json),
        )  # fmt: skip
    page = report_or_note(out, settings.model) if report else None
    if as_json:
        click.echo((out / "run.json").read_text("utf-8"), nl=False)
    else:
        show_run(run, page)
    sys.exit(run.exit_code)


@click.command()
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--model",
    help="Model package whose card is shown: a folder, or the name of an embedded one."
    "  [default: the embedded one that the run is of]",
)
def report(results: Path, model: str | None) -> None:
    """Write RESULTS/report.html anew from what a run left in RESULTS.

    `pi10 classify` writes it, and `pi10 validate estimate` brings it up to date; so this is for
    runs that were made without a report, or with an earlier version.
    """
    from pi10_classifier.labelling.estimation.record import update_run
    from pi10_classifier.registry.resolve import find
    from pi10_classifier.report.page import write_report

    if (results / "run.json").exists():  # without it, the report says what is missing
        update_run(results)  # whether what was validated still is
    click.echo(write_report(results, find(model) if model else None))
