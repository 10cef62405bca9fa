"""The minutes of ``counts.csv`` as a stream: where and when, and how much of each class."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.instrument.names import NO_PARTICLE

_NEEDED = (
    "bin", "minute", "label", "per_litre", "images", "raising_factor", "latitude", "longitude",
    "day_night", "quality_l20", "position_l20", "flags",
)  # fmt: skip


@dataclass(slots=True)
class Minute:
    """A minute of a bin. latitude, longitude: degrees, None without a fix. per_litre: by class."""

    bin: str
    time: datetime | None
    images: int
    factor: float | None
    latitude: float | None
    longitude: float | None
    day_night: str
    l20: str
    position_l20: str
    flags: str
    per_litre: dict[str, float | None] = field(default_factory=dict)


def minutes_of(path: Path) -> Iterator[Minute]:
    """The minutes in the order of the table. Raises SettingError where it cannot be read."""
    minute: Minute | None = None
    key: tuple[str, str] | None = None
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.reader(stream)
            header = next(rows, [])
            if lacking := [name for name in _NEEDED if name not in header]:
                raise SettingError(
                    f"{path} has no column {', '.join(lacking)}: it is cut, or of an older version "
                    "of this program; classify again"
                )
            places = [header.index(name) for name in _NEEDED]
            for row in rows:
                try:
                    cells = [row[place] for place in places]
                    if (cells[0], cells[1]) != key:
                        if minute:
                            yield minute
                        minute, key = _minute(cells), (cells[0], cells[1])
                    elif minute and not minute.per_litre:
                        minute = _minute(cells)  # no_particle came first, whose codes are its own
                    if minute and cells[2] != NO_PARTICLE:
                        minute.per_litre[cells[2]] = _number(cells[3])
                except (ValueError, IndexError) as error:
                    raise SettingError(
                        f"{path}, line {rows.line_num}: {error}; write it again: "
                        "pi10 classify … --resume"
                    ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(
            f"{path} cannot be read ({error}); write it again: pi10 classify … --resume"
        ) from error
    if minute:
        yield minute


def _minute(cells: list[str]) -> Minute:
    name, when, _, _, images, factor, latitude, longitude, day_night, l20, place_l20, flags = cells
    time = datetime.strptime(when, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if when else None
    return Minute(
        name, time, int(images), _number(factor), _number(latitude), _number(longitude),
        day_night, l20, place_l20, flags,
    )  # fmt: skip


def _number(text: str) -> float | None:
    return float(text) if text else None
