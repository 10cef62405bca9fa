"""One minute's line of a ship, as `pi10 watch` sends it: checked, and turned into sums.

Lines come from outside. Whatever is wrong with one is a ``LineError`` with a plain reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pi10_classifier.abundance.density import LITRES_PER_MINUTE, Sums

MOST_BYTES = 2000  # of a line; `pi10 watch` keeps to 500
MOST_LABELS = 100
REST = "_rest"  # rare classes together
AHEAD_MINUTES = 60  # a line later than this by our clock comes from a wrong clock
EARLIEST = 24 * 60 * 365 * 50  # epoch minutes: 2019, before the first Pi-10 went to sea
_LARGEST = 10**12  # of one minute's count; sums of years of such lines fit 64 bits
_MOST_AGO = 10 * 366 * 24 * 60  # minutes that a fix may be older than its line

_ID = re.compile(r"[0-9a-f]{8}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ")
_WORD = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,100}")  # what UTF-8 can hold


class LineError(ValueError):
    """A line that can never be accepted; the text is the reason."""


class AheadError(LineError):
    """A line from a time that has not come by this machine's clock."""


@dataclass(frozen=True, slots=True)
class Line:
    """A minute of one output folder (``source``) of a ship.

    minute, sampled: epoch minutes (UTC): when it was composed, and the first instrument's minute
    that it reports (None: it reports none). sums: by class, over the ``minutes`` reported.
    spread_unknown: True where the minutes' squared densities are not in the line, so that it
    gives no interval of the water mass. complete: every class that is not in ``sums`` has 0
    individuals. position: epoch minute, latitude, longitude in degrees. drift: quantity ->
    height of its chart over the limit; None without a reference.
    """

    text: str
    source: str
    seq: int
    minute: int
    model: str
    counts: Mapping[str, int]
    failed: int
    skipped: int
    backlog: int
    more: bool
    trouble: str
    dropped: int
    no_density: int
    sampled: int | None = None
    minutes: int = 0
    hits: int = 0
    misses: int = 0
    sums: Mapping[str, Sums] = field(default_factory=dict)
    spread_unknown: bool = False
    complete: bool = False
    position: tuple[int, float, float] | None = None
    flags: tuple[str, ...] = ()
    drift: Mapping[str, float] | None = None

    @property
    def images(self) -> int:
        return sum(self.counts.values())


def minute_text(minute: int) -> str:
    """Epoch minutes as text, such as ``2026-11-27T14:55Z``."""
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%MZ")


def parse_minute(text: object) -> int:
    """``2026-11-27T14:55Z`` -> epoch minutes. Raises LineError."""
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise LineError(f"{_shown(text)} is no minute such as 2026-11-27T14:55Z")
    try:
        when = datetime.fromisoformat(f"{text[:-1]}+00:00")
    except ValueError as error:
        raise LineError(f"{_shown(text)} is no minute such as 2026-11-27T14:55Z") from error
    return int(when.timestamp()) // 60


def parse(text: str, now: int) -> Line:
    """Check one line. now: epoch minutes by this machine's clock. Raises LineError."""
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise LineError(f"the line is longer than {MOST_BYTES} bytes")
    try:
        fields = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise LineError(f"the line is no JSON: {error}"[:200]) from error
    if not isinstance(fields, dict):
        raise LineError("the line is no JSON object")
    missing = [name for name in ("id", "seq", "minute", "model", "n") if name not in fields]
    if missing:
        raise LineError(f"{', '.join(missing)} is missing; lines since version 0.1 have it")
    source = fields["id"]
    if not isinstance(source, str) or not _ID.fullmatch(source):
        raise LineError(f"id is {_shown(source)}; it must be eight hexadecimal digits")
    minute = parse_minute(fields["minute"])
    _check_clock("minute", minute, now)
    counts = fields["n"]
    if not isinstance(counts, dict) or len(counts) > MOST_LABELS:
        raise LineError(f"n must be an object of at most {MOST_LABELS} classes")
    seq = _whole(fields, "seq")
    if not seq:
        raise LineError("seq is 0; lines are numbered from 1")
    return Line(
        text=text, source=source, seq=seq, minute=minute, model=_word(fields, "model"),
        counts={_label(label): _whole(counts, label) for label in counts},
        failed=_whole(fields, "failed"), skipped=_whole(fields, "skipped"),
        backlog=_whole(fields, "backlog"), more=fields.get("more") is True,
        trouble=_word(fields, "trouble"), dropped=_whole(fields, "dropped"),
        no_density=_whole(fields, "no_density"), position=_position(fields, minute, now),
        flags=_flags(fields.get("flags", [])), drift=_drift(fields.get("drift")),
        **_sampled(fields, now),
    )  # fmt: skip


def _sampled(fields: Mapping[str, Any], now: int) -> dict[str, Any]:
    """What the line says of the instrument's minutes; empty where it reports none."""
    if "from" not in fields:
        return {}
    sampled = parse_minute(fields["from"])
    _check_clock("from", sampled, now)
    minutes, hits, misses = (_whole(fields, name) for name in ("minutes", "hits", "misses"))
    densities = fields.get("density", {})
    if not minutes or not isinstance(densities, dict) or len(densities) > MOST_LABELS:
        raise LineError("a line with `from` needs minutes above 0, and density as an object")
    # lines of before 2027 have no weight: exact where all hits of the minutes were classified
    weight = (hits + misses) / hits if hits else 1.0
    if "weight" in fields:
        weight = _number(fields["weight"], "weight")
    sums = {
        _label(label): _sums(label, values, minutes, weight) for label, values in densities.items()
    }
    told = _raised(fields)
    sums |= {label: _from_raised(label, value, minutes, weight) for label, value in told.items()}
    unknown = minutes > 1 and (told or any(len(values) < 6 for values in densities.values()))
    return {
        "sampled": sampled, "minutes": minutes, "hits": hits, "misses": misses, "sums": sums,
        "spread_unknown": bool(unknown), "complete": "rest" in fields,
    }  # fmt: skip


