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
from pi10_classifier.results.run_folder import JOURNAL
from pi10_classifier.results.run_info import read_run
from pi10_classifier.shore.voyages.series import Fix, Gap, Stretch
from pi10_classifier.sources.base import printable

SPECTRUM = "size_spectrum.csv"
ALL = "all"  # the stratum of a whole run


@dataclass(slots=True)
class _Minute:
    stretch: Stretch
    good: Stretch  # the sums of rows whose quality is not bad
    fix: Fix | None = None


class FinishedRun:
    """A results folder, read when it is opened. Raises SettingError for one without tables."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        if not (folder / "run.json").is_file() and not (folder / JOURNAL).is_dir():
            wrong = "is no folder of results" if folder.exists() else "does not exist"
            raise SettingError(
                f"{folder} {wrong}; pi10 shore shows folders of results, not images: make one with "
                "pi10 classify INPUT --out RESULTS, then pi10 shore RESULTS"
            )
        record = read_run(folder)
        runtime = record.get("runtime", {})  # run.json of early versions has none
        self.model = str(record["model"]["name"])
        self.version = str(record["model"].get("version", ""))
        self.precision = str(runtime.get("precision", ""))
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

    def without_bad(self, start: int, end: int) -> Stretch:
        good = Stretch(start)
        for minute in self._within(start, end):
            good.add(minute.good)
        return good

    def track(self, start: int, end: int, *, fine: bool = False) -> list[Fix]:
        return [minute.fix for minute in self._within(start, end) if minute.fix]

    def gaps(self, start: int, end: int) -> list[Gap]:
        starts = [minute.stretch.start for minute in self._within(start, end)]
        return [
            Gap(before + 1, after, 0) for before, after in pairwise(starts) if after - before > 1
        ]

    def _within(self, start: int, end: int) -> Iterator[_Minute]:
        return (minute for minute in self._minutes if start <= minute.stretch.start < end)

    @property
    def has_sizes(self) -> bool:
        """Whether `pi10 sizes` has been run."""
        return (self.folder / SPECTRUM).is_file()

    def spectrum(self) -> list[dict[str, Any]]:
        """Rows of the size spectrum; empty where `pi10 sizes` has not been run."""
        if not self.has_sizes:
            return []
        names = (
            "volume_middle_mm3", "esd_from_um", "esd_to_um", "particles", "normalised_biovolume",
            "normalised_biovolume_low", "normalised_biovolume_high",
        )  # fmt: skip
        return [
            {"label": row["label"], **{name: parse_number(row.get(name)) for name in names}}
            for row in _rows(self.folder / SPECTRUM)
            if row.get("stratum") == ALL
        ]


def open_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """The runs of several folders, each under a name of its own. Raises SettingError."""
    runs: list[FinishedRun] = []
    for folder in folders:
        name = stem = printable(folder.resolve().name)  # other bytes would fit into no answer
        number = 1
        while name in {run.name for run in runs}:
            number += 1
            name = f"{stem}-{number}"
        runs.append(FinishedRun(folder, name))
    return runs


def _take(by_minute: dict[int, _Minute], minute: int, row: dict[str, str], *, new: bool) -> None:
    """Add a row of ``counts.csv``; new: the first row of its bin and minute."""
    held = by_minute.setdefault(minute, _Minute(Stretch(minute), Stretch(minute)))
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
    if row.get("quality_l20") != "4":
        held.good.add(Stretch(minute, sums=part.sums, minutes=part.minutes))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise SettingError(f"{path} does not exist; RESULTS must be folders of runs") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from error
    return csv.DictReader(io.StringIO(text))
