"""What new lines add to the sums by ship, hour and class."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict

from pi10_classifier.abundance.density import Sums
from pi10_classifier.shore.receiver.lines import Line

TRACK_MINUTES = 10


class HourlySums:
    """What the new lines of one transaction add to the hourly sums."""

    def __init__(self) -> None:
        self._densities: dict[tuple[int, int, str], Sums] = defaultdict(Sums)
        self._unknown: Counter[tuple[int, int, str]] = Counter()
        self._images: Counter[tuple[int, int, str]] = Counter()
        self._flags: Counter[tuple[int, int, str]] = Counter()
        self._hours: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * 8)
        self._track: dict[tuple[int, int], tuple[int, float, float]] = {}

    def add(self, ship: int, line: Line) -> None:
        hour = line.minute // 60
        values = self._hours[ship, hour]
        for column, value in enumerate((1, line.failed, line.skipped)):
            values[column] += value
        values[3] = max(values[3], line.backlog)
        for label, images in line.counts.items():
            self._images[ship, hour, label] += images
        sampled = (line.sampled if line.sampled is not None else line.minute) // 60
        values = self._hours[ship, sampled]
        rest = (line.no_density, line.minutes, line.hits, line.misses)
        for column, value in enumerate(rest, 4):
            values[column] += value
        for label, sums in line.sums.items():
            self._densities[ship, sampled, label] += sums
            self._unknown[ship, sampled, label] += line.minutes if line.spread_unknown else 0
        for flag in line.flags:
            self._flags[ship, sampled, flag] += max(line.minutes, 1)
        if line.position:
            slot = ship, line.position[0] // TRACK_MINUTES
            self._track[slot] = max(line.position, self._track.get(slot, line.position))

    def write(self, db: sqlite3.Connection) -> None:
        db.executemany(
            "insert into densities values (?,?,?,?,?,?,?,?,?,?) on conflict do update set "
            "minutes = minutes + excluded.minutes, raised = raised + excluded.raised, "
            "variance = variance + excluded.variance, largest = max(largest, excluded.largest), "
            "litres = litres + excluded.litres, squares = squares + excluded.squares, "
            "unknown = unknown + excluded.unknown",
            (
                (*key, s.minutes, s.raised, s.variance, s.largest, s.litres, s.squares,
                 self._unknown[key])
                for key, s in self._densities.items()
            ),
        )  # fmt: skip
        for table, counts in (("images", self._images), ("flags", self._flags)):
            column = "images" if table == "images" else "minutes"
            db.executemany(
                f"insert into {table} values (?,?,?,?) on conflict do update set "  # noqa: S608  # nosec B608
                f"{column} = {column} + excluded.{column}",
                ((*key, count) for key, count in counts.items()),
            )
        db.executemany(
            "insert into hours values (?,?,?,?,?,?,?,?,?,?) on conflict do update set "
            "lines = lines + excluded.lines, failed = failed + excluded.failed, "
            "skipped = skipped + excluded.skipped, backlog = max(backlog, excluded.backlog), "
            "no_density = no_density + excluded.no_density, "
            "minutes = minutes + excluded.minutes, hits = hits + excluded.hits, "
            "misses = misses + excluded.misses",
            ((*key, *values) for key, values in self._hours.items()),
        )
        db.executemany(
            "insert into track values (?,?,?,?,?) on conflict do update set "
            "minute = excluded.minute, latitude = excluded.latitude, "
            "longitude = excluded.longitude where excluded.minute >= minute",
            ((*key, *fix) for key, fix in self._track.items()),
        )
