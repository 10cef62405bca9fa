"""Where and when each minute and bin was sampled: position, sun, and their quality.

The images of a minute give its first and its last fix. The position of a minute is the middle
between the two, and that of a bin the middle between its first and its last fix.
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
"""Bin id and minute in UTC; None where the minute is unknown."""


class Where(NamedTuple):
    """The position, as columns of ``counts.csv`` and ``bins.csv``; None where there is no fix.

    latitude, longitude: degrees, midway between the first and the last fix. first_…: the first
    fix. sun_elevation: degrees above the horizon, in the middle of the minute or bin.
    position_…: quality codes of the position alone.
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
    """Where a minute was sampled, and the flags of its position."""

    where: Where = field(default_factory=Where)
    flags: tuple[str, ...] = ()


NOWHERE = Sampled()


def merge(fixes: Fixes | None, other: Fixes) -> Fixes:
    """The first and the last fix of both; the result does not depend on their order."""
    if fixes is None:
        return other
    return min(fixes[0], other[0]), max(fixes[1], other[1])


def by_minute(places: Iterable[Place], fixes: Mapping[Place, Fixes]) -> dict[Place, Sampled]:
    """Where each minute was sampled. places: the minutes whose time can be trusted."""
    tracks: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for bin_id, minute in places:
        named = Bin.parse(bin_id)
        if named and minute:
            tracks[named.instrument].append((minute, bin_id))
    if not fixes:  # saves loading the coastline and the almanac
        nowhere = Sampled(flags=("no_position",))
        return {(b, m): nowhere for track in tracks.values() for m, b in track}
    from pi10_classifier.abundance.position import Fix, position_flags

    sampled: dict[Place, Sampled] = {}
    for track in tracks.values():
        track.sort()
        recorded = [fixes.get((bin_id, minute)) for minute, bin_id in track]
        positions = [
            Fix(minute, pair[0][1:] if pair else None, pair[1][1:] if pair else None)
            for (minute, _), pair in zip(track, recorded, strict=True)
        ]
        all_flags = position_flags(positions)
        for (minute, bin_id), pair, flags in zip(track, recorded, all_flags, strict=True):
            middle = minute + timedelta(seconds=30)
            sampled[bin_id, minute] = Sampled(_where(pair, middle, flags), flags)
    return sampled


def of_minutes(minutes: Iterable[tuple[datetime | None, Where]]) -> Where:
    """Where a bin was sampled, from its minutes in order of time.

    The codes of its position are the worst of its minutes'.
    """
    with_fix = [
        (minute, where) for minute, where in minutes if minute and where.latitude is not None
    ]
    if not with_fix:
        return Where()
    from pi10_classifier.abundance.position import day_or_night, midpoint, sun_elevation

    (start, first), (end, last) = with_fix[0], with_fix[-1]
    begin = (first.first_latitude or 0.0, first.first_longitude or 0.0)
    # the last fix lies as far beyond the middle of its minute as the first lies before it
    finish = (
        2 * (last.latitude or 0.0) - (last.first_latitude or 0.0),
        2 * (last.longitude or 0.0) - (last.first_longitude or 0.0),
    )
    latitude, longitude = midpoint(begin, finish)
    middle = start + (end + timedelta(minutes=1) - start) / 2
    elevation = sun_elevation(middle, latitude, longitude)
    codes = max(Codes(where.position_l20, where.position_qartod) for _, where in with_fix)
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