def _raised(fields: Mapping[str, Any]) -> dict[str, float]:
    """Raised counts of classes for which the line had no room for more, and of the rest."""
    told = fields.get("raised", {})
    if not isinstance(told, dict) or len(told) > MOST_LABELS:
        raise LineError("raised must be an object of class and number")
    raised = {_label(label): _number(value, f"raised of {label}") for label, value in told.items()}
    if twice := raised.keys() & fields.get("density", {}).keys():
        raise LineError(f"{_shown(min(twice))} is in both raised and density")
    if rest := _number(fields.get("rest", 0), "rest"):
        raised[REST] = raised.get(REST, 0.0) + rest
    return raised


def _from_raised(label: str, raised: float, minutes: int, weight: float) -> Sums:
    if raised and not weight:
        raise LineError(f"raised of {_shown(label)} is not 0, but the line's weight is")
    if minutes == 1:
        return Sums.of_minute(raised, weight)
    litres = minutes * LITRES_PER_MINUTE
    return Sums.of_stretch(minutes, raised, raised * weight, weight, litres, 0.0)


def _sums(label: str, values: Any, minutes: int, weight: float) -> Sums:
    """Sums of one class; values: raised count, per litre, limits [, variance, sd]."""
    if not isinstance(values, list) or len(values) not in (4, 6):
        raise LineError(f"density of {_shown(label)} must be a list of 4 or 6 numbers")
    raised, per_litre, low, high, *rest = (
        _number(value, f"density of {label}") for value in values
    )
    if raised and not (weight and (not rest or rest[0])):
        raise LineError(f"density of {_shown(label)} is not 0, but its weight or variance is")
    if not low <= per_litre <= high:
        raise LineError(f"density of {_shown(label)} lies outside its own limits")
    litres = minutes * LITRES_PER_MINUTE
    if abs(raised / litres - per_litre) > 0.01 * per_litre + 1e-9:
        raise LineError(
            f"density of {_shown(label)} is not its raised count over {litres:g} litres"
        )
    if minutes == 1:
        return Sums.of_minute(raised, weight)
    variance, sd = rest or (raised * weight, 0.0)
    return Sums.of_stretch(minutes, raised, variance, weight, litres, sd)


def _check_clock(name: str, minute: int, now: int) -> None:
    if minute > now + AHEAD_MINUTES:
        raise AheadError(
            f"{name} is {minute_text(minute)}, over {AHEAD_MINUTES} minutes ahead of this "
            f"receiver's clock ({minute_text(now)}); set the clock of the ship's computer"
        )
    if minute < EARLIEST:
        raise LineError(f"{name} is {minute_text(minute)}, before any Pi-10 was at sea")


def _position(fields: Mapping[str, Any], minute: int, now: int) -> tuple[int, float, float] | None:
    fix = position_of(fields, minute)
    if fix:
        _check_clock("at", fix[0], now)
    return fix


def position_of(fields: Mapping[str, Any], minute: int) -> tuple[int, float, float] | None:
    """The minute of a line's fix, its latitude and longitude; None where it has none.

    minute: the line's own. Raises LineError.
    """
    value = fields.get("at")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) not in (2, 3):
        raise LineError("at must be a list of latitude, longitude and minutes ago")
    north, east = (_number(degree, "at", least=-360.0) for degree in value[:2])
    if abs(north) > 90 or abs(east) > 180:
        raise LineError(f"at is {north:g}, {east:g}, which is no position on Earth")
    ago = 0
    if len(value) == 3:
        ago = int(_number(value[2], "at", least=-AHEAD_MINUTES, most=_MOST_AGO))
    return minute - ago, north, east


def _flags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_LABELS:
        raise LineError("flags must be a list of words")
    return tuple(dict.fromkeys(_label(flag) for flag in value))


def _drift(value: Any) -> dict[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > MOST_LABELS:
        raise LineError("drift must be an object of quantity and number")
    return {_label(name): _number(height, "drift", least=-1e15) for name, height in value.items()}


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name, 0)
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise LineError(
            f"{_shown(name)} is {_shown(value)}; it must be a whole number from 0 to {_LARGEST:,}"
        )
    return value


def _number(value: Any, name: str, least: float = 0.0, most: float = 1e15) -> float:
    # by comparison alone: NaN fails it, and a whole number may be too large for a float
    if type(value) not in (int, float) or not least <= value <= most:
        raise LineError(
            f"{_shown(name)} has {_shown(value)}; it must be a number from {least:g} to {most:g}"
        )
    return float(value)


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if value and not (isinstance(value, str) and _WORD.fullmatch(value)):
        raise LineError(f"{name} is {_shown(value)}; it must be a short word")
    return str(value)


def _label(label: Any) -> str:
    if not isinstance(label, str) or not _WORD.fullmatch(label):
        raise LineError(f"{_shown(label)} is no name of a class or flag")
    return label


def _shown(value: object) -> str:
    return ascii(value)[:60]


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
