"""Readings of the ship's instruments: CSV files of time and numbers, as a stream."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError

F64 = NDArray[np.float64]

TIME_NAMES = ("time", "datetime", "date_time", "timestamp", "date/time", "time_utc", "datetime_utc")
RESERVED = ("bin", "minute", "minutes", "seconds_away")  # columns of the tables made of readings
MISSING = ("", "nan", "na", "n/a", "null")
# what ships' loggers write where there is no reading; 9.969e36 is netCDF's own
FILLS = (-99.0, -99.9, -99.99, -999.0, -999.9, -999.99, -9999.0, -99999.0)
LARGEST = 1e30
CHUNK_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Readings in order of time. times: (n,) seconds since 1970. values: (n, variables), NaN."""

    times: F64
    values: F64


@dataclass(slots=True)
class Readings:
    """The readings of several files, which follow each other in time.

    time: name of the column of times; found by its name if "". variables: columns to take; all
    others if (). utc: take times without a zone as UTC. After reading: rows, first and last
    (seconds since 1970), and repeated, the readings at the time of the one before.
    """

    paths: Sequence[Path]
    time: str = ""
    variables: tuple[str, ...] = ()
    utc: bool = False
    rows: int = 0
    repeated: int = 0
    first: float | None = None
    last: float | None = None

    def __post_init__(self) -> None:
        """Reads the headers. Raises SettingError where they cannot be used."""
        given = self.variables
        for place, path in enumerate(self.paths):
            variables = self._columns(path, given)
            if place == 0:
                self.variables = variables
            elif variables != self.variables:
                raise SettingError(
                    f"{path} has the variables {', '.join(variables)}, {self.paths[0]} has "
                    f"{', '.join(self.variables)}; choose those of both with --variable"
                )

    def _columns(self, path: Path, given: tuple[str, ...]) -> tuple[str, ...]:
        with _opened(path) as rows:
            header: list[str] = next(rows, [])
        names = [name.strip() for name in header]
        if len(names) < 2:
            raise SettingError(
                f"{path} begins with {','.join(names)!r}, which is no header of time and "
                "variables; give a CSV whose first line names its columns"
            )
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SettingError(f"{path} has the column {twice[0]!r} twice; rename one")
        time = self._time_of(path, names)
        variables = given or tuple(name for name in names if name and name != time)
        if lacking := [name for name in variables if name not in names]:
            raise SettingError(
                f"{path} has no column {lacking[0]!r}; it has {', '.join(filter(None, names))}"
            )
        if wrong := [name for name in variables if name in RESERVED]:
            raise SettingError(f"{path}: the name {wrong[0]!r} is taken; rename the column")
        return variables

    def _time_of(self, path: Path, names: Sequence[str]) -> str:
        if self.time:
            if self.time not in names:
                raise SettingError(f"{path} has no column {self.time!r}; it has {', '.join(names)}")
            return self.time
        likely = [name for name in names if name.lower().replace(" ", "_") in TIME_NAMES]
        if len(likely) != 1:
            raise SettingError(
                f"{path} has {'no column named time' if not likely else 'several columns of times'}"
                f" among {', '.join(names)}; name it with --time"
            )
        return likely[0]

    def chunks(self) -> Iterator[Chunk]:
        """All readings. Raises SettingError where a line cannot be used."""
        self.rows = self.repeated = 0
        self.first = self.last = None
        for before, path in zip((None, *self.paths), self.paths, strict=False):
            yield from self._of_file(path, before)

    def _of_file(self, path: Path, before: Path | None) -> Iterator[Chunk]:
        times: list[float] = []
        values: list[list[float]] = []
        with _opened(path) as rows:
            names = [name.strip() for name in next(rows, [])]
            at = names.index(self._time_of(path, names))
            places = [names.index(name) for name in self.variables]
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                where = f"{path}, line {rows.line_num}"
                if len(row) != len(names):
                    raise SettingError(
                        f"{where} has {len(row)} cells where the header has {len(names)}; mend it"
                    )
                text = row[at].strip()
                moment = self._moment(text, where)
                self._follow(moment, text, where, before)
                before = None
                times.append(moment)
                values.append(
                    [
                        _number(row[place].strip(), name, where)
                        for place, name in zip(places, self.variables, strict=True)
                    ]
                )
                if len(times) == CHUNK_ROWS:
                    yield Chunk(np.array(times), np.array(values))
                    times, values = [], []
        if times:
            yield Chunk(np.array(times), np.array(values))

    def _moment(self, text: str, where: str) -> float:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise SettingError(
                f"{where}: the time is {text!r}; write times as 2024-06-24T14:50:00Z (ISO 8601)"
            ) from None
        if when.tzinfo is None:
            if not self.utc:
                raise SettingError(
                    f"{where}: the time {text!r} tells no zone; if it is UTC, add --utc, else write"
                    " times as 2024-06-24T14:50:00+02:00"
                )
            when = when.replace(tzinfo=UTC)
        return when.timestamp()

    def _follow(self, seconds: float, text: str, where: str, before: Path | None) -> None:
        """Check a reading against the last one; before: the file before, at its first reading."""
        self.first = seconds if self.first is None else self.first
        if self.last is not None and seconds <= self.last:
            if before:
                raise SettingError(
                    f"{where}: {text} is not after the last reading of {before}; files must not "
                    "overlap, and the earlier one comes first"
                )
            if seconds < self.last:
                raise SettingError(
                    f"{where}: {text} is before the reading above it; sort the file by time"
                )
            self.repeated += 1
        self.last = seconds
        self.rows += 1


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The rows of a CSV file; cells lie between commas, semicolons or tabs, as in its header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header = stream.readline()
            stream.seek(0)
            yield csv.reader(stream, delimiter=max(",;\t", key=header.count))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(f"{path} cannot be read as CSV in UTF-8: {error}") from error


def _number(text: str, name: str, where: str) -> float:
    if text.lower() in MISSING:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise SettingError(
            f"{where}: {name} is {text!r}, which is no number; leave the cell empty where there is "
            "none, or choose other columns with --variable"
        )
    return math.nan if value in FILLS or abs(value) > LARGEST else value
