"""Reads profiles from a Parquet table: a row for each particle, a list for each channel.

Columns: ``particle_id`` (text), and one column of lists of numbers for each channel, as a
cytometer gives them (scatter, fluorescence). Particles may have profiles of different lengths. The
channels of one particle are sampled together, so their lists must be equally long.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError

F32 = NDArray[np.float32]

ID = "particle_id"
_ROWS = 4096  # at a time


@dataclass(frozen=True, slots=True)
class ProfileTable:
    """A table of profiles; ``ids`` are the particles that it names."""

    path: Path
    channels: tuple[str, ...]
    ids: frozenset[str]

    def read(self, wanted: Collection[str]) -> Iterator[tuple[str, F32 | str]]:
        """Each wanted particle with its profile, float32 (C, L), or why it cannot be used."""
        for batch in _batches(self.path, (ID, *self.channels)):
            names = batch.column(ID).to_pylist()
            rows = [row for row, name in enumerate(names) if name in wanted]
            columns = [batch.column(name) for name in self.channels]
            for row in rows:
                yield names[row], profile_of([column[row].as_py() for column in columns])


def read_table(path: Path) -> ProfileTable:
    """Open a table of profiles and read which particles it has.

    Raises SettingError if it is no such table, or names a particle twice or not at all.
    """
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise SettingError(f"profiles {path} cannot be read as Parquet: {error}") from error
    if ID not in schema.names or not _is_text(schema.field(ID).type):
        raise SettingError(
            f"profiles {path} has no text column {ID!r} (its columns: {', '.join(schema.names)});"
            " give one row for each particle, with its particle_id as `pi10 classify` writes it"
        )
    channels = tuple(f.name for f in schema if f.name != ID and _is_profile(f.type))
    if not channels:
        raise SettingError(
            f"profiles {path} has no column of lists of numbers (its columns:"
            f" {', '.join(schema.names)}); give one such column for each channel"
        )
    ids: set[str] = set()
    for batch in _batches(path, (ID,)):
        for name in batch.column(ID).to_pylist():
            if not name:
                raise SettingError(f"profiles {path}: a row has no {ID}; give each row one")
            if name in ids:
                raise SettingError(f"profiles {path} has {name!r} twice; keep one of the rows")
            ids.add(name)
    if not ids:
        raise SettingError(f"profiles {path} has no row; give one for each particle")
    return ProfileTable(path, channels, frozenset(ids))


def profile_of(channels: list[list[float | None] | None]) -> F32 | str:
    """The profile (C, L) of one row's cells, or what is wrong with them."""
    if any(channel is None for channel in channels):
        return "a channel of its profile is empty"
    lengths = [len(channel or ()) for channel in channels]
    if len(set(lengths)) > 1:
        told = ", ".join(map(str, lengths))
        return f"the channels of its profile have different lengths ({told})"
    if not lengths[0]:
        return "its profile has no point"
    values = np.asarray(
        [[np.nan if x is None else x for x in channel or ()] for channel in channels], np.float32
    )
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        return f"{count:,} of {values.size:,} values of its profile are not finite numbers"
    return values


def _batches(path: Path, columns: tuple[str, ...]) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(_ROWS, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise SettingError(f"profiles {path} cannot be read: {error}") from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_profile(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_list(kind) for is_list in lists):
        return False
    inner = kind.value_type
    return bool(pa.types.is_floating(inner) or pa.types.is_integer(inner))
