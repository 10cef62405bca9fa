"""Where and when each minute and bin was sampled: position, sun, and their quality.

Of each minute the first and the last fix of its images are known. A minute lies midway between
them, a bin midway between its first and its last fix.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from pi10_classifier.abundance.quality import GOOD, MISSING, Codes
from pi10_classifier.instrument.names import Bin

Moment = tuple[str, float, float]
"""ISO 8601 time, latitude, longitude in degrees."""

Fixes = tuple[Moment, Moment]
"""The first and the last fix of a minute or bin."""

Place = tuple[str, datetime | None]


class Where(NamedTuple):
    """Columns of ``counts.csv`` and ``bins.csv``; degrees; None where there is no fix.

    latitude, longitude: midway between the first and the last fix. first_…: the first fix.
    sun_elevation: degrees above the horizon, in the middle of the time. position_…: codes of
    the position alone.
    """

    latitude: float | None = None
    longitude: float | None = None
    first_latitude: float | None = None
    first_longitude: float | None = None
    sun_elevation: float | None = None
    day_night: str = ""
    position_l20: str = MISSING.l20
    position_qartod: int = MISSING.qartod


@dataclass(frozen=True, slots=True)
class Sampled:
    """Where a place lies, and what is to be said against it."""

    where: Where = field(default_factory=Where)
    flags: tuple[str, ...] = ()


NOWHERE = Sampled()


def merge(one: Fixes | None, other: Fixes) -> Fixes:
    """The first and the last fix of both; of fixes in one second the same in any order."""
    if one is None:
        return other
    return min(one[0], other[0]), max(one[1], other[1])


def by_minute(places: Iterable[Place], fixes: Mapping[Place, Fixes]) -> dict[Place, Sampled]:
    """Where each minute was sampled. ``places``: those whose time can be trusted."""
    tracks: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for bin_id, minute in places:
        named = Bin.parse(bin_id)
        if named and minute:
            tracks[named.instrument].append((minute, bin_id))
    if not fixes:  # what follows takes a coastline and an almanac
        nowhere = Sampled(flags=("no_position",))
        return {(b, m): nowhere for track in tracks.values() for m, b in track}
    from pi10_classifier.abundance.position import Fix, position_flags

    found: dict[Place, Sampled] = {}
    for track in tracks.values():
        track.sort()
        known = [fixes.get((bin_id, minute)) for minute, bin_id in track]
        told = [
            Fix(minute, its[0][1:] if its else None, its[1][1:] if its else None)
            for (minute, _), its in zip(track, known, strict=True)
        ]
        every = position_flags(told)
        for (minute, bin_id), its, flags in zip(track, known, every, strict=True):
            middle = minute + timedelta(seconds=30)
            found[bin_id, minute] = Sampled(_where(its, middle, flags), flags)
    return found


def of_minutes(minutes: Iterable[tuple[datetime | None, Where]]) -> Where:
    """Where a bin was sampled, from its minutes in order.

    Its position is as good as the worst of theirs.
    """
    known = [(minute, where) for minute, where in minutes if minute and where.latitude is not None]
    if not known:
        return Where()
    from pi10_classifier.abundance.position import day_or_night, midpoint, sun_elevation

    (start, first), (end, last) = known[0], known[-1]
    begin = (first.first_latitude or 0.0, first.first_longitude or 0.0)
    # the last fix lies as far beyond the middle of its minute as the first lies before it
    finish = (
        2 * (last.latitude or 0.0) - (last.first_latitude or 0.0),
        2 * (last.longitude or 0.0) - (last.first_longitude or 0.0),
    )
    latitude, longitude = midpoint(begin, finish)
    middle = start + (end + timedelta(minutes=1) - start) / 2
    elevation = sun_elevation(middle, latitude, longitude)
    codes = max(Codes(where.position_l20, where.position_qartod) for _, where in known)
    return Where(latitude, longitude, *begin, elevation, day_or_night(elevation), *codes)


def _where(fixes: Fixes | None, middle: datetime, flags: Iterable[str]) -> Where:
    if fixes is None:
        return Where()
    from pi10_classifier.abundance.position import (
        POSITION_CODES,
        day_or_night,
        midpoint,
        sun_elevation,
    )

    first, last = fixes[0][1:], fixes[1][1:]
    latitude, longitude = midpoint(first, last)
    elevation = sun_elevation(middle, latitude, longitude)
    codes = max((GOOD, *(Codes(*POSITION_CODES[name]) for name in flags if name != "no_position")))
    return Where(latitude, longitude, *first, elevation, day_or_night(elevation), *codes)
