"""Where a ship was, minute by minute: jumps, land, port, and the height of the sun.

Positions are degrees of latitude and longitude (WGS 84), as the instrument notes them: whole
degrees and decimal minutes. Codes of the flags: SeaDataNet L20 and QARTOD, as in ``quality``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

Position = tuple[float, float]

EARTH_RADIUS_M = 6_371_000.0
FASTEST_KNOTS = 30.0  # no ship that samples plankton goes faster
ROUNDING_M = 200.0  # two fixes may each be a tenth of a minute of arc off
KNOT = 1852 / 3600  # m/s
LONGEST_REPEATED = timedelta(minutes=10)  # that one position may stand for, as in a bin
STILL_M = 50.0
STILL_TIME = timedelta(minutes=30)
HORIZON = -0.833  # degrees: refraction and the sun's radius, as almanacs have it
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
    """A minute (UTC) of one instrument, with its first and last position, None without any."""

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
    """Midway on the great circle, also across the antimeridian; of opposite points the first."""
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
    """Degrees of the sun's centre above the horizon, without refraction; ``when`` has a zone."""
    from astral import Observer
    from astral.sun import elevation

    return elevation(Observer(latitude, longitude), when, with_refraction=False)


def day_or_night(elevation: float) -> str:
    """``day`` while the sun is up, ``twilight`` (civil) down to 6 degrees below, else ``night``."""
    if elevation > HORIZON:
        return "day"
    return "twilight" if elevation > CIVIL_TWILIGHT else "night"


def position_flags(track: Sequence[Fix]) -> list[tuple[str, ...]]:
    """Flags of each minute of one instrument, in order of time."""
    flags: list[set[str]] = [set() if fix.first else {"no_position"} for fix in track]
    known = [i for i, fix in enumerate(track) if fix.first]
    if not known:
        return [tuple(sorted(one)) for one in flags]
    from pi10_classifier.abundance.coastline import is_inland, is_near_land

    places = [track[i].first or (0.0, 0.0) for i in known]
    for i, inland in zip(known, is_inland(places), strict=True):
        if inland:
            flags[i].add("on_land")
    for i in _jumps(track, known):
        flags[i].add("position_jump")
    still = _still(track, known)
    near = is_near_land([track[i].first or (0.0, 0.0) for i in still])
    for i, close in zip(still, near, strict=True):
        if close:
            flags[i].add("stands_still")
    return [tuple(name for name in POSITION_FLAGS if name in one) for one in flags]


def _jumps(track: Sequence[Fix], known: Sequence[int]) -> list[int]:
    """Minutes that no ship could have reached from the last trusted one.

    A lone spike is a jump and the minutes after it are not. Where the minutes after a jump agree
    with it, the ship is taken to be there: then the first of them alone is flagged.
    """
    jumps: list[int] = []
    trusted: int | None = None
    since = track[known[0]].minute  # since when the trusted position is the same
    for place, i in enumerate(known):
        within = track[i].first != track[i].last and not _reachable(track[i], track[i], inside=True)
        last = track[trusted] if trusted is not None else None
        if last is None or (_reachable(last, track[i], since) and not within):
            if last is None or track[i].last != last.last:
                since = track[i].minute
            trusted = i
            continue
        jumps.append(i)
        following = known[place + 1] if place + 1 < len(known) else None
        if (
            following is not None
            and _reachable(track[i], track[following])
            and last is not None
            and not _reachable(last, track[following], since)
        ):
            trusted, since = i, track[i].minute
    return jumps


def _reachable(
    one: Fix, other: Fix, since: datetime | None = None, *, inside: bool = False
) -> bool:
    """since: when ``one`` was first told; a position that is repeated may be that old."""
    here, there = (one.first, one.last) if inside else (one.last, other.first)
    if here is None or there is None:
        return True
    begun = max(since or one.minute, one.minute - LONGEST_REPEATED)
    # a fix lies anywhere in its minute
    elapsed = abs((other.minute - begun).total_seconds()) + 60
    return distance_m(here, there) <= FASTEST_KNOTS * KNOT * elapsed + ROUNDING_M


def _still(track: Sequence[Fix], known: Sequence[int]) -> list[int]:
    """Minutes of stretches of half an hour or more within 50 m of where they began."""
    still: list[int] = []
    run: list[int] = []

    def close() -> None:
        if run and track[run[-1]].minute - track[run[0]].minute >= STILL_TIME:
            still.extend(run)

    for i in known:
        begun = track[run[0]].first if run else None
        here = track[i].last
        if begun and here and distance_m(begun, here) <= STILL_M:
            run.append(i)
        else:
            close()
            run = [i]
    close()
    return still
