"""Reads a run's minutes and particles into ``SizeSums``, as streams."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.record_batches import (
    NO_TIME,
    codes,
    numbers,
    parts_of,
    record_batches,
    seconds,
)
from pi10_classifier.sizes.sums import NO_MINUTE, Batch, MinuteFactors

PREDICTIONS = "predictions.parquet"
SIZES = ("esd_um", "major_um", "minor_um")
_NEEDED = {"bin", "minute", "label", "hits", "misses", "images", "raised_count", "litres"}


class Sums(Protocol):
    """What particles are added to, such as ``SizeSums``."""

    def add(self, batch: Batch) -> None:
        """Take a batch of any size."""


def read_minutes(run: Path, factors: MinuteFactors) -> None:
    """Take the minutes of ``counts.csv``. Raises SettingError where it cannot be read."""
    path = run / "counts.csv"
    for line, row in _rows(path):
        try:
            factors.add(row, _minute(row["minute"]))
        except ValueError as error:
            raise SettingError(
                f"{path}, line {line}: {error}; write it again: pi10 classify … --resume"
            ) from error


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            if lacking := sorted(_NEEDED - set(reader.fieldnames or ())):
                raise SettingError(
                    f"{path} has no column {', '.join(lacking)}: it is cut, or of an older version "
                    "of this program; classify again"
                )
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(
            f"{path} cannot be read ({error}); write it again: pi10 classify … --resume"
        ) from error


def _minute(text: str) -> int | None:
    """Minutes since 1970 of a time as the tables write it; None of an empty one."""
    if not text:
        return None
    when = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return int(when.timestamp() // 60)


def read_particles(run: Path, factors: MinuteFactors, sums: Sums) -> int:
    """Add every particle of ``predictions.parquet`` to ``sums``; returns how many there are.

    Raises SettingError where the table is not there, has no sizes, or is damaged.
    """
    import pyarrow as pa

    folder = run / PREDICTIONS
    if not parts_of(folder):
        raise SettingError(f"{folder} holds no particles; give the --out of a run of pi10 classify")
    columns = ("label", "bin", "datetime", *SIZES)
    particles = 0
    try:
        for batch in record_batches(folder, columns, ("label", "bin")):
            if lacking := sorted(set(columns) - set(batch.schema.names)):
                raise SettingError(
                    f"{folder} has no column {', '.join(lacking)}: it is of another program or an "
                    "older version; classify again"
                )
            particles += batch.num_rows
            add_batch(batch, factors, sums)
    except (pa.ArrowException, OSError) as error:
        raise SettingError(
            f"cannot read {folder}: {error}; remove the damaged part and classify with --resume"
        ) from error
    return particles


def add_batch(batch: Any, factors: MinuteFactors, sums: Sums) -> None:
    """Add the particles of a record batch with the columns label, bin, datetime and the sizes."""
    names, places = codes(batch, "bin")
    times = seconds(batch, "datetime")
    minutes = np.where(times == NO_TIME, NO_MINUTE, times // 60)
    strata, stratum, factor, weight = factors.of(names, places, minutes)
    labels, label = codes(batch, "label")
    sizes = {name: numbers(batch, name) for name in SIZES}
    sums.add(Batch(labels, label, strata, stratum, factor, weight, sizes))
