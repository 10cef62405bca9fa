"""Which particles of a run go into a bundle: all, or so many of each minute, drawn at random."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError
from pi10_classifier.results.run_folder import PREDICTIONS

NO_MINUTE = -1
_NEEDED = ("particle_id", "bin", "datetime")

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """rows: part -> the places of the chosen rows in it, ascending; parts by their first bin.

    of_bin: how many particles of each bin were chosen. repeated: hashes of the ids that the run
    has more than once.
    """

    rows: dict[str, I64]
    of_bin: Counter[str]
    repeated: frozenset[int]

    @property
    def particles(self) -> int:
        return self.of_bin.total()


def choose(run: Path, per_minute: int | None = None, seed: int = 0) -> Chosen:
    """Choose all particles, or at most ``per_minute`` of each minute of each bin.

    A draw is at random regardless of class and score, so that a minute's share stands for the
    minute. It depends on the seed and the ids alone. Raises SettingError for a part that cannot
    be read, and where the run has no particle.
    """
    if per_minute is not None and per_minute < 1:
        raise SettingError(f"--per-minute is {per_minute}; give 1 or more, or leave it out")
    if seed < 0:
        raise SettingError(f"--seed is {seed}; give a whole number from 0")
    key = seed.to_bytes(32, "big")[-32:]
    first_bins: dict[str, str] = {}
    rows: dict[str, I64] = {}
    hashes: list[I64] = []
    of_bin: Counter[str] = Counter()
    draws: dict[tuple[str, int], _Draw] = {}
    for path in sorted((run / PREDICTIONS).glob("*.parquet")):
        table = read_part(path, _NEEDED)
        ids = table["particle_id"].to_pylist()
        bins = bins_of(table)
        if not ids:
            continue
        first_bins[path.stem] = min(bins)
        hashes.append(np.fromiter(map(hash, ids), np.int64, len(ids)))
        if per_minute is None:
            rows[path.stem] = np.arange(len(ids))
            of_bin.update(bins)
            continue
        for row, place in enumerate(zip(bins, minutes_of(table), strict=True)):
            draw = draws.get(place)
            if draw is None:
                draw = draws[place] = _Draw(per_minute)
            draw.offer(_rank(ids[row], key), path.stem, row)
    if not first_bins:
        raise SettingError(f"{run} holds no particle, so there is nothing to export")
    if per_minute is not None:
        places: dict[str, list[int]] = {}
        for (name, _), draw in draws.items():
            of_bin[name] += len(draw.taken)
            for part, row in draw.taken.values():
                places.setdefault(part, []).append(row)
        rows = {part: np.array(sorted(taken), np.int64) for part, taken in places.items()}
    ordered = sorted(rows, key=lambda part: (first_bins[part], part))
    return Chosen({part: rows[part] for part in ordered}, of_bin, _repeated(hashes))


@dataclass(slots=True)
class _Draw:
    """The ``size`` lowest ranks of a minute. taken: rank -> part and row."""

    size: int
    taken: dict[int, tuple[str, int]] = field(default_factory=dict)
    _highest: list[int] = field(default_factory=list)  # a heap of negated ranks

    def offer(self, rank: int, part: str, row: int) -> None:
        if len(self.taken) == self.size and rank >= -self._highest[0]:
            return
        if rank in self.taken:
            return  # the same particle in another archive
        self.taken[rank] = (part, row)
        if len(self.taken) > self.size:
            del self.taken[-heapq.heapreplace(self._highest, -rank)]
        else:
            heapq.heappush(self._highest, -rank)


def _rank(particle_id: str, key: bytes) -> int:
    text = particle_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=key).digest(), "big")


def _repeated(hashes: list[I64]) -> frozenset[int]:
    values, counts = np.unique(np.concatenate(hashes), return_counts=True)
    return frozenset(values[counts > 1].tolist())


def read_part(path: Path, columns: tuple[str, ...]) -> Any:
    """Columns of a part as an Arrow table. Raises SettingError."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if lacking := sorted(set(columns) - set(file.schema_arrow.names)):
                raise ValueError(f"no column {', '.join(lacking)}")
            return file.read(columns=list(columns))
    except (OSError, ValueError) as error:
        raise SettingError(
            f"{path} cannot be read ({error}); make it again: pi10 classify … --resume"
        ) from error


def bins_of(table: Any) -> list[str]:
    """The bin of each row; "" where it is unknown."""
    return [name or "" for name in table["bin"].to_pylist()]


def minutes_of(table: Any) -> Iterator[int]:
    """The minute of each row since 1970, UTC; ``NO_MINUTE`` where it is unknown."""
    import pyarrow as pa

    seconds_of = table["datetime"].cast(pa.timestamp("s", "UTC")).cast(pa.int64())  # Parquet has ms
    for seconds in seconds_of.to_pylist():
        yield NO_MINUTE if seconds is None else seconds // 60
