"""Counts of a minute's images in the cells of a reference: all that drift is computed from.

Counts add up, so they can be kept by minute in the journal and joined over parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.drift.quantities import QUANTITIES
from pi10_classifier.drift.reference import CELLS, Reference
from pi10_classifier.instrument.moments import minute as minute_of

Table = NDArray[np.int64]
"""(classes, 1 + quantities x CELLS): images of each class, then their counts by cell."""
Minutes = dict[tuple[str, str], Table]
"""(bin, minute) -> table; "" where unknown."""


def empty(reference: Reference) -> Table:
    return np.zeros((len(reference.classes), 1 + len(reference.quantities) * CELLS), np.int64)


def columns_of(reference: Reference) -> tuple[str, ...]:
    """The columns of the predictions table that are counted."""
    wanted = (QUANTITIES[name].column for name in reference.quantities)
    return ("bin", "datetime", "label", *wanted)


def count_images(reference: Reference, columns: Mapping[str, Sequence[Any]]) -> Minutes:
    """Count images by minute. columns: those of ``columns_of``, each with one cell per image.

    Images without a particle are not counted; a value that is missing is in no cell.
    """
    number = {label: row for row, label in enumerate(reference.classes)}
    keys: dict[tuple[str, str], int] = {}
    place = np.empty(len(columns["label"]), np.int64)  # row of all minutes' tables, -1: none
    whole = zip(columns["bin"], columns["datetime"], columns["label"], strict=True)
    for image, (bin_id, when, label) in enumerate(whole):
        row = number.get(label)
        if row is None:
            place[image] = -1
            continue
        minute = keys.setdefault((bin_id or "", minute_of(when)), len(keys))
        place[image] = minute * len(number) + row
    shape = empty(reference).shape
    tables = np.zeros((len(keys) * shape[0], shape[1]), np.int64)
    np.add.at(tables[:, 0], place[place >= 0], 1)
    values = [
        np.array(columns[QUANTITIES[name].column], np.float64) for name in reference.quantities
    ]
    for label, row in number.items():
        of_class = (place >= 0) & (place % len(number) == row)
        for at, name in enumerate(reference.quantities):
            cells = reference.cells.get(label, {}).get(name)
            chosen = of_class & np.isfinite(values[at])
            if cells is None or not chosen.any():
                continue
            cell = np.searchsorted(cells.edges, values[at][chosen], side="right")
            np.add.at(tables, (place[chosen], 1 + at * CELLS + cell), 1)
    return {key: tables[at * shape[0] :][: shape[0]] for key, at in keys.items()}


def add(into: Minutes, other: Minutes) -> None:
    """Add counts to others of the same reference."""
    for key, table in other.items():
        into[key] = into[key] + table if key in into else table


def to_json(minutes: Minutes) -> list[list[Any]]:
    """Sorted by minute; rows of classes without an image are left empty."""
    return [
        [*key, [row if row[0] else [] for row in table.tolist()]]
        for key, table in sorted(minutes.items())
    ]


def from_json(reference: Reference, entries: Sequence[Sequence[Any]]) -> Minutes:
    """The inverse of ``to_json``. Raises ValueError for counts of another reference."""
    minutes: Minutes = {}
    for bin_id, minute, rows in entries:
        table = empty(reference)
        if len(rows) != len(table):
            raise ValueError(f"counts of {len(rows)} classes; the reference has {len(table)}")
        for place, row in enumerate(rows):
            if row:
                table[place] = row  # raises ValueError for another length
        add(minutes, {(bin_id, minute): table})
    return minutes
