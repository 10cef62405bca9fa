"""What the page asks for: states, series, maps and days as plain values for JSON."""

from __future__ import annotations

import bisect
import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pi10_classifier.abundance.density import Density
from pi10_classifier.abundance.quality import FLAGS
from pi10_classifier.model.package import graph_beginning
from pi10_classifier.shore.receiver.lines import minute_text
from pi10_classifier.shore.voyages.runs import FinishedRun
from pi10_classifier.shore.voyages.series import STEPS, Fix, Stretch, Voyage, densities_of, pooled
from pi10_classifier.shore.voyages.ships import DAY, Reader, ShipLines
from pi10_classifier.shore.webpage.alerts import alerts_of

LONGEST = 400 * DAY
_MOST_FIXES = 2000
_GAPS_WITHIN = 62 * DAY  # longer times show no gaps, as every line must be looked at
_FINEST, _FINE = 36 * 60, 62 * DAY  # up to these, steps of a minute and of an hour
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class RequestError(ValueError):
    """A request that cannot be answered; the text says why."""


class Views:
    """All voyages that are shown: ships that send, and finished runs."""

    def __init__(self, reader: Reader | None, runs: Sequence[FinishedRun]) -> None:
        self._reader = reader
        self._runs = runs

    def voyages(self) -> list[Voyage]:
        ships: list[Voyage] = list(self._reader.ships()) if self._reader else []
        names = {ship.name for ship in ships}
        return [*ships, *(run for run in self._runs if run.name not in names)]

    def voyage(self, name: str) -> Voyage:
        """Raises RequestError for a name that is not known."""
        for voyage in self.voyages():
            if voyage.name == name:
                return voyage
        raise RequestError(f"there is no ship or run named {name[:80]!r}")

    def overview(self) -> dict[str, Any]:
        """Every voyage with its time, and how each ship does."""
        now = int(time.time()) // 60
        entries = []
        for voyage in self.voyages():
            extent = voyage.extent()
            entry: dict[str, Any] = {
                "name": voyage.name,
                "from": minute_text(extent[0]) if extent else None,
                "to": minute_text(extent[1]) if extent else None,
            }
            if isinstance(voyage, ShipLines):
                entry |= _ship(voyage, now)
            elif isinstance(voyage, FinishedRun):
                entry |= {
                    "kind": "results", "model": voyage.model,
                    "model_version": voyage.version, "precision": voyage.precision,
                    "images_without_time": voyage.without_time,
                }  # fmt: skip
            entries.append(entry)
        return {"now": minute_text(now), "voyages": entries}

    def pictures(self, name: str) -> list[dict[str, Any]]:
        """A ship's newest pictures; none of a finished run. Raises RequestError."""
        voyage = self.voyage(name)
        pictures = voyage.pictures() if isinstance(voyage, ShipLines) else []
        return [p | {"received": minute_text(p["received"])} for p in pictures]

    def picture(self, number: str) -> bytes | None:
        """The JPEG of a picture by its number."""
        known = self._reader and number.isascii() and number.isdecimal() and len(number) < 16
        return self._reader.picture(int(number)) if self._reader and known else None

    def series(self, name: str, start: str, end: str, step: str) -> dict[str, Any]:
        """A voyage from ``start`` to ``end`` (dates or minutes, UTC); end itself is left out.

        Raises RequestError.
        """
        voyage = self.voyage(name)
        since, until = _time(start), _time(end)
        if not 0 < until - since <= LONGEST:
            raise RequestError(f"the time must be up to {LONGEST // DAY} days, and not end first")
        if step and step not in STEPS:
            raise RequestError(f"step is {step[:20]!r}; it must be one of {', '.join(STEPS)}")
        length = until - since
        if not step:
            step = "minute" if length <= _FINEST else "hour" if length <= _FINE else "day"
        minutes = STEPS[step]
        if length > 7 * _FINEST and step == "minute":
            raise RequestError("a step of a minute is for up to ten days")
        stretches = pooled(voyage.stretches(since, until, minutes), minutes)
        track = voyage.track(since, until, fine=minutes == 1)
        whole = Stretch(since)
        for stretch in stretches:
            whole.add(stretch)
        return {
            "name": voyage.name, "from": minute_text(since), "to": minute_text(until),
            "step": step, "step_minutes": minutes,
            "time": [minute_text(stretch.start) for stretch in stretches],
            "classes": _classes(stretches),
            "overall": {label: _density(d) for label, d in whole.densities().items()},
            "images": dict(whole.images),
            **{
                name: [getattr(stretch, name) for stretch in stretches]
                for name in ("hits", "misses", "failed", "lines", "minutes", "no_density")
            },
            "flags": _flags(stretches, whole.flags),
            "position": [_nearest(track, s.start + minutes // 2, minutes) for s in stretches],
            "track": _track(track),
            "gaps": [
                {"from": minute_text(gap.start), "to": minute_text(gap.end),
                 "minutes": gap.end - gap.start, "missing": gap.missing}
                for gap in voyage.gaps(since, until)
            ] if length <= _GAPS_WITHIN else None,
        }  # fmt: skip

    def spectrum(self, name: str) -> tuple[list[dict[str, Any]], str]:
        """The size spectrum of a finished run, or why there is none. Raises RequestError."""
        voyage = self.voyage(name)
        if not isinstance(voyage, FinishedRun):
            return [], "the lines of a ship hold no sizes; pi10 sizes gives them of her results"
        rows = voyage.spectrum()
        why = "no particle of the run has a size in its table"
        if not voyage.has_sizes:
            why = "pi10 sizes was not run on the results; it makes size_spectrum.csv in them"
        return rows, "" if rows else why

    def day(self, date: str) -> dict[str, Any]:
        """All voyages on a day (UTC). Raises RequestError."""
        if not _DATE.fullmatch(date):
            raise RequestError(f"{date[:20]!r} is no date such as 2026-11-27")
        since = _time(date)
        ships = []
        for voyage in self.voyages():
            hours = voyage.stretches(since, since + DAY, 60)
            if not hours:
                continue
            whole = Stretch(since)
            for stretch in hours:
                whole.add(stretch)
            good = voyage.without_bad(since, since + DAY)
            track = voyage.track(since, since + DAY)
            gaps = voyage.gaps(since, since + DAY)
            ships.append({
                "name": voyage.name, "minutes": whole.minutes, "lines": whole.lines,
                "minutes_without_density": whole.no_density, "hits": whole.hits,
                "misses": whole.misses, "failed": whole.failed, "images": dict(whole.images),
                "densities": {label: _density(d) for label, d in whole.densities().items()},
                "bad_minutes": whole.minutes - good.minutes,
                "without_bad": {label: _density(d) for label, d in good.densities().items()},
                "flags": dict(whole.flags.most_common()),
                "first_position": list(track[0][1:]) if track else None,
                "last_position": list(track[-1][1:]) if track else None,
                "gaps": len(gaps), "gap_minutes": sum(gap.end - gap.start for gap in gaps),
            })  # fmt: skip
        return {"date": date, "voyages": ships}


def _ship(ship: ShipLines, now: int) -> dict[str, Any]:
    state = ship.state()
    graph = graph_beginning(state.model)
    known = (
        {"model_name": graph.name, "model_version": graph.version, "precision": graph.precision}
        if graph
        else {}
    )
    return {
        "kind": "ship", **known,
        "received": None if state.received is None else minute_text(state.received),
        "silent_minutes": None if state.received is None else max(0, now - state.received),
        "minute": None if state.minute is None else minute_text(state.minute),
        "model": state.model, "backlog": state.backlog, "more": state.more,
        "backlog_hours": state.backlog_hours, "images_per_minute": state.images_per_minute,
        "trouble": state.trouble, "dropped": state.dropped, "missing": state.missing,
        "failed_share": state.failed_share, "refused": state.refused,
        "position": list(state.position[1:]) if state.position else None,
        "alerts": [
            {"level": alert.level, "code": alert.code, "text": alert.text}
            for alert in alerts_of(state, now)
        ],
    }  # fmt: skip


def _classes(stretches: Sequence[Stretch]) -> dict[str, dict[str, list[float | None]]]:
    every = densities_of(stretches)
    names = sorted({label for row in every for label in row})
    columns = ("per_litre", "low", "high", "water_mass_low", "water_mass_high")
    return {
        label: {
            column: [_short(getattr(row[label], column)) if label in row else None for row in every]
            for column in columns
        }
        | {"images": [stretch.images[label] for stretch in stretches]}
        for label in names
    }


def _density(density: Density) -> dict[str, float | int | None]:
    return {
        "minutes": density.minutes, "litres": density.litres,
        "raised_count": _short(density.raised_count), "per_litre": _short(density.per_litre),
        "low": _short(density.low), "high": _short(density.high),
        "water_mass_low": _short(density.water_mass_low),
        "water_mass_high": _short(density.water_mass_high),
    }  # fmt: skip


def _flags(stretches: Sequence[Stretch], whole: Counter[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": flag, "meaning": FLAGS[flag].meaning if flag in FLAGS else "",
            "qartod": FLAGS[flag].codes.qartod if flag in FLAGS else None,
            "minutes": minutes, "series": [stretch.flags[flag] for stretch in stretches],
        }
        for flag, minutes in whole.most_common()
    ]  # fmt: skip


def _nearest(track: Sequence[Fix], minute: int, within: int) -> tuple[float, float] | None:
    """The fix nearest in time; None where none is near enough."""
    at = bisect.bisect_left(track, (minute, -999.0, -999.0))
    near = min(track[max(0, at - 1) : at + 1], key=lambda f: abs(f[0] - minute), default=None)
    return near[1:] if near and abs(near[0] - minute) <= max(within, 10) else None


def _track(track: Sequence[Fix]) -> dict[str, list[Any]]:
    # the last fix is always shown
    every = max(1, -(-len(track) // _MOST_FIXES))
    kept = [*track[:-1:every], *track[-1:]]
    return {
        "time": [minute_text(fix[0]) for fix in kept],
        "latitude": [fix[1] for fix in kept],
        "longitude": [fix[2] for fix in kept],
    }


def _short(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):  # JSON has no NaN
        return None
    return float(f"{value:.6g}")


def _time(text: str) -> int:
    """A date, or a date and minute, in UTC -> epoch minutes. Raises RequestError."""
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M"):
        try:
            when = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return int((when - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(minutes=1))
    raise RequestError(f"{text[:40]!r} is no time such as 2026-11-27 or 2026-11-27T14:55Z")
