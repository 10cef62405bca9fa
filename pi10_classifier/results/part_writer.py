"""Writes the rows of one unit as a part of the predictions table."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from pi10_classifier.errors import output_error
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.results.columns import Row, by_column, schema
from pi10_classifier.results.factor_column import fill
from pi10_classifier.results.feature_part import F16, FeaturePart
from pi10_classifier.results.run_folder import RunFolder, UnitRecord, entry_bytes, part_stem

ROW_GROUP = 16_384
BATCH_ROWS = 2048  # become Arrow columns at once: as Python objects they take five times as much


class PartWriter:
    """Writes one unit's rows in bounded memory, and publishes all of them or none."""

    def __init__(self, folder: RunFolder, unit: str) -> None:
        self._folder = folder
        self.classes = folder.classes
        self._optional = {
            "novelty": folder.novelty, "groups": folder.groups, "camera": folder.camera,
        }  # fmt: skip
        self._stem = part_stem(unit)
        self._schema: Any = None
        self._rows: list[Row] = []
        self._batches: list[Any] = []  # of Arrow, for the next row group
        self._writer: Any = None
        self._temporary = folder.parts / f".{self._stem}.{os.getpid()}.tmp"
        size = folder.feature_size
        self._features = FeaturePart(folder.features, self._stem, size) if size else None

    def add(self, rows: Sequence[Row], features: Sequence[F16] = ()) -> None:
        """Add rows. features: (D,) of each, where the folder holds them."""
        self._rows.extend(rows)
        if self._features:
            self._features.add(rows, features)
        size = min(BATCH_ROWS, ROW_GROUP)
        while len(self._rows) >= size:
            self._convert(self._rows[:size])
            del self._rows[:size]
            if len(self._batches) * size >= ROW_GROUP:
                self._write()

    def _convert(self, rows: Sequence[Row]) -> None:
        """Turn rows into a batch of Arrow."""
        import pyarrow as pa

        if self._schema is None:
            self._schema = schema(self._folder.classes, **self._optional)
        columns = by_column(rows, **self._optional) if rows else [()] * len(self._schema)
        arrays = [pa.array(cells, f.type) for cells, f in zip(columns, self._schema, strict=True)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def _write(self) -> None:
        """Write the batches as one row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        # in one piece, so that the file does not tell how the rows came together
        table = pa.Table.from_batches(self._batches, schema=self._schema).combine_chunks()
        self._batches = []
        try:
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._temporary, self._schema, compression="zstd")
            self._writer.write_table(table)
        except OSError as error:
            raise output_error(error, self._temporary) from error

    def publish(self, record: UnitRecord) -> None:
        """Publish the unit: its features and its journal entry first, its part last."""
        if self._rows or (self._writer is None and not self._batches):
            self._convert(self._rows)
            self._rows = []
        if self._batches:
            self._write()
        try:
            self._writer.close()
            self._writer = None
            if record.factors:
                filled = self._temporary.with_name(f".{self._stem}.filled.{os.getpid()}.tmp")
                fill(self._temporary, filled, record.factors)
                filled.replace(self._temporary)
            with self._temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            record.part_bytes = self._temporary.stat().st_size
            final = self._folder.parts / f"{self._stem}.parquet"
            # after a kill, an old part must not stand next to the new journal entry
            final.unlink(missing_ok=True)
            if self._features:
                self._features.publish()
            write_atomically(
                self._folder.journal / f"{self._stem}.json", entry_bytes(record.to_json())
            )
            self._temporary.replace(final)
        except OSError as error:
            raise output_error(error, self._temporary) from error
        self._folder.part_published(self._stem)

    def abandon(self) -> None:
        """Remove all temporary files."""
        if self._features:
            self._features.abandon()
        if self._writer is not None:
            with contextlib.suppress(OSError):  # on a full disk, even closing may fail
                self._writer.close()
            self._writer = None
        with contextlib.suppress(OSError):  # the next run in the folder removes it
            self._temporary.unlink(missing_ok=True)
