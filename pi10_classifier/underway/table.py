"""``underway.csv`` and ``underway_bins.csv``: the ship's readings, joined to minutes and bins.

A minute takes of each variable the reading nearest to its middle, within a limit. A bin takes the
mean of its minutes. Nothing is interpolated.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import write_csv
from pi10_classifier.underway.minutes import minutes_of
from pi10_classifier.underway.readings import Chunk, Readings

F64 = NDArray[np.float64]

MINUTES, BINS = "underway.csv", "underway_bins.csv"
LIMIT_S = 60.0
_DIGITS = 9  # significant: positions and times of loggers keep theirs
_TIME = "%Y-%m-%dT%H:%M:%SZ"

Place = tuple[str, datetime]
"""Bin and minute, UTC."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What ``join`` wrote. missed: minutes without any reading; by variable in ``with_value``."""

    paths: tuple[Path, Path]
    minutes: int
    bins: int
    missed: int
    with_value: dict[str, int]
    readings: int
    repeated: int


@dataclass(frozen=True, slots=True)
class BinMean:
    """Mean of a variable over the minutes of a bin that have a value, and how many these are."""

    mean: float
    minutes: int


@dataclass(frozen=True, slots=True)
class Underway:
    """The joined table as exports read it; all is empty where nothing was joined.

    variables: in the order of the ship's file. by_minute: variable -> value, those that are known.
    """

    variables: tuple[str, ...] = ()
    by_minute: Mapping[Place, Mapping[str, float]] = field(default_factory=dict)
    by_bin: Mapping[str, Mapping[str, BinMean]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.variables)


def join(run: Path, readings: Readings, limit_s: float = LIMIT_S) -> Joined:
    """Join the readings to the minutes of a finished run, and write both tables into its folder.

    Raises SettingError where a file or ``counts.csv`` cannot be used, or no minute has a reading;
    OutputError where a table cannot be written.
    """
    if not 0 < limit_s < math.inf:
        raise SettingError(f"the limit is {limit_s:g} s; give seconds above 0")
    timed = sorted(
        (row.time, row.bin) for row in minutes_of(run / "counts.csv") if row.time is not None
    )
    if not timed:
        raise SettingError(f"{run / 'counts.csv'} has no minute with a time, so none can be joined")
    middles = np.array([time.timestamp() + 30.0 for time, _ in timed])
    nearest = _Nearest(middles, len(readings.variables), limit_s)
    for chunk in readings.chunks():
        nearest.add(chunk)
    found = np.isfinite(nearest.away)
    if not found.any():
        raise SettingError(
            f"no minute of {run} has a reading within {limit_s:g} s: the run goes from "
            f"{_text(middles[0] - 30)} to {_text(middles[-1] + 30)}, the readings from "
            f"{_text(readings.first)} to {_text(readings.last)}; check the zone of their times, or "
            "give a larger --limit"
        )
    header = ["bin", "minute", "seconds_away", *readings.variables]
    order = sorted(range(len(timed)), key=lambda place: (timed[place][1], middles[place]))
    rows = (
        [
            timed[place][1],
            _text(middles[place] - 30),
            _cell(float(np.nanmax(nearest.away[place])) if found[place].any() else math.nan),
            *(_cell(value) for value in nearest.values[place].tolist()),
        ]
        for place in order
    )
    write_csv(run / MINUTES, header, rows)
    bins = _bins([timed[place][1] for place in order], nearest.values[order])
    write_csv(run / BINS, _header_of_bins(readings.variables), bins)
    return Joined(
        (run / MINUTES, run / BINS),
        len(timed),
        len({name for _, name in timed}),
        int((~found.any(axis=1)).sum()),
        dict(zip(readings.variables, found.sum(axis=0).tolist(), strict=True)),
        readings.rows,
        readings.repeated,
    )


