"""A finished run as the exports read it: its minutes, bins and model."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from pi10_classifier.abundance.bins import BinRow
from pi10_classifier.abundance.density import Sums, densities
from pi10_classifier.abundance.minutes import CountRow
from pi10_classifier.abundance.position import Position
from pi10_classifier.abundance.track import Where
from pi10_classifier.errors import SettingError
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.results.run_info import read_run


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of a class a minute or bin holds; densities are per litre, None unknown.

    count: images that the density is made of. count_outside: images in minutes without a density.
    variance, largest: as in ``density.Sums``. water_mass_…: limits of the water mass.
    """

    count: int
    count_outside: int
    raised: float | None
    per_litre: float | None
    low: float | None
    high: float | None
    water_mass_low: float | None
    water_mass_high: float | None
    variance: float | None
    largest: float | None


@dataclass(frozen=True, slots=True)
class Minute:
    """A minute of a bin. position: midway; first: its first fix. amounts: by class."""

    bin: str
    time: datetime | None
    hits: int | None
    misses: int | None
    images: int
    litres: float | None
    share_of_hits: float | None
    factor: float | None
    position: Position | None
    first: Position | None
    sun_elevation: float | None
    l20: str
    qartod: int
    position_l20: str
    position_qartod: int
    flags: tuple[str, ...]
    amounts: dict[str, Amount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BinTotal:
    """A bin, with the amounts of each class over its minutes. minutes: in order of time."""

    bin: str
    minutes_observed: int
    litres: float | None
    position: Position | None
    l20: str
    qartod: int
    position_l20: str
    flags: tuple[str, ...]
    amounts: dict[str, Amount] = field(default_factory=dict)
    minutes: list[Minute] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunTables:
    """All that is exported of a run. bins: by name, in order of name."""

    path: Path
    classes: tuple[str, ...]
    model: str
    model_version: str
    model_sha256: str
    software: str
    finished: datetime
    bins: dict[str, BinTotal]

    @property
    def minutes(self) -> Iterator[Minute]:
        for total in self.bins.values():
            yield from total.minutes


def read_tables(run: Path) -> RunTables:
    """Raises SettingError where the run is not finished, or its tables are not whole."""
    info = read_run(run)
    try:
        model, version = info["model"], str(info["versions"]["pi10-classifier"])
        finished = datetime.strptime(info["finished"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        classes = tuple(model["classes"])
        about = (str(model["name"]), str(model["version"]), str(model["sha256"]))
    except (LookupError, TypeError, ValueError) as error:
        raise SettingError(
            f"{run / 'run.json'} is of another version of this program ({error!r}); classify again"
        ) from error
    bins = _bins(run / "bins.csv")
    _add_minutes(run / "counts.csv", bins)
    return RunTables(run, classes, *about, version, finished, bins)


def together(amounts: Sequence[Amount], litres: float | None) -> Amount:
    """Several classes of one minute or bin of so many litres as one.

    The limits of the water mass are None for several: how their minutes go together is not in
    the tables.
    """
    if len(amounts) == 1:
        return amounts[0]
    counts = (sum(a.count for a in amounts), sum(a.count_outside for a in amounts))
    if litres is None or any(amount.per_litre is None for amount in amounts):
        return Amount(*counts, *[None] * 8)
    raised = sum(amount.raised or 0.0 for amount in amounts)
    variance = sum(amount.variance or 0.0 for amount in amounts)
    largest = max(amount.largest or 0.0 for amount in amounts)
    (density,) = densities([Sums(1, raised, variance, largest, litres)])
    if density is None:
        raise ValueError("a stretch of one minute has a density")
    return Amount(
        *counts, raised, density.per_litre, density.low, density.high, None, None,
        variance, largest,
    )  # fmt: skip


class _Row:
    """A line of a table whose cells are read by name and kind."""

    def __init__(self, path: Path, line: int, cells: Mapping[str, str]) -> None:
        self.path, self.line, self.cells = path, line, cells

    def text(self, name: str) -> str:
        return self.cells[name]

    def number(self, name: str) -> float | None:
        text = self.cells[name]
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(f"{name} is {text!r}, which is no number")
        return value

    def whole(self, name: str) -> int | None:
        value = self.number(name)
        return None if value is None else int(value)

    def time(self, name: str) -> datetime | None:
        text = self.cells[name]
        if not text:
            return None
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            time = datetime.min
        if time.tzinfo is None:
            raise self.error(f"{name} is {text!r}, which is no time in UTC")
        return time.astimezone(UTC)

    def flags(self) -> tuple[str, ...]:
        return tuple(filter(None, self.cells["flags"].split(";")))

    def position(self, prefix: str = "") -> Position | None:
        north, east = self.number(f"{prefix}latitude"), self.number(f"{prefix}longitude")
        return None if north is None or east is None else (north, east)

    def error(self, problem: str) -> SettingError:
        return SettingError(
            f"{self.path}, line {self.line}: {problem}; make the tables again: "
            "pi10 classify … --resume"
        )


def _rows(path: Path, kind: type) -> Iterator[_Row]:
    """The lines of a table whose columns are the fields of ``kind``."""
    needed = {*(column.name for column in fields(kind)), *Where._fields} - {"where"}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            if lacking := sorted(needed - set(header)):
                raise SettingError(
                    f"{path} has no column {', '.join(lacking)}: it is cut, or of an older version "
                    "of this program; classify again"
                )
            for cells in reader:
                row = _Row(path, reader.line_num, dict(zip(header, cells, strict=False)))
                if len(cells) != len(header):
                    raise row.error(f"has {len(cells)} cells where the header has {len(header)}")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(
            f"{path} cannot be read ({error}); make it again: pi10 classify … --resume"
        ) from error


def _bins(path: Path) -> dict[str, BinTotal]:
    bins: dict[str, BinTotal] = {}
    for row in _rows(path, BinRow):
        name, label = row.text("bin"), row.text("label")
        total = bins.get(name)
        if label == NO_PARTICLE:
            continue
        if total is None:
            total = bins[name] = BinTotal(
                bin=name,
                minutes_observed=row.whole("minutes_observed") or 0,
                litres=row.number("litres"),
                position=row.position(),
                l20=row.text("quality_l20"),
                qartod=row.whole("quality_qartod") or 0,
                position_l20=row.text("position_l20"),
                flags=row.flags(),
            )
        if label in total.amounts:
            raise row.error(f"the bin {name!r} has the class {label!r} twice")
        outside = row.whole("count_without_density") or 0
        total.amounts[label] = Amount(
            (row.whole("count") or 0) - outside,
            outside,
            row.number("raised_count"),
            row.number("per_litre"),
            row.number("per_litre_low"),
            row.number("per_litre_high"),
            row.number("water_mass_low"),
            row.number("water_mass_high"),
            row.number("raised_variance"),
            row.number("largest_factor"),
        )
    return dict(sorted(bins.items()))


def _add_minutes(path: Path, bins: dict[str, BinTotal]) -> None:
    minutes: dict[tuple[str, datetime | None], Minute] = {}
    for row in _rows(path, CountRow):
        name, time, label = row.text("bin"), row.time("minute"), row.text("label")
        if label == NO_PARTICLE:
            continue
        if name not in bins:
            raise row.error(f"bins.csv has no bin {name!r}")
        minute = minutes.get((name, time))
        if minute is None:
            minute = minutes[name, time] = _minute(row, name, time)
            bins[name].minutes.append(minute)
        if label in minute.amounts:
            raise row.error(f"the minute has the class {label!r} twice")
        raised, count = row.number("raised_count"), row.whole("count") or 0
        weight = None
        if raised is not None and minute.hits and minute.images:
            # images beyond the hits are copies, as in CountRow.sums
            weight = (minute.hits + (minute.misses or 0)) / min(minute.images, minute.hits)
        minute.amounts[label] = Amount(
            count if raised is not None else 0,
            0 if raised is not None else count,
            raised,
            row.number("per_litre"),
            row.number("per_litre_low"),
            row.number("per_litre_high"),
            None,
            None,
            None if raised is None or weight is None else raised * weight,
            weight,
        )
    for total in bins.values():
        total.minutes.sort(key=lambda minute: (minute.time is None, minute.time))


def _minute(row: _Row, name: str, time: datetime | None) -> Minute:
    return Minute(
        bin=name,
        time=time,
        hits=row.whole("hits"),
        misses=row.whole("misses"),
        images=row.whole("images") or 0,
        litres=row.number("litres"),
        share_of_hits=row.number("share_of_hits"),
        factor=row.number("raising_factor"),
        position=row.position(),
        first=row.position("first_"),
        sun_elevation=row.number("sun_elevation"),
        l20=row.text("quality_l20"),
        qartod=row.whole("quality_qartod") or 0,
        position_l20=row.text("position_l20"),
        position_qartod=row.whole("position_qartod") or 0,
        flags=row.flags(),
    )
