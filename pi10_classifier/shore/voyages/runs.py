"""A finished run as a voyage: what `pi10 classify` or `pi10 watch` wrote into its folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.report.density_series import (
    parse_minute,
    parse_number,
    split_flags,
    sums_of,
)
from pi10_classifier.results.run_info import read_run
from pi10_classifier.shore.voyages.series import Fix, Gap, Stretch

SPECTRUM = "size_spectrum.csv"
ALL = "all"  # the stratum of a whole run


@dataclass(slots=True)
class _Minute:
    stretch: Stretch
    fix: Fix | None = None


class FinishedRun:
    """A results folder, read when it is opened. Raises SettingError for one without tables."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        self.model = str(read_run(folder)["model"]["name"])
        self.without_time = 0
        by_minute: dict[int, _Minute] = {}
        places: set[tuple[str, int]] = set()
        for row in _rows(folder / "counts.csv"):
            minute = parse_minute(row.get("minute"))
            if minute is None:
                self.without_time += int(parse_number(row.get("count")) or 0)
                continue
            place = (row.get("bin") or "", minute)
            _take(by_minute, minute, row, new=place not in places)
            places.add(place)
        self._minutes = [by_minute[minute] for minute in sorted(by_minute)]

    def extent(self) -> tuple[int, int] | None:
        if not self._minutes:
            return None
        return self._minutes[0].stretch.start, self._minutes[-1].stretch.start + 1

    def stretches(self, start: int, end: int, step: int) -> list[Stretch]:
        return [minute.stretch for minute in self._within(start, end)]

    def track(self, start: int, end: int, *, fine: bool = False) -> list[Fix]:
        return [minute.fix for minute in self._within(start, end) if minute.fix]

    def gaps(self, start: int, end: int) -> list[Gap]:
        starts = [minute.stretch.start for minute in self._within(start, end)]
        return [
            Gap(before + 1, after, 0) for before, after in pairwise(starts) if after - before > 1
        ]

    def _within(self, start: int, end: int) -> Iterator[_Minute]:
        return (minute for minute in self._minutes if start <= minute.stretch.start < end)

    def spectrum(self) -> list[dict[str, Any]]:
        """Rows of the size spectrum; empty where `pi10 sizes` has not been run."""
        path = self.folder / SPECTRUM
        if not path.is_file():
            return []
        names = (
            "volume_middle_mm3", "esd_from_um", "esd_to_um", "particles", "normalised_biovolume",
            "normalised_biovolume_low", "normalised_biovolume_high",
        )  # fmt: skip
        return [
            {"label": row["label"], **{name: parse_number(row.get(name)) for name in names}}
            for row in _rows(path)
            if row.get("stratum") == ALL
        ]


def open_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """The runs of several folders, each under a name of its own. Raises SettingError."""
    runs: list[FinishedRun] = []
    for folder in folders:
        name = stem = folder.resolve().name
        number = 1
        while name in {run.name for run in runs}:
            number += 1
            name = f"{stem}-{number}"
        runs.append(FinishedRun(folder, name))
    return runs


def _take(by_minute: dict[int, _Minute], minute: int, row: dict[str, str], *, new: bool) -> None:
    """Add a row of ``counts.csv``; new: the first row of its bin and minute."""
    held = by_minute.setdefault(minute, _Minute(Stretch(minute)))
    north, east = (parse_number(row.get(name)) for name in ("latitude", "longitude"))
    if held.fix is None and north is not None and east is not None:
        held.fix = minute, north, east
    part = Stretch(minute)
    sums = sums_of(row)
    label = row.get("label") or ""
    if sums:
        part.sums[label] = sums
    part.images[label] = int(parse_number(row.get("count")) or 0)
    if new:
        part.hits, part.misses = (
            int(parse_number(row.get(name)) or 0) for name in ("hits", "misses")
        )
        part.lines = 1
        part.flags.update(dict.fromkeys(split_flags(row.get("flags") or ""), 1))
        part.minutes, part.no_density = (1, 0) if sums else (0, 1)
    held.stretch.add(part)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise SettingError(f"{path} does not exist; RESULTS must be folders of runs") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from error
    return csv.DictReader(io.StringIO(text))