class _Nearest:
    """Of each minute and variable the nearest reading; away: (minutes, variables) s, NaN if none.

    Of two that are as near, the earlier one is taken.
    """

    def __init__(self, middles: F64, variables: int, limit_s: float) -> None:
        self.middles, self.limit_s = middles, limit_s
        self.away = np.full((len(middles), variables), np.nan)
        self.values = np.full((len(middles), variables), np.nan)

    def add(self, chunk: Chunk) -> None:
        begin, end = np.searchsorted(
            self.middles, [chunk.times[0] - self.limit_s, chunk.times[-1] + self.limit_s * 1.001]
        ).tolist()
        middles = self.middles[begin:end]
        if not len(middles):
            return
        for column in range(self.values.shape[1]):
            known = np.isfinite(chunk.values[:, column])
            times, values = chunk.times[known], chunk.values[known, column]
            if not len(times):
                continue
            # the first of those at one time: the left side
            after = np.searchsorted(times, middles, side="left")
            before = np.maximum(after - 1, 0)
            before = np.searchsorted(times, times[before], side="left")
            after = np.minimum(after, len(times) - 1)
            late = np.abs(times[after] - middles) < np.abs(times[before] - middles)
            at = np.where(late, after, before)
            away = np.abs(times[at] - middles)
            old = self.away[begin:end, column]
            better = (away <= self.limit_s) & ~(old <= away)  # also where none was near
            self.away[begin:end, column][better] = away[better]
            self.values[begin:end, column][better] = values[at[better]]


def _bins(names: Sequence[str], values: F64) -> Iterator[list[object]]:
    """Rows of ``underway_bins.csv``; names: (n,), those of one bin together."""
    starts = [place for place, name in enumerate(names) if not place or name != names[place - 1]]
    for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
        row: list[object] = [names[start], end - start]
        for column in values[start:end].T:
            known = column[np.isfinite(column)]
            row += [_cell(float(known.mean()) if len(known) else math.nan), len(known)]
        yield row


def _header_of_bins(variables: Sequence[str]) -> list[str]:
    return ["bin", "minutes", *(f"{name}_{part}" for name in variables for part in ("mean", "n"))]


def read_underway(run: Path) -> Underway:
    """What was joined to a run. Raises SettingError where a table is not whole."""
    if not (run / MINUTES).is_file():
        return Underway()
    header, rows = _read(run / MINUTES)
    if header[:3] != ["bin", "minute", "seconds_away"]:
        raise _broken(run / MINUTES, f"its columns are {', '.join(header)}")
    variables = tuple(header[3:])
    by_minute: dict[Place, dict[str, float]] = {}
    for line, row in rows:
        try:
            when = datetime.strptime(row[1], _TIME).replace(tzinfo=UTC)
            cells = zip(variables, row[3:], strict=True)
            by_minute[row[0], when] = {name: float(cell) for name, cell in cells if cell}
        except (ValueError, IndexError) as error:
            raise _broken(run / MINUTES, f"line {line}: {error}") from error
    header, rows = _read(run / BINS)
    if header != _header_of_bins(variables):
        raise _broken(run / BINS, f"its columns are {', '.join(header)}")
    by_bin: dict[str, dict[str, BinMean]] = {}
    for line, row in rows:
        try:
            by_bin[row[0]] = {
                name: BinMean(float(row[2 + 2 * place]), int(row[3 + 2 * place]))
                for place, name in enumerate(variables)
                if row[2 + 2 * place]
            }
        except (ValueError, IndexError) as error:
            raise _broken(run / BINS, f"line {line}: {error}") from error
    return Underway(variables, by_minute, by_bin)


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.reader(stream)
            return next(rows, []), [(rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _broken(path, str(error)) from error


def _broken(path: Path, problem: str) -> SettingError:
    return SettingError(f"{path} is not whole ({problem}); make it again: pi10 underway …")


def _text(seconds: float | None) -> str:
    return "?" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime(_TIME)


def _cell(value: float) -> str:
    return f"{value:.{_DIGITS}g}" if math.isfinite(value) else ""
