"""Suggested particles as they lie in ``validation/suggestions.csv``, apart from the sample.

Labels of suggested particles say nothing of how common a class is, so no estimate uses them.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import write_records
from pi10_classifier.labelling.labels import Verdicts
from pi10_classifier.labelling.sample import FOLDER, Drawn, make_folder

SUGGESTIONS = "suggestions.csv"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A particle worth labelling: a line of ``suggestions.csv``.

    order: of labelling, from 0; the reasons take turns. why: uncertain, novel, typical-of-cluster,
    imported, or sorted. value: the margin, the novelty, the share of particles in the cluster, 0,
    or how like the middle of its cluster it is (cosine).
    part, row: where its line stands in ``predictions.parquet``.
    """

    order: int
    particle_id: str
    why: str
    value: float
    predicted: str
    source: str
    member: str
    bin: str
    datetime: str
    part: str
    row: int


def read_suggestions(run: Path) -> list[Suggestion]:
    """The suggestions in ``run/validation``; none where nobody asked for any. SettingError."""
    path = run / FOLDER / SUGGESTIONS
    names = [column.name for column in fields(Suggestion) if column.type == "str"]
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [
                Suggestion(
                    order=int(row["order"]), value=float(row["value"]), row=int(row["row"]),
                    **{name: row[name] for name in names},
                )
                for row in csv.DictReader(stream)
            ]  # fmt: skip
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"{path} cannot be read ({error}); make it again: pi10 validate suggest {run}"
        ) from error


def write_suggestions(run: Path, entries: Sequence[Suggestion]) -> None:
    """Write all suggestions anew, the first of each particle. Raises OutputError."""
    first: dict[str, Suggestion] = {}
    for entry in entries:
        first.setdefault(entry.particle_id, entry)
    write_records(make_folder(run) / SUGGESTIONS, Suggestion, first.values(), option="")


def suggested_ids(run: Path) -> frozenset[str]:
    """The particle_ids of the suggestions. Raises SettingError."""
    return frozenset(entry.particle_id for entry in read_suggestions(run))


def without_suggested(
    sample: Sequence[Drawn], known: Verdicts, suggested: Collection[str]
) -> Verdicts:
    """The labels of a sample that an estimate may use.

    A particle that was suggested first and drawn later may have its label long before its turn:
    with others that wait for theirs, the labelled ones would be chosen for being doubtful. So its
    label counts from when its turn has come: when a later particle of its stratum and predicted
    class, or all those before it, have one. Labels outside the sample are left out too.
    """
    last: dict[tuple[str, str], int] = {}
    waiting: dict[tuple[str, str], int] = {}
    for particle in sample:
        key = (particle.stratum, particle.predicted)
        if particle.particle_id in suggested:
            continue
        if particle.particle_id in known.label_of:
            last[key] = max(last.get(key, -1), particle.order)
        else:
            waiting[key] = min(waiting.get(key, particle.order), particle.order)
    label_of = {}
    for particle in sample:
        label = known.label_of.get(particle.particle_id)
        key = (particle.stratum, particle.predicted)
        early = (
            particle.particle_id in suggested
            and particle.order > last.get(key, -1)
            and particle.order > waiting.get(key, particle.order)
        )
        if label is not None and not early:
            label_of[particle.particle_id] = label
    return Verdicts(label_of, known.contradicting)
