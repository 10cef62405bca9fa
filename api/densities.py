"""Individuals per litre of a request, by bin and class: the number that people come for.

It is read from ``bins.csv`` as ``pi10 classify`` writes it, so that no face has another.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pi10_classifier.errors import Code
from pi10_classifier.quality import FLAGS
from pi10_classifier.results import RunFolder, UnitRecord

BINS = "bins.csv"
ABOUT = (
    "Individuals per litre of the water sampled, with a 95 % interval; classification errors are "
    "not in the interval until a sample is validated."
)
NO_SIDECAR = (
    "No density: there is no HitsMisses.txt among the files, so nobody knows how much water and "
    "how many particles they stand for. Send a whole bin with its HitsMisses.txt as one tar or zip."
)
BAD_SIDECAR = (
    "No density: HitsMisses.txt cannot be read, for the reason that failures tell. Mend the file "
    "and send the bin again."
)
_WITHOUT = frozenset({"no_bin", "no_hits_misses"})
# they explain no missing number
_BESIDE = frozenset({"minutes_without_density", "partial_bin", "hits_misses_rows", "gap_before"})
_SHOWN_FLAGS = 4


class _InMemory(RunFolder):
    """A run's folder with one unit that was never written; it takes the summary's tables."""

    def __init__(self, path: Path, classes: Sequence[str], record: UnitRecord) -> None:
        super().__init__(path, classes)
        self._record = record
        for folder in (self.parts, self.journal):
            folder.mkdir(parents=True, exist_ok=True)

    def entries(self) -> Iterator[dict[str, Any]]:
        yield self._record.to_json()


def of_record(record: UnitRecord, classes: Sequence[str], scratch: Path) -> dict[str, Any]:
    """``densities`` and ``densities_note`` of what was classified; ``scratch`` is written to.

    A request without HitsMisses.txt, such as a lone image, costs nothing.
    """
    if not record.hits_misses:
        bad = any(failure.code == Code.BAD_SIDECAR for failure in record.failures)
        return _told([], BAD_SIDECAR if bad else NO_SIDECAR)
    from pi10_classifier.summary import summarise

    folder = scratch / "tables"
    summarise(_InMemory(folder, classes, record))
    return of_table(folder / BINS, classes)


def of_table(path: Path, classes: Sequence[str], *, bad_sidecar: bool = False) -> dict[str, Any]:
    """``densities`` and ``densities_note`` from a run's ``bins.csv``."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [_row(row) for row in csv.DictReader(stream) if row["label"] in classes]
    if any(row["per_litre"] is not None for row in rows):
        return _told(rows, ABOUT)
    if bad_sidecar:
        return _told([], BAD_SIDECAR)
    if all(_WITHOUT.intersection(row["flags"]) for row in rows):
        return _told([], NO_SIDECAR)
    flags = dict.fromkeys(flag for row in rows for flag in row["flags"] if flag not in _BESIDE)
    why = "; ".join(_meaning(flag) for flag in list(flags)[:_SHOWN_FLAGS])
    return _told(rows, f"No density: {why or 'no minute has images and a HitsMisses row'}.")


def _meaning(flag: str) -> str:
    return FLAGS[flag].meaning if flag in FLAGS else flag


def _told(rows: list[dict[str, Any]], note: str) -> dict[str, Any]:
    return {"densities": rows, "densities_note": note}


def _row(row: Mapping[str, str]) -> dict[str, Any]:
    return {
        "bin": row["bin"] or None,
        "label": row["label"],
        "per_litre": _number(row["per_litre"]),
        "per_litre_low": _number(row["per_litre_low"]),
        "per_litre_high": _number(row["per_litre_high"]),
        "minutes": int(row["minutes_observed"]),
        "flags": [flag for flag in row["flags"].split(";") if flag],
    }


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
