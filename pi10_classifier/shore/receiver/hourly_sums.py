"""What new lines add to the sums by ship, hour and class."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache

from pi10_classifier.abundance.density import LITRES_PER_MINUTE, Sums
from pi10_classifier.shore.receiver.database import Database
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

    def _add_zeros(self, db: Database) -> None:
        """Count the minutes of classes that complete lines do not name, as there were none.

        A class that a model's lines name for the first time was not there in the earlier ones.
        """
        for (ship, model), told in self._classes.items():
            query = "select label from classes where ship = ? and model = ?"
            known = {label for (label,) in db.execute(query, (ship, model)).fetchall()}
            new = told - known
            db.executemany(
                "insert into classes values (?, ?, ?)", [(ship, model, label) for label in new]
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
                "insert into complete values (?, ?, ?, ?) on conflict(ship, model, hour) do update "
                "set minutes = complete.minutes + excluded.minutes",
                (ship, line.model, hour, line.minutes),
            )

    def write(self, db: Database) -> None:
        self._add_zeros(db)
        db.executemany(
            _adding("densities", ("ship", "hour", "label"), (
                "minutes", "raised", "variance", "litres", "squares", "unknown",
            ), largest=("largest",)),
            (
                (*key, s.minutes, s.raised, s.variance, s.litres, s.squares, self._unknown[key],
                 s.largest)
                for key, s in self._densities.items()
            ),
        )  # fmt: skip
        for table, counts in (("images", self._images), ("flags", self._flags)):
            word, column = ("label", "images") if table == "images" else ("flag", "minutes")
            db.executemany(
                _adding(table, ("ship", "hour", word), (column,)),
                ((*key, count) for key, count in counts.items()),
            )
        db.executemany(
            _adding("hours", ("ship", "hour"), (
                "lines", "failed", "skipped", "no_density", "minutes", "hits", "misses",
            ), largest=("backlog",)),
            (
                (*key, *values[:3], *values[4:], values[3]) for key, values in self._hours.items()
            ),
        )  # fmt: skip
        db.executemany(
            "insert into track values (?,?,?,?,?) on conflict(ship, slot) do update set "
            "minute = excluded.minute, latitude = excluded.latitude, "
            "longitude = excluded.longitude where excluded.minute >= track.minute",
            ((*key, *fix) for key, fix in self._track.items()),
        )


@cache
def _adding(
    table: str, key: tuple[str, ...], sums: tuple[str, ...], largest: tuple[str, ...] = ()
) -> str:
    """The statement that adds rows to those of the same key; values: key, sums, largest."""
    columns = (*key, *sums, *largest)
    updates = [f"{name} = {table}.{name} + excluded.{name}" for name in sums]
    updates += [
        f"{name} = case when excluded.{name} > {table}.{name} then excluded.{name} "
        f"else {table}.{name} end"
        for name in largest
    ]
    places = ",".join("?" * len(columns))
    return (
        f"insert into {table}({', '.join(columns)}) values ({places}) "  # noqa: S608  # nosec B608
        f"on conflict({', '.join(key)}) do update set {', '.join(updates)}"
    )
