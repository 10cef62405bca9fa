"""What ``pi10 validate`` has made of a run: corrected densities of bins, and verified particles."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.estimation.bins import CORRECTED_BINS
from pi10_classifier.labelling.estimation.estimate import CORRECTED
from pi10_classifier.labelling.estimation.record import RECORD, classification_of
from pi10_classifier.labelling.estimation.run_totals import read_totals, refuse_changed
from pi10_classifier.labelling.labels import LabelStore, one_by_one, verdicts
from pi10_classifier.labelling.sample import DESIGN, FOLDER, Design, read_sample
from pi10_classifier.labelling.suggestions import suggested_ids, without_suggested
from pi10_classifier.results.run_info import classes_of, read_run

BinClass = tuple[str, str]
"""Bin and class."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """A density per litre with 95 % limits that cover counting and classification.

    labelled: particles that people labelled in the bin's stratum.
    """

    per_litre: float
    low: float | None
    high: float | None
    labelled: int


@dataclass(frozen=True, slots=True)
class Validated:
    """by_bin: corrected densities. verified: particles by the class that people gave them.

    predicted: these particles by the class that the model gave them. refused: strata without a
    correction, and why. newer: labels that came after the estimate. estimated: False where there
    are labels and no estimate.
    """

    by_bin: Mapping[BinClass, Corrected] = field(default_factory=dict)
    verified: Mapping[BinClass, int] = field(default_factory=dict)
    predicted: Mapping[BinClass, int] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    newer: int = 0
    estimated: bool = True


def read_validated(run: Path) -> Validated:
    """Empty where nothing was drawn or labelled.

    Raises SettingError where the tables are not whole, or where the run is not the one that the
    sample was drawn from.
    """
    folder = run / FOLDER
    if not (folder / DESIGN).exists() and not (folder / CORRECTED).exists():
        return Validated()
    design = Design.read(folder / DESIGN)
    classes = classes_of(run, design.model_sha256)
    sample = read_sample(run)
    known = verdicts(one_by_one(LabelStore(run, classes).read()))
    verified: Counter[BinClass] = Counter()
    predicted: Counter[BinClass] = Counter()
    for particle in sample:
        if label := known.label_of.get(particle.particle_id):
            verified[particle.bin, label] += 1
            predicted[particle.bin, particle.predicted] += 1
    if not (folder / CORRECTED).exists():
        return Validated({}, verified, predicted, estimated=not verified)
    refuse_changed(run, read_totals(run), design.strata, design.by)
    state = classification_of(run, read_run(run)["model"]["sha256"])
    if "strata" not in state:
        if state.get("note"):
            raise SettingError(str(state["note"]))
        raise _again(f"{run / FOLDER / RECORD} is missing")
    labelled, refused = _strata(folder / CORRECTED)
    used = without_suggested(sample, known, suggested_ids(run)).label_of
    now = sum(particle.particle_id in used for particle in sample)
    return Validated(
        dict(_bins(folder / CORRECTED_BINS, labelled, refused)),
        verified,
        predicted,
        refused,
        max(0, now - sum(labelled.values())),
    )


def _strata(path: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Stratum -> labelled particles, and those strata that are refused -> why."""
    labelled: dict[str, int] = {}
    refused: dict[str, str] = {}
    for where, row in _rows(path, ("stratum", "labelled", "publishable", "note")):
        labelled[row["stratum"]] = int(_number(row["labelled"], where) or 0)
        if row["publishable"] != "True":
            refused[row["stratum"]] = row["note"]
    return labelled, refused


def _bins(
    path: Path, labelled: Mapping[str, int], refused: Mapping[str, str]
) -> Iterator[tuple[BinClass, Corrected]]:
    columns = ("bin", "stratum", "label", "per_litre", "per_litre_low", "per_litre_high")
    for where, row in _rows(path, columns):
        per_litre, low, high = (_number(row[name], where) for name in columns[3:])
        if row["stratum"] not in labelled:
            raise _again(f"{where}: {CORRECTED} has no stratum {row['stratum']!r}")
        if per_litre is not None and row["stratum"] not in refused:
            key = (row["bin"], row["label"])
            yield key, Corrected(per_litre, low, high, labelled[row["stratum"]])


def _again(problem: str) -> SettingError:
    return SettingError(f"{problem}; make the tables again: pi10 validate estimate RESULTS")


def _number(text: str, where: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise _again(f"{where}: {text!r} is no number of 0 or more")
    return value


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each line of a table, with where it stands."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            for row in reader:
                if None in row or None in row.values() or not set(needed) <= set(row):
                    raise _again(f"{path}, line {reader.line_num} is not whole")
                yield f"{path}, line {reader.line_num}", row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _again(f"{path} cannot be read ({error})") from error
