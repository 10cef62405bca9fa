"""``pi10 export init`` and ``dwca``: results for those who publish them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pi10_classifier.export.dataset_facts import DatasetFacts
    from pi10_classifier.export.validated import Validated

FILE = click.Path(dir_okay=False, path_type=Path)
_COMMON = (
    click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path)),
    click.option(
        "--dataset",
        type=FILE,
        help="The filled-in file of `pi10 export init`.  [default: dataset.toml in RESULTS, or else"
        " here]",
    ),
    click.option(
        "--taxa",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="CSV of label,scientificName,AphiaID,rank,kingdom,ecotaxa_id,publish for classes of"
        " your own.  [default: copepod, noncopepod and detritus are known]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the file that --out names."),
    click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON."),
)


def results_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments that all exports of results have."""
    for option in reversed(_COMMON):
        command = option(command)
    return command


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default="dataset.toml")
def init(path: Path) -> None:
    """Write a commented dataset.toml to fill in: people, licence, cruise, ship, intake depth.

    All exports read it. An existing file is never overwritten.
    """
    from pi10_classifier.export.dataset_facts import write_template

    click.echo(f"fill in {write_template(path)}, then: pi10 export dwca RESULTS --out FILE.zip")


@click.command()
@results_options
@click.option("--out", required=True, type=FILE, metavar="ARCHIVE.zip", help="Where to write it.")
def dwca(
    results: Path,
    out: Path,
    dataset: Path | None,
    taxa: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the results of a run as a Darwin Core Archive for OBIS, EMODnet Biology and GBIF.

    One event for each bin, one occurrence for each bin and taxon, with densities per cubic metre
    and 95 % intervals, corrected where RESULTS is validated; what people verified in the sample
    is told apart; and biovolumes, and what the ship measured (pi10 underway). Bins without a
    position or
    density, or of bad quality, are left out and listed beside the archive. The archive is checked
    by OBIS's and EMODnet Biology's rules before it gets its name.
    """
    from pi10_classifier.export.darwin_core.archive import write_archive
    from pi10_classifier.export.left_out import left_out_path
    from pi10_classifier.export.taxa import read_taxa

    facts = facts_of(results, dataset)
    check_out(results, out, ".zip", overwrite, left_out_path(out))
    done = write_archive(results, out, facts, read_taxa(taxa))
    if as_json:
        click.echo(
            json.dumps(
                {
                    "archive": str(out),
                    "bins": done.bins,
                    "occurrences": done.occurrences,
                    "absences": done.absences,
                    "validated": done.validated,
                    "corrected": done.corrected,
                    "measurements": done.measurements,
                    "left_out": dict(done.reasons),
                    "not_published": list(done.not_published),
                    "contradicted_absences": list(done.contradicted),
                    "refused_strata": dict(done.labels.refused),
                    "without_biovolume": done.without_biovolume,
                    "underway": [reading.column for reading in done.readings],
                    "notes": list(done.notes),
                },
                indent=2,
            )
        )
        return
    click.echo(
        f"{done.bins:,} bins, {done.occurrences:,} occurrences ({done.absences:,} absences, "
        f"{done.validated:,} verified by people, {done.corrected:,} with a corrected density), "
        f"{done.measurements:,} measurements"
    )
    show_labels(done.labels)
    show_notes(done.notes)
    if done.without_biovolume:
        click.echo(
            f"{done.without_biovolume:,} occurrences have no biovolume: no image has a size, or "
            "the density is corrected",
            err=True,
        )
    if done.contradicted:
        click.echo(
            f"{len(done.contradicted):,} absences are not told, since the taxon or one below it is "
            f"present: {', '.join(done.contradicted[:3])}{' …' * (len(done.contradicted) > 3)}",
            err=True,
        )
    show_left_out(
        "bins", done.bins + len(done.left_out), done.reasons, done.not_published, done.list_path
    )
    click.echo(out)


def show_notes(notes: Iterable[str]) -> None:
    """Say what the export took for granted, or could not give."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def show_labels(labels: Validated) -> None:
    """Say what of the labels is not in the densities."""
    if not labels.estimated:
        click.echo(
            "there are labels, but no corrected densities; run: pi10 validate estimate RESULTS",
            err=True,
        )
    if labels.newer:
        click.echo(
            f"{labels.newer:,} labels are not in the corrected densities; run: pi10 validate "
            "estimate RESULTS",
            err=True,
        )
    for stratum, note in labels.refused.items():
        click.echo(f"stratum {stratum} is not corrected: {note}", err=True)


def facts_of(results: Path, dataset: Path | None) -> DatasetFacts:
    """The facts in the file that --dataset names, or else in RESULTS, or else here."""
    from pi10_classifier.export.dataset_facts import NAME, read_facts

    beside = results / NAME
    return read_facts(dataset or (beside if beside.exists() else Path(NAME)))


def check_out(results: Path, out: Path, suffix: str, overwrite: bool, beside: Path) -> None:
    """Raises SettingError where --out has a wrong name, or would replace a file unasked."""
    from pi10_classifier.errors import SettingError
    from pi10_classifier.results.run_info import refuse_own_files

    refuse_own_files(results, out)
    if out.suffix.lower() != suffix:
        raise SettingError(f"--out is {out}; give it a name that ends in {suffix}")
    if not out.parent.is_dir():
        raise SettingError(f"--out is {out}, but there is no folder {out.parent}; make it first")
    for path in (out, beside):
        if path.exists() and not overwrite:
            raise SettingError(f"{path} is there already; add --overwrite, or name another --out")


def show_left_out(
    what: str, total: int, reasons: Mapping[str, int], not_published: tuple[str, ...], path: Path
) -> None:
    for reason, count in sorted(reasons.items()):
        click.echo(f"left out: {count:,} of {total:,} {what}: {reason}", err=True)
    if reasons:
        click.echo(f"left out: all are listed in {path}", err=True)
    if not_published:
        click.echo(f"not published, as the taxon table asks: {', '.join(not_published)}", err=True)
