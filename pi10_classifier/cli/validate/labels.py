"""``pi10 validate import`` and ``export``: labels as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pi10_classifier.cli.validate.draw import RUN


@click.command("import")
@click.argument("results", type=RUN)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--labeller", default="import", show_default=True, help="Who gave these labels.")
def import_labels(results: Path, file: Path, labeller: str) -> None:
    """Bring in labels of the sample or of suggestions: FILE is a CSV of particle_id,label.

    Exit code 3 where particles or labels are unknown: they are listed, the others are taken.
    """
    from pi10_classifier.labelling.labelled import may_be_labelled
    from pi10_classifier.labelling.labels import LabelStore, bring_in
    from pi10_classifier.results.run_info import classes_of

    known = may_be_labelled(results)
    store = LabelStore(results, classes_of(results))
    found = bring_in(store, known, _pairs(file), labeller)
    click.echo(
        f"{found.taken:,} labels taken, {found.same:,} were known already, "
        f"{found.blank:,} rows have none yet"
    )
    for label, count in sorted(found.unknown_labels.items()):
        click.echo(
            f"label {label[:60]!r}, {count:,} times: none of {', '.join(store.allowed)}", err=True
        )
    if found.unknown_ids:
        some = ", ".join(found.unknown_ids[:5])
        click.echo(
            f"{len(found.unknown_ids):,} particles are neither in the sample nor suggested, and "
            f"not used: {some}"
            f"{', …' if len(found.unknown_ids) > 5 else ''}",
            err=True,
        )
    if found.unknown_labels or found.unknown_ids:
        sys.exit(3)


def _pairs(file: Path) -> Iterator[tuple[str, str]]:
    from pi10_classifier.errors import SettingError

    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = {"particle_id", "label"} - set(reader.fieldnames or ())
            if missing:
                raise SettingError(
                    f"{file} lacks the column {', '.join(sorted(missing))}; it has "
                    f"{', '.join(reader.fieldnames or ['none'])}"
                )
            for row in reader:
                yield (row["particle_id"] or "").strip(), (row["label"] or "").strip()
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingError(f"{file} is no CSV in UTF-8: {error}") from error


@click.command("export")
@click.argument("results", type=RUN)
def export_labels(results: Path) -> None:
    """Print the sample as CSV for a spreadsheet: particle_id,label and where the image lies.

    Fill in the column label and bring it back with `pi10 validate import`. The predicted class is
    left out, so that it does not lead.
    """
    from pi10_classifier.labelling.labels import LabelStore, verdicts
    from pi10_classifier.labelling.sample import read_sample
    from pi10_classifier.results.run_info import classes_of

    known = verdicts(LabelStore(results, classes_of(results)).read()).label_of
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("particle_id", "label", "source", "member", "datetime"))
    for one in read_sample(results):
        label = known.get(one.particle_id, "")
        writer.writerow((one.particle_id, label, one.source, one.member, one.datetime))
