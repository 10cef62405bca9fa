"""The minutes of one instrument along the ship's track, and those that cannot lie on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pi10_classifier.abundance.position import Position
from pi10_classifier.errors import SettingError
from pi10_classifier.export.run_tables import Minute, RunTables
from pi10_classifier.instrument.names import Bin


@dataclass(frozen=True, slots=True)
class Point:
    """A minute that has a time and a position."""

    start: datetime
    position: Position
    minute: Minute


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A minute that is not published, and why; start: None unknown."""

    bin: str
    start: datetime | None
    reason: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """points: in order of time, one a minute; times are UTC."""

    instrument: str
    points: tuple[Point, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def reasons(self) -> Counter[str]:
        return Counter(entry.reason for entry in self.left_out)


def track_of(run: RunTables, instrument: str = "") -> Track:
    """The track of an instrument, of the only one where none is named.

    Minutes without a density stay: their flags say why. Raises SettingError where there are
    several instruments to choose from, and where no minute is left.
    """
    instrument = _chosen(run, instrument)
    points: dict[datetime, Point] = {}
    left_out: list[LeftOut] = []
    for minute in _of_instrument(run, instrument):
        reason = _objection(minute, instrument)
        if not reason and minute.time in points:
            reason = "in an earlier bin too, which is kept"
        if reason:
            left_out.append(LeftOut(minute.bin, minute.time, reason, minute.flags))
        elif minute.time and minute.position:
            points[minute.time] = Point(minute.time, minute.position, minute)
    if not points:
        reasons = Counter(entry.reason for entry in left_out)
        told = "; ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
        raise SettingError(
            f"{run.path} has no minute to publish: {told or 'there are none'}. "
            "What the flags mean: docs/results.md"
        )
    ordered = tuple(points[start] for start in sorted(points))
    return Track(instrument, ordered, tuple(left_out))


def _chosen(run: RunTables, instrument: str) -> str:
    bins = [named for name in run.bins if (named := Bin.parse(name))]
    known = sorted({named.instrument for named in bins} - {""})
    if not bins:
        raise SettingError(
            f"{run.path} has no bin of an instrument: the images' names tell none, and so no time; "
            "name images as the Pi-10 does: pia7.2024-06-24.1450+N00000001.tif"
        )
    if instrument and instrument not in known:
        raise SettingError(
            f"--instrument is {instrument!r}; the run has {', '.join(known) or 'none'}"
        )
    if not instrument and len(known) > 1:
        raise SettingError(
            f"the run has bins of {', '.join(known)}, and a trajectory is of one instrument; write "
            f"a file for each: --instrument {known[0]}"
        )
    return instrument or "".join(known[:1])


def _of_instrument(run: RunTables, instrument: str) -> Iterator[Minute]:
    """Its minutes, and those of no instrument, for which no other file is meant."""
    for name, total in run.bins.items():
        named = Bin.parse(name)
        if named is None or named.instrument in ("", instrument):
            yield from total.minutes


def _objection(minute: Minute, instrument: str) -> str:
    named = Bin.parse(minute.bin)
    if named is None:
        return "of no bin: the images' names tell none"
    if named.instrument != instrument:
        return "of a bin whose instrument is not known"
    if minute.time is None:
        return "without a time"
    if "clock_outside_bin" in minute.flags:
        return "with a clock outside the bin, so that its time is not known"
    if minute.position is None:
        return "without a position"
    return ""
