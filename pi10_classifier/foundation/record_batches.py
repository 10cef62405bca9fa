"""A Parquet dataset as a stream of record batches, and their columns as arrays.

A stream of any length takes the memory of a few batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

NO_TIME = np.iinfo(np.int64).min  # NumPy's NaT
BATCH_ROWS = 65_536


def parts_of(folder: Path) -> list[str]:
    """The parts of a dataset, by name."""
    return sorted(str(x) for x in folder.glob("*.parquet") if x.name[0] not in "._")


def record_batches(folder: Path, columns: Sequence[str], texts: Sequence[str]) -> Iterator[Any]:
    """The batches that hold rows, each with those of ``columns`` that its part has.

    texts: columns that come as dictionaries. Parts are opened one after another: a dataset would
    keep the metadata of all. Raises pyarrow.ArrowException and OSError.
    """
    import pyarrow.parquet as pq

    for part in parts_of(folder):
        metadata = pq.read_metadata(part)
        there = set(metadata.schema.names)
        wanted = [name for name in columns if name in there]
        known = [name for name in texts if name in there]
        with pq.ParquetFile(part, metadata=metadata, read_dictionary=known) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
                if batch.num_rows:
                    yield batch


def numbers(batch: Any, name: str) -> F64:
    """A column as (n,) float64: NaN for null, and everywhere where there is no such column."""
    if name not in batch.schema.names:
        return np.full(batch.num_rows, np.nan)
    column = batch.column(name).cast("float64")
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)


def seconds(batch: Any, name: str) -> I64:
    """A column of times as (n,) seconds since 1970; NO_TIME for null or without the column."""
    if name not in batch.schema.names:
        return np.full(batch.num_rows, NO_TIME)
    times = batch.column(name).to_numpy(zero_copy_only=False)
    return np.asarray(times, "datetime64[s]").astype(np.int64)


def codes(batch: Any, name: str) -> tuple[list[str], I64]:
    """The distinct texts of a column and each row's place among them, (n,); null is ''."""
    if name not in batch.schema.names:
        return [""], np.zeros(batch.num_rows, np.int64)
    column = batch.column(name)
    if not hasattr(column, "dictionary"):
        column = column.dictionary_encode()
    names = [x or "" for x in column.dictionary.to_pylist()]
    places = column.indices.cast("int64").fill_null(len(names)).to_numpy(zero_copy_only=False)
    used, places = np.unique(places, return_inverse=True)
    return [names[i] if i < len(names) else "" for i in used], np.asarray(places, np.int64)
