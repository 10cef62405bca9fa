"""Sampling events of a run: the cruise, and the bins fit to be published."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from pi10_classifier.abundance.position import ROUNDING_M, Position, distance_m
from pi10_classifier.abundance.quality import BAD, MISSING
from pi10_classifier.errors import SettingError
from pi10_classifier.export.run_tables import BinTotal, Minute, RunTables

CRUISE, SAMPLE = "cruise", "sample"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A bin that is not published, and why."""

    bin: str
    reason: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A stretch of water. Times are UTC; start and end hold the minutes that have a density.

    id: unique in the dataset. key: the bin's name, "" of the cruise. images: classified in these
    minutes, at most as many as the hits; passed: particles that the instrument counted in them.
    track: LINESTRING of longitude and latitude, "" without one.
    """

    id: str
    parent: str
    kind: str
    key: str
    start: datetime
    end: datetime
    litres: float
    images: int
    passed: int
    position: Position
    uncertainty_m: float
    track: str = ""
    remarks: str = ""

    @property
    def sampled_share(self) -> float:
        """Share of the particles that was imaged and classified."""
        return self.images / self.passed


def choose(run: RunTables) -> tuple[list[BinTotal], list[LeftOut]]:
    """The bins to publish and those left out. Raises SettingError where none is to be published."""
    chosen, left_out = [], []
    for total in run.bins.values():
        reason = _objection(total)
        if reason:
            left_out.append(LeftOut(total.bin, reason, total.flags))
        else:
            chosen.append(total)
    if not chosen:
        reasons = Counter(entry.reason for entry in left_out)
        told = "; ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
        raise SettingError(
            f"{run.path} has no bin to publish: {told or 'there are no bins'}. "
            "What the flags mean: docs/results.md"
        )
    return chosen, left_out


def _objection(total: BinTotal) -> str:
    amounts = total.amounts.values()
    if not total.bin:
        return "of no bin: the images' names tell none"
    if total.position is None:
        return "without a position"
    if total.position_l20 == BAD.l20:
        return "with a position on land or beyond the ship's reach"
    if total.l20 == MISSING.l20 or not total.litres or any(a.per_litre is None for a in amounts):
        return "without a density"
    if total.l20 == BAD.l20:
        return "with flags that mean bad quality"
    if not _sampled(total.minutes):
        return "without a minute in counts.csv that has a density and a time"
    return ""


def events_of(bins: Sequence[BinTotal], cruise: str) -> list[Event]:
    """The cruise, then its bins."""
    samples = [_of_bin(total, f"{cruise}:{total.bin}", cruise) for total in bins]
    return [_of_several(samples, cruise), *samples]


def _sampled(minutes: Iterable[Minute]) -> list[Minute]:
    """Minutes that have a density, and so a time."""
    return [minute for minute in minutes if minute.litres is not None and minute.time is not None]


def _of_bin(total: BinTotal, event_id: str, parent: str) -> Event:
    sampled = _sampled(total.minutes)
    times = [minute.time for minute in sampled if minute.time is not None]
    points = _points(sampled)
    length = sum(distance_m(a, b) for a, b in pairwise(points))
    remarks = f"SeaDataNet L20 quality code {total.l20}"
    if total.flags:
        remarks += f"; flags: {', '.join(total.flags)}"
    return Event(
        id=event_id,
        parent=parent,
        kind=SAMPLE,
        key=total.bin,
        start=min(times),
        end=max(times) + timedelta(minutes=1),
        litres=total.litres or 0.0,
        # images beyond the hits are copies
        images=sum(min(minute.images, minute.hits or 0) for minute in sampled),
        passed=sum((minute.hits or 0) + (minute.misses or 0) for minute in sampled),
        position=total.position or (0.0, 0.0),
        uncertainty_m=max(length / 2, ROUNDING_M),
        track=_wkt(points),
        remarks=remarks,
    )


def _of_several(members: Sequence[Event], event_id: str) -> Event:
    middle = _centre([member.position for member in members])
    reach = max(distance_m(middle, m.position) + m.uncertainty_m for m in members)
    return Event(
        id=event_id,
        parent="",
        kind=CRUISE,
        key="",
        start=min(member.start for member in members),
        end=max(member.end for member in members),
        litres=sum(member.litres for member in members),
        images=sum(member.images for member in members),
        passed=sum(member.passed for member in members),
        position=middle,
        uncertainty_m=reach,
        remarks=f"{len(members)} bins; the position is their middle",
    )


def _centre(places: Sequence[Position]) -> Position:
    """The middle of positions on the sphere; the first where they cancel out."""
    vector = [0.0, 0.0, 0.0]
    for north, east in places:
        across, up = math.radians(east), math.radians(north)
        vector[0] += math.cos(up) * math.cos(across)
        vector[1] += math.cos(up) * math.sin(across)
        vector[2] += math.sin(up)
    x, y, z = vector
    if math.hypot(x, y, z) < 1e-9 * len(places):
        return places[0]
    return math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))


def _points(minutes: Iterable[Minute]) -> list[Position]:
    """The track: of each minute its first fix and its last."""
    points: list[Position] = []
    for minute in minutes:
        if minute.position is None or minute.first is None:
            continue
        # the last fix lies as far beyond the middle as the first lies before it
        last = (
            2 * minute.position[0] - minute.first[0],
            _east(2 * minute.position[1] - minute.first[1]),
        )
        if abs(minute.position[1] - minute.first[1]) > 180:  # across the antimeridian
            last = minute.position
        points += [point for point in (minute.first, last) if not points or point != points[-1]]
    return points


def _east(longitude: float) -> float:
    return (longitude + 180) % 360 - 180 if not -180 <= longitude <= 180 else longitude


def _wkt(points: Sequence[Position]) -> str:
    """A LINESTRING; none of a ship at rest, nor across the antimeridian, where it would lie."""
    texts = [f"{east:.5f} {north:.5f}" for north, east in points]
    texts = [text for place, text in enumerate(texts) if not place or text != texts[place - 1]]
    across = any(abs(a[1] - b[1]) > 180 for a, b in pairwise(points))
    return "" if across or len(texts) < 2 else f"LINESTRING ({', '.join(texts)})"
