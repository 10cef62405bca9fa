"""Writes the features of one unit's particles: a part of ``features.parquet``.

A part has the name and the rows of the unit's part of the predictions, in the same order.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import output_error
from pi10_classifier.results.columns import Row

F16 = NDArray[np.float16]
FEATURES = "features.parquet"
COLUMN = "features"
_IDENTITY = ("particle_id", "source", "member")
_BATCH = 2**17  # numbers encoded at once: of the library's 1,024 none holds a whole particle
_GROUP = 4096  # rows held before they are written: 10 MB of 1,280 features


class FeaturePart:
    """The features of one unit, written in bounded memory. size: numbers of a particle, D."""

    def __init__(self, folder: Path, stem: str, size: int) -> None:
        self._final = folder / f"{stem}.parquet"
        self._temporary = folder / f".{stem}.{os.getpid()}.tmp"
        self._size = size
        self._rows: list[tuple[str, str, str]] = []
        self._features: list[F16] = []
        self._writer: Any = None

    def add(self, rows: Sequence[Row], features: Sequence[F16]) -> None:
        """Add rows and the features (D,) of each."""
        self._rows.extend((row.particle_id, row.source, row.member) for row in rows)
        self._features.extend(features)
        while len(self._rows) >= _GROUP:
            self._write(_GROUP)

    def _write(self, count: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = feature_schema(self._size)
        flat = np.concatenate([np.empty(0, np.float16), *self._features[:count]])
        columns = list(zip(*self._rows[:count], strict=True)) or [()] * len(_IDENTITY)
        arrays = [pa.array(cells, pa.string()) for cells in columns]
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), self._size))
        del self._rows[:count], self._features[:count]
        try:
            if self._writer is None:
                # features hardly compress, and names do
                packed = dict.fromkeys(_IDENTITY, "zstd")
                self._writer = pq.ParquetWriter(
                    self._temporary, kind, compression=packed, use_dictionary=["source"],
                    write_statistics=False, write_batch_size=_BATCH,
                )  # fmt: skip
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=kind))
        except OSError as error:
            raise output_error(error, self._temporary) from error

    def publish(self) -> None:
        """Rename the part into place."""
        if self._rows or self._writer is None:
            self._write(len(self._rows))
        try:
            self._writer.close()
            self._writer = None
            with self._temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            self._temporary.replace(self._final)
        except OSError as error:
            raise output_error(error, self._temporary) from error

    def abandon(self) -> None:
        """Remove the temporary file."""
        if self._writer is not None:
            with contextlib.suppress(OSError):  # on a full disk, even closing may fail
                self._writer.close()
            self._writer = None
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def feature_schema(size: int) -> Any:
    """The Arrow schema of ``features.parquet``; size: numbers of a particle."""
    import pyarrow as pa

    names = [pa.field(name, pa.string()) for name in _IDENTITY]
    return pa.schema([*names, pa.field(COLUMN, pa.list_(pa.float16(), size))])
