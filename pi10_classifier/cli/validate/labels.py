"""``pi10 validate import``: labels of a sample from other tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pi10_classifier.cli.validate.draw import RUN

if TYPE_CHECKING:
    from pi10_classifier.labelling.formats.given import Reading
    from pi10_classifier.labelling.labels import Imported

_MOST_SHOWN = 20
_SUSPICIOUS = 50  # labels: no model is right so often by chance


@click.command("import")
@click.argument("results", type=RUN)
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--format", "form", type=click.Choice(["csv", "ecotaxa", "label-studio", "crops"]),
              help="What FILE is.  [default: told by its content]")  # fmt: skip
@click.option("--labeller", default="import", show_default=True,
              help="Who gave the labels that name nobody.")  # fmt: skip
@click.option("--map", "own_map", metavar="CSV",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Table of label,class: what names in FILE mean here; - leaves out.  "
                   "[default: names as they are, and EcoTaxa's groups]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print all that was found as JSON.")
def import_labels(
    results: Path, file: Path, form: str | None, labeller: str, own_map: Path | None, as_json: bool
) -> None:
    """Bring in labels of the sample or of suggestions of RESULTS; from EcoTaxa, of any particle.

    FILE is a CSV with the columns particle_id,label; an export of EcoTaxa (zip or TSV), of which
    validated objects are taken; an export of Label Studio (JSON or JSON-MIN); or a folder of
    pictures sorted into the folders of the labels. Exit code 3 where particles or labels are
    unknown or contradict each other: they are listed, the others are taken.
    """
    from pi10_classifier.labelling.formats.categories import Categories
    from pi10_classifier.labelling.formats.given import by_key
    from pi10_classifier.labelling.formats.intake import read_labels, take_in
    from pi10_classifier.labelling.formats.whole_run import keep_labelled, particles_of
    from pi10_classifier.labelling.labelled import may_be_labelled, sample_of
    from pi10_classifier.labelling.labels import LabelStore
    from pi10_classifier.labelling.suggestions import Suggestion, read_suggestions
    from pi10_classifier.results.run_info import classes_of

    store = LabelStore(results, classes_of(results))
    categories = Categories(store.allowed, own_map)
    reading = read_labels(file, form or "")
    near: dict[str, str] = {}
    others: list[Suggestion] = []
    if reading.format == "ecotaxa":  # its bundles hold particles of the whole run
        near = by_key([*sample_of(results), *read_suggestions(results)])
        others = particles_of(results, (row.key for row in reading.given if row.key not in near))
    # of a run without a sample, only particles of EcoTaxa can be known
    known = [*([] if others and not near else may_be_labelled(results)), *others]
    told = take_in(store, known, reading, categories, labeller)
    outside = keep_labelled(results, others, store)
    if as_json:
        from dataclasses import asdict

        whole = {"format": reading.format, **asdict(told), "not_taken": reading.not_taken,
                 "strange": reading.strange, "outside_sample": outside}  # fmt: skip
        click.echo(json.dumps(whole, indent=2))
    else:
        _tell(told, reading, ", ".join(store.allowed))
        if outside:
            click.echo(
                f"{outside:,} labelled particles are outside the sample: models can be made of "
                "them, and no estimate uses them"
            )
    if told.unknown_labels or told.unknown_ids or told.contradicting or reading.strange:
        sys.exit(3)


def _tell(told: Imported, reading: Reading, allowed: str) -> None:
    click.echo(
        f"{told.taken:,} labels taken, {told.same:,} were known already, "
        f"{told.blank:,} rows have none yet"
    )
    if told.as_predicted == told.taken >= _SUSPICIOUS:
        click.echo(
            f"note: all {told.taken:,} labels are those predicted; if nobody has looked at them "
            "yet, the correction will say that the model is never wrong",
            err=True,
        )
    for why, count in sorted(reading.not_taken.items()):
        click.echo(f"{count:,} not taken: {why}")
    for label, count in sorted(told.left_out.items()):
        click.echo(f"{count:,} left out by --map: {label[:60]!r}")
    for label, count in sorted(told.unknown_labels.items()):
        click.echo(
            f"label {label[:60]!r}, {count:,} times: none of {allowed}; say which: --map CSV",
            err=True,
        )
    if told.contradicting:
        words = (f"{name[:60]!r} ({', '.join(labels)})"
                 for name, labels in told.contradicting.items())  # fmt: skip
        click.echo(
            f"{len(told.contradicting):,} particles have several labels of one labeller in this "
            f"file and none is taken: {_some(words)}",
            err=True,
        )
    if told.unknown_ids:
        words = (f"{name[:80]!r}" for name in told.unknown_ids)
        click.echo(
            f"{len(told.unknown_ids):,} particles are neither in the sample nor suggested, and "
            "not used: "
            f"{_some(words)}",
            err=True,
        )
    if reading.strange:
        words = (f"{name[-80:]!r}" for name in reading.strange)
        click.echo(f"{len(reading.strange):,} files are no pictures: {_some(words)}", err=True)


def _some(words: Iterable[str]) -> str:
    listed = list(words)
    more = f" and {len(listed) - _MOST_SHOWN:,} more (all with --json)"
    return ", ".join(listed[:_MOST_SHOWN]) + (more if len(listed) > _MOST_SHOWN else "")
