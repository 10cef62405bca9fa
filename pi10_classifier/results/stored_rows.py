"""Reads single rows of ``predictions.parquet``, by part and row number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pi10_classifier.errors import SettingError

K = TypeVar("K")


def rows_at(
    parts: Mapping[K, Path], places: Iterable[tuple[K, int]], columns: Sequence[str]
) -> dict[tuple[K, int], dict[str, Any]]:
    """(part, row) -> the row's cells by column; one row group at a time is read.

    Raises SettingError if a part is gone or damaged, or has no such row or column.
    """
    import pyarrow.parquet as pq

    by_part: dict[K, list[int]] = {}
    for part, row in places:
        by_part.setdefault(part, []).append(row)
    rows: dict[tuple[K, int], dict[str, Any]] = {}
    for part, wanted in by_part.items():
        path = parts[part]
        try:
            with pq.ParquetFile(path) as file:
                first = 0
                if lacking := set(columns) - set(file.schema_arrow.names):
                    raise ValueError(f"no column {', '.join(sorted(lacking))}")
                for group in range(file.num_row_groups):
                    count = file.metadata.row_group(group).num_rows
                    here = sorted({row for row in wanted if first <= row < first + count})
                    if here:
                        table = file.read_row_group(group, columns=list(columns))
                        cells = table.take([row - first for row in here]).to_pylist()
                        rows |= {(part, row): line for row, line in zip(here, cells, strict=True)}
                    first += count
                if max(wanted) >= first:
                    raise ValueError(f"{first:,} rows")
        except (OSError, ValueError) as error:
            raise SettingError(
                f"{path} has changed since the sample was drawn ({error}); draw it again: "
                f"pi10 validate draw {path.parent.parent}"
            ) from error
    return rows
