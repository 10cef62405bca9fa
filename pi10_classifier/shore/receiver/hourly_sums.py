"""What new lines add to the sums by ship, hour and class."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict

from pi10_classifier.abundance.density import LITRES_PER_MINUTE, Sums
from pi10_classifier.shore.receiver.lines import Line

TRACK_MINUTES = 10


def zeros(minutes: int) -> Sums:
    """The sums of minutes without an individual."""
    return Sums(minutes=minutes, litres=minutes * LITRES_PER_MINUTE)


class HourlySums:
    """What the new lines of one transaction add to the hourly sums."""

    def __init__(self) -> None:
        self._densities: dict[tuple[int, int, str], Sums] = defaultdict(Sums)
        self._unknown: Counter[tuple[int, int, str]] = Counter()
        self._images: Counter[tuple[int, int, str]] = Counter()
        self._flags: Counter[tuple[int, int, str]] = Counter()
        self._hours: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * 8)
        self._track: dict[tuple[int, int], tuple[int, float, float]] = {}
        self._complete: list[tuple[int, int, Line]] = []
        self._classes: dict[tuple[int, str], set[str]] = defaultdict(set)

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
        self._classes[ship, line.model].update(line.sums)
        if line.complete:
            self._complete.append((ship, sampled, line))
        for flag in line.flags:
            self._flags[ship, sampled, flag] += max(line.minutes, 1)
        if line.position:
            slot = ship, line.position[0] // TRACK_MINUTES
            self._track[slot] = max(line.position, self._track.get(slot, line.position))

    def _add_zeros(self, db: sqlite3.Connection) -> None:
        """Count the minutes of classes that complete lines do not name, as there were none.

        A class that a model's lines name for the first time was not there in the earlier ones.
        """
        for (ship, model), told in self._classes.items():
            query = "select label from classes where ship = ? and model = ?"
            known = {label for (label,) in db.execute(query, (ship, model))}
            new = told - known
            db.executemany(
                "insert into classes values (?, ?, ?)", ((ship, model, label) for label in new)
            )
            query = "select hour, minutes from complete where ship = ? and model = ?"
            for hour, minutes in db.execute(query, (ship, model)).fetchall() if new else ():
                for label in new:
                    self._densities[ship, hour, label] += zeros(minutes)
            self._classes[ship, model] = told | known
        for ship, hour, line in self._complete:
            for label in self._classes[ship, line.model] - line.sums.keys():
                self._densities[ship, hour, label] += zeros(line.minutes)
            db.execute(
                "insert into complete values (?, ?, ?, ?) on conflict do update set "
                "minutes = minutes + excluded.minutes",
                (ship, line.model, hour, line.minutes),
            )

    def write(self, db: sqlite3.Connection) -> None:
        self._add_zeros(db)
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
