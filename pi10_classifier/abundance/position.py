"""Checks a ship's position minute by minute (jumps, land, port), and computes the sun's height.

Positions are latitude and longitude in degrees (WGS 84). The instrument records whole degrees and
decimal minutes. Codes of the flags: SeaDataNet L20 and QARTOD, as in ``quality``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

Position = tuple[float, float]

EARTH_RADIUS_M = 6_371_000.0
FASTEST_KNOTS = 30.0  # no ship that samples plankton goes faster
ROUNDING_M = 200.0  # each of two fixes may be off by a tenth of a minute of arc
KNOT = 1852 / 3600  # m/s
LONGEST_REPEATED = timedelta(minutes=10)  # one position may be repeated for a whole bin
STILL_M = 50.0
STILL_TIME = timedelta(minutes=30)
HORIZON = -0.833  # degrees: refraction and the sun's radius, the usual value in almanacs
CIVIL_TWILIGHT = -6.0

POSITION_FLAGS: Mapping[str, str] = {
    "no_position": "no image of the minute carries a position",
    "position_jump": f"the ship would have sailed faster than {FASTEST_KNOTS:g} knots",
    "on_land": "the position lies more than about 5 km inland",
    "stands_still": "the ship moved less than 50 m in half an hour and lies near a coast: in port?",
}
POSITION_CODES: Mapping[str, tuple[str, int]] = {
    "no_position": ("9", 9),
    "position_jump": ("4", 4),
    "on_land": ("4", 4),
    "stands_still": ("3", 3),
}


@dataclass(frozen=True, slots=True)
class Fix:
    """A minute (UTC) of one instrument, with its first and last position; None if unknown."""

    minute: datetime
    first: Position | None
    last: Position | None


def distance_m(a: Position, b: Position) -> float:
    """Length of the great circle between two positions, in metres (haversine formula)."""
    north_a, north_b = math.radians(a[0]), math.radians(b[0])
    across = math.radians(b[1] - a[1])
    half = (
        math.sin((north_b - north_a) / 2) ** 2
        + math.cos(north_a) * math.cos(north_b) * math.sin(across / 2) ** 2
    )
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(half)))


def midpoint(a: Position, b: Position) -> Position:
    """The middle of the great circle, also across the antimeridian; ``a`` for opposite points."""
    if a == b:
        return a
    x, y, z = (p + q for p, q in zip(_vector(a), _vector(b), strict=True))
    if math.hypot(x, y, z) < 1e-9:
        return a
    return math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))


def _vector(position: Position) -> tuple[float, float, float]:
    north, east = math.radians(position[0]), math.radians(position[1])
    return math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)


def sun_elevation(when: datetime, latitude: float, longitude: float) -> float:
    """Height of the sun's centre above the horizon, degrees, without refraction.

    when: with a time zone. latitude, longitude: degrees.
    """
    from astral import Observer
    from astral.sun import elevation

    return elevation(Observer(latitude, longitude), when, with_refraction=False)


def day_or_night(elevation: float) -> str:
    """``day`` while the sun is up, ``twilight`` to 6 degrees below the horizon, then ``night``."""
    if elevation > HORIZON:
        return "day"
    return "twilight" if elevation > CIVIL_TWILIGHT else "night"


def position_flags(track: Sequence[Fix]) -> list[tuple[str, ...]]:
    """Flags of each minute of one instrument, in order of time."""
    flags: list[set[str]] = [set() if fix.first else {"no_position"} for fix in track]
    with_fix = [i for i, fix in enumerate(track) if fix.first]
    if not with_fix:
        return [tuple(sorted(names)) for names in flags]
    from pi10_classifier.abundance.coastline import is_inland, is_near_land

    places = [track[i].first or (0.0, 0.0) for i in with_fix]
    for i, inland in zip(with_fix, is_inland(places), strict=True):
        if inland:
            flags[i].add("on_land")
    for i in _jumps(track, with_fix):
        flags[i].add("position_jump")
    still = _still(track, with_fix)
    near = is_near_land([track[i].first or (0.0, 0.0) for i in still])
    for i, close in zip(still, near, strict=True):
        if close:
            flags[i].add("stands_still")
    return [tuple(name for name in POSITION_FLAGS if name in names) for names in flags]


def _jumps(track: Sequence[Fix], with_fix: Sequence[int]) -> list[int]:
    """Indices of minutes that no ship could have reached from the last trusted minute.

    with_fix: indices of the minutes with a position. A single outlier is flagged, the minutes
    after it are not. Where the next minute agrees with a jump, the ship is assumed to be there,
    and only the jump itself is flagged.
    """
    jumps: list[int] = []
    trusted: int | None = None
    since = track[with_fix[0]].minute  # the trusted position has not changed since
    for place, i in enumerate(with_fix):
        within = track[i].first != track[i].last and not _reachable(track[i], track[i], inside=True)
        last = track[trusted] if trusted is not None else None
        if last is None or (_reachable(last, track[i], since) and not within):
            if last is None or track[i].last != last.last:
                since = track[i].minute
            trusted = i
            continue
        jumps.append(i)
        following = with_fix[place + 1] if place + 1 < len(with_fix) else None
        if (
            following is not None
            and _reachable(track[i], track[following])
            and last is not None
            and not _reachable(last, track[following], since)
        ):
            trusted, since = i, track[i].minute
    return jumps


def _reachable(
    start: Fix, end: Fix, since: datetime | None = None, *, inside: bool = False
) -> bool:
    """True where a ship could sail from ``start`` to ``end``.

    since: when the instrument first recorded the position of ``start``; a repeated position may
    be that old. inside: compare the first and the last position of ``start`` instead.
    """
    here, there = (start.first, start.last) if inside else (start.last, end.first)
    if here is None or there is None:
        return True
    departed = max(since or start.minute, start.minute - LONGEST_REPEATED)
    # a fix lies anywhere in its minute
    elapsed = abs((end.minute - departed).total_seconds()) + 60
    return distance_m(here, there) <= FASTEST_KNOTS * KNOT * elapsed + ROUNDING_M


def _still(track: Sequence[Fix], with_fix: Sequence[int]) -> list[int]:
    """Indices of minutes in stretches of half an hour or more within 50 m of their start."""
    still: list[int] = []
    stretch: list[int] = []

    def end_stretch() -> None:
        if stretch and track[stretch[-1]].minute - track[stretch[0]].minute >= STILL_TIME:
            still.extend(stretch)

    for i in with_fix:
        start = track[stretch[0]].first if stretch else None
        here = track[i].last
        if start and here and distance_m(start, here) <= STILL_M:
            stretch.append(i)
        else:
            end_stretch()
            stretch = [i]
    end_stretch()
    return still
