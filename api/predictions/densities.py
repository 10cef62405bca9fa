"""Individuals per litre of a request, by bin and class.

They come from the same rows that ``pi10 classify`` writes to ``bins.csv``, so the command, the
API and the page give the same numbers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pi10_classifier.abundance.quality import FLAGS
from pi10_classifier.errors import Code
from pi10_classifier.results.run_folder import UnitRecord

BINS = "bins.csv"
ABOUT = (
    "Individuals per litre of the water sampled, with a 95 % interval; classification errors are "
    "not in the interval until a sample is validated."
)
NO_SIDECAR = (
    "No density: there is no HitsMisses.txt among the files, so the volume of water and the number "
    "of particles are unknown. Send a whole bin with its HitsMisses.txt as one tar or zip."
)
BAD_SIDECAR = (
    "No density: HitsMisses.txt cannot be used; the list of failures says why. Correct the file "
    "and send the bin again."
)
UNCLAIMED = (
    "No density: HitsMisses.txt was sent, but none of the images is known to be of its bin. Keep "
    "the file names that the instrument gave, and send the images in one folder with "
    "HitsMisses.txt."
)
_WITHOUT = frozenset({"no_bin", "no_hits_misses"})
# flags that do not explain why a density is missing
_BESIDE = frozenset({"minutes_without_density", "partial_bin", "hits_misses_rows", "gap_before"})
_SHOWN_FLAGS = 4


def of_record(record: UnitRecord, classes: Sequence[str]) -> dict[str, Any]:
    """``densities`` and ``densities_note`` of a classified request.

    Without HitsMisses.txt, as with a single image, nothing is computed.
    """
    if not record.hits_misses:
        bad = any(failure.code == Code.BAD_SIDECAR for failure in record.failures)
        return _fields([], BAD_SIDECAR if bad else NO_SIDECAR)
    from pi10_classifier.results.tables import as_cells, bins_of

    rows = (as_cells(row) for row in bins_of([record.to_json()], classes))
    bad = any(failure.code == Code.BAD_SIDECAR for failure in record.failures)
    return _of_rows(rows, classes, bad_sidecar=bad, sent=True)


def of_table(path: Path, classes: Sequence[str], *, bad_sidecar: bool = False) -> dict[str, Any]:
    """``densities`` and ``densities_note`` from a run's ``bins.csv``."""
    with path.open(encoding="utf-8", newline="") as stream:
        return _of_rows(csv.DictReader(stream), classes, bad_sidecar=bad_sidecar)


def _of_rows(
    table: Iterable[Mapping[str, Any]],
    classes: Sequence[str],
    *,
    bad_sidecar: bool = False,
    sent: bool = False,
) -> dict[str, Any]:
    rows = [_row(row) for row in table if row["label"] in classes]
    if any(row["per_litre"] is not None for row in rows):
        return _fields(rows, ABOUT)
    if bad_sidecar:
        return _fields([], BAD_SIDECAR)
    if all(_WITHOUT.intersection(row["flags"]) for row in rows):
        if not sent:
            return _fields([], NO_SIDECAR)
        unread = any("no_hits_misses" in row["flags"] for row in rows)
        return _fields([], f"No density: {_meaning('no_hits_misses')}." if unread else UNCLAIMED)
    flags = dict.fromkeys(flag for row in rows for flag in row["flags"] if flag not in _BESIDE)
    why = "; ".join(_meaning(flag) for flag in list(flags)[:_SHOWN_FLAGS])
    return _fields(rows, f"No density: {why or 'no minute has images and a HitsMisses row'}.")


def _meaning(flag: str) -> str:
    return FLAGS[flag].meaning if flag in FLAGS else flag


def _fields(rows: list[dict[str, Any]], note: str) -> dict[str, Any]:
    return {"densities": rows, "densities_note": note}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "bin": row["bin"] or None,
        "label": row["label"],
        "per_litre": _number(row["per_litre"]),
        "per_litre_low": _number(row["per_litre_low"]),
        "per_litre_high": _number(row["per_litre_high"]),
        "minutes": int(row["minutes_observed"]),
        "flags": [flag for flag in row["flags"].split(";") if flag],
    }


def _number(cell: str | None) -> float | None:
    return float(cell) if cell else None
