"""Fills the column of raising factors in a part, once the factors are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMN = "raising_factor"

Factors = list[list[Any]]
"""Bin, minute (ISO 8601 as in the journal) and factor of minutes that have one, sorted."""


def fill(part: Path, target: Path, factors: Sequence[Sequence[Any]]) -> None:
    """Copy a part, one row group at a time, with the column filled. Raises OSError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    by_minute = {(bin_id, minute): factor for bin_id, minute, factor in factors}
    try:
        with pq.ParquetFile(part) as source:
            kind = source.schema_arrow
            at = kind.get_field_index(COLUMN)
            with pq.ParquetWriter(target, kind, compression="zstd") as writer:
                for number in range(source.num_row_groups):
                    table = source.read_row_group(number)
                    values = pa.array(_values(table, by_minute), pa.float64())
                    writer.write_table(table.set_column(at, kind.field(at), values))
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _values(table: Any, by_minute: dict[tuple[str, str], float]) -> list[float | None]:
    import numpy as np

    minutes = np.datetime_as_string(
        table["datetime"].to_numpy().astype("datetime64[m]"), unit="m"
    ).tolist()  # NaT for a particle without a time
    return [
        by_minute.get((bin_id or "", f"{minute}:00Z"))
        for bin_id, minute in zip(table["bin"].to_pylist(), minutes, strict=True)
    ]
