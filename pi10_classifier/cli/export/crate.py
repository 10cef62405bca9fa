"""``pi10 export crate``: a run as an RO-Crate, and as the files of a Zenodo record."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click


@click.command()
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER|FILE.zip",
              help="Where to write it: a folder, or a zip.")  # fmt: skip
@click.option("--zenodo", is_flag=True,
              help="Write the files of a Zenodo record: at most 100, in one folder, with the "
                   "metadata of the deposit.")  # fmt: skip
@click.option("--dataset", type=click.Path(dir_okay=False, path_type=Path),
              help="The filled-in file of `pi10 export init`.  [default: dataset.toml in RESULTS, "
                   "or else here]")  # fmt: skip
@click.option("--published", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD",
              help="The day of publication.  [default: today]")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the crate that --out names.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def crate(
    results: Path,
    out: Path,
    zenodo: bool,
    dataset: Path | None,
    published: datetime | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the results of a run as a Process Run Crate (RO-Crate).

    The crate holds the tables, the predictions, the report and the validation of RESULTS, each
    with its SHA-256, and says what they were made of, by which model and program, by whom and
    under which licence. Archives of images are named, not copied.

    \b
    With --zenodo, also:
      predictions.parquet.zip  the parts of the predictions, as they are
      files.csv                which file of the run is in which file, with SHA-256
      zenodo.json              the deposit's metadata, for Zenodo's deposit API
      invenio-rdm.json         the same for the newer records API
    """
    from pi10_classifier.export.crate.writer import write_crate
    from pi10_classifier.export.dataset_facts import NAME, read_facts
    from pi10_classifier.results.run_info import refuse_own_files

    beside = results / NAME
    facts = read_facts(dataset or (beside if beside.exists() else Path(NAME)))
    day = (published or datetime.now(UTC)).date()
    refuse_own_files(results, out)
    done = write_crate(results, out, facts, day, zenodo=zenodo, overwrite=overwrite)
    for warning in done.warnings:
        click.echo(f"note: {warning}", err=True)
    if as_json:
        shown = {**asdict(done), "path": str(done.path), "left_out": dict(done.left_out)}
        click.echo(json.dumps(shown, indent=2))
        return
    for name, reason in done.left_out.items():
        click.echo(f"left out: {name}: {reason}", err=True)
    click.echo(f"{done.files:,} files of the run in {done.written:,} files, {done.bytes:,} bytes")
    click.echo(out)
