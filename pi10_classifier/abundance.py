"""Counts of classified images -> individuals per litre, by minute and by bin.

The Pi-10 cannot save every particle. Per minute it reports hits (saved) and misses
(counted only), so each minute's count n is raised by its own factor
(hits + misses) / hits and divided by the 34 litres of that minute. A bin is the sum of
its raised minutes over 34 litres times the minutes observed. One factor for a whole bin
would be biased, as the factor varies inside it along with what passes.

Intervals are 95 % and treat the counts as Poisson: for a minute the exact limits of
Garwood (1936, Biometrika 28:437, https://doi.org/10.1093/biomet/28.3-4.437), for a bin,
a weighted sum of Poisson counts, the gamma limits of Fay and Feuer (1997, Statistics in
Medicine 16:791, https://doi.org/10.1002/(SICI)1097-0258(19970415)16:7<791::AID-SIM500>3.0.CO;2-%23),
which become Garwood's where all factors are equal and are otherwise on the wide side.
They leave out: errors of the classification; that hits may not be a random sample of
what passed, and errors in hits and misses themselves; the flow's departure from
34 L/min; particles that are cut, overlap or break; and the patchiness of plankton, so
neighbouring bins can differ by far more than their intervals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MinuteKey = tuple[str, datetime | None, str]
"""Bin id ("" unknown), minute in UTC (None unknown), label."""

F64 = NDArray[np.float64]
_Table = Sequence[tuple[int, int]]  # hits, misses
_Density = tuple[float | None, float | None, float | None, float | None, float | None]

LITRES_PER_MINUTE = 34.0
BIN_MINUTES = 10
MOSTLY_MISSED = 50  # misses per hit above which operators set a bin apart
CONFIDENCE = 0.95

FLAGS: Mapping[str, str] = {
    "no_bin": "the image's name tells no bin",
    "no_datetime": "the image tells no time",
    "no_hits_misses": "the bin has no HitsMisses.txt",
    "no_bin_start": "the bin's start is unknown, so its HitsMisses rows have no time",
    "minute_outside_hits_misses": "no HitsMisses row belongs to this minute",
    "no_hits": "particles passed but hits is 0: no raising factor",
    "images_differ_from_hits": "images classified in this minute, all labels, are not hits",
    "mostly_missed": f"misses > {MOSTLY_MISSED} x hits",
    "hits_misses_rows": f"HitsMisses has not {BIN_MINUTES} rows",
    "partial_bin": f"fewer than {BIN_MINUTES} minutes, or not begun on a ten-minute mark",
    "minutes_without_density": "some minutes have no density and are not in the bin's",
}
"""What each flag of a row means, in the order in which rows list them."""


@dataclass(frozen=True, slots=True)
class CountRow:
    """One label in one minute; a line of ``counts.csv``.

    count: images, as classified. hits, misses: of the whole minute, all labels.
    raised_count = count (hits + misses) / hits; litres: sampled in the minute;
    per_litre = raised_count / litres, with its 95 % limits. These five are None
    where there is no raising factor, and ``flags`` then says why.
    """

    bin: str
    minute: datetime | None
    label: str
    count: int
    hits: int | None
    misses: int | None
    raised_count: float | None
    litres: float | None
    per_litre: float | None
    per_litre_low: float | None
    per_litre_high: float | None
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BinRow:
    """One label in one bin.

    start: the first minute of HitsMisses, else of the images, else None.
    minutes_observed: minutes that have a density; ``count``, ``raised_count`` and
    ``litres`` are sums over these and no others. count_without_density: images in the
    bin's other minutes, so that count + count_without_density is all there are.
    flags: the bin's own and those of any of its minutes.
    """

    bin: str
    start: datetime | None
    label: str
    minutes_observed: int
    count: int
    count_without_density: int
    raised_count: float | None
    litres: float | None
    per_litre: float | None
    per_litre_low: float | None
    per_litre_high: float | None
    flags: tuple[str, ...]


class _Minute(NamedTuple):
    hits: int | None
    misses: int | None
    factor: float  # NaN where unknown
    flags: tuple[str, ...]


def minute_rows(
    counts: Mapping[MinuteKey, int],
    hits_misses: Mapping[str, _Table],
    starts: Mapping[str, datetime | None],
    labels: Sequence[str],
) -> list[CountRow]:
    """Density of each label in each minute, sorted by bin, minute (unknown last), label.

    counts: images per (bin, minute, label). hits_misses: per bin, row i being the minute
    ``starts[bin]`` + i. labels: the model's classes; each minute that has images or a
    HitsMisses row gets a row for every one of them, so zeros are there as zeros, with an
    upper limit (labels found in ``counts`` only are added). Times are cut to the minute;
    those without a zone are taken as UTC.
    """
    images: Counter[MinuteKey] = Counter()
    for (bin_id, minute, label), count in counts.items():
        images[bin_id, _minute(minute), label] += count
    all_labels = sorted({*labels, *(label for _, _, label in images)})
    begun = {bin_id: _minute(start) for bin_id, start in starts.items()}

    totals: Counter[tuple[str, datetime | None]] = Counter()
    for (bin_id, minute, _), count in images.items():
        totals[bin_id, minute] += count
    places: set[tuple[str, datetime | None]] = set(totals)
    for bin_id, table in hits_misses.items():
        if (start := begun.get(bin_id)) is not None:
            places.update((bin_id, start + timedelta(minutes=i)) for i in range(len(table)))

    entries = []
    for bin_id, minute in sorted(places, key=_place_order):
        table = hits_misses.get(bin_id, ())
        facts = _facts(bin_id, minute, totals[bin_id, minute], table, begun.get(bin_id))
        entries += [(bin_id, minute, label, facts) for label in all_labels]
    n = np.array([images[b, m, label] for b, m, label, _ in entries], np.float64)
    factor = np.array([facts.factor for *_, facts in entries], np.float64)
    litres = np.full(len(entries), LITRES_PER_MINUTE)
    densities = _densities(n * factor, n * factor**2, factor, litres)
    return [
        CountRow(b, m, label, images[b, m, label], f.hits, f.misses, *density, f.flags)
        for (b, m, label, f), density in zip(entries, densities, strict=True)
    ]


def bin_rows(rows: Sequence[CountRow]) -> list[BinRow]:
    """Density of each label in each bin, from ``minute_rows``; sorted by bin and label."""
    ordered = sorted(rows, key=lambda row: (row.bin, row.label, *_minute_order(row.minute)))
    groups = [list(group) for _, group in groupby(ordered, key=lambda row: (row.bin, row.label))]
    observed = [[row for row in group if row.raised_count is not None] for group in groups]
    sums = np.full((4, len(groups)), np.nan)
    for i, seen in enumerate(observed):
        if seen:
            n, w = np.array([(row.count, _factor(row)) for row in seen]).T
            sums[:, i] = (n * w).sum(), (n * w**2).sum(), w.max(), LITRES_PER_MINUTE * len(seen)
    return [
        BinRow(
            group[0].bin,
            _start(group),
            group[0].label,
            len(seen),
            sum(row.count for row in seen),
            sum(row.count for row in group) - sum(row.count for row in seen),
            *density,
            _bin_flags(group),
        )
        for group, seen, density in zip(groups, observed, _densities(*sums), strict=True)
    ]


def gamma_limits(total: F64, variance: F64, largest: F64) -> tuple[F64, F64]:
    """95 % limits of sums of weighted Poisson counts; arrays (n,), NaN stays NaN.

    total: sum of w k over counts k of weight w; variance: sum of w^2 k; largest: the
    greatest w. Fay and Feuer 1997; with one weight, Garwood 1936.
    """
    from scipy.special import gammaincinv  # type: ignore[import-untyped, unused-ignore]

    tail = (1 - CONFIDENCE) / 2
    some = total > 0
    scale = np.divide(variance, total, out=np.zeros_like(total), where=some)
    shape = np.divide(total, scale, out=np.ones_like(total), where=some)
    low = np.where(some, scale * gammaincinv(shape, tail), total)
    total, variance = total + largest, variance + largest**2
    high = variance / total * gammaincinv(total**2 / variance, 1 - tail)
    return low, high


def _densities(raised: F64, variance: F64, largest: F64, litres: F64) -> list[_Density]:
    """Raised count, litres, per litre, low and high of each row; Nones where raised is NaN."""
    low, high = (limit / litres for limit in gamma_limits(raised, variance, largest))
    columns = (raised, litres, raised / litres, low, high)
    nothing: _Density = (None, None, None, None, None)
    return [
        nothing if row[0] != row[0] else row
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _facts(
    bin_id: str, minute: datetime | None, images: int, table: _Table, start: datetime | None
) -> _Minute:
    """What the bin's HitsMisses says of one minute with ``images`` images of any label."""
    if not bin_id or minute is None or not table or start is None:
        flags = {
            "no_bin": not bin_id,
            "no_datetime": minute is None,
            "no_hits_misses": bin_id and not table,
            "no_bin_start": bin_id and table and start is None,
        }
        return _Minute(None, None, np.nan, tuple(name for name, holds in flags.items() if holds))
    row = (minute - start) // timedelta(minutes=1)
    if not 0 <= row < len(table):
        return _Minute(None, None, np.nan, ("minute_outside_hits_misses",))
    hits, misses = table[row]
    nothing_passed = hits == misses == images == 0
    flags = {
        "no_hits": hits == 0 and not nothing_passed,
        "images_differ_from_hits": images != hits,
        "mostly_missed": misses > MOSTLY_MISSED * hits,
    }
    factor = 1.0 if nothing_passed else (hits + misses) / hits if hits else np.nan
    return _Minute(hits, misses, factor, tuple(name for name, holds in flags.items() if holds))


def _factor(row: CountRow) -> float:
    """The raising factor of a minute that has a density."""
    return (row.hits + (row.misses or 0)) / row.hits if row.hits else 1.0


def _start(group: Sequence[CountRow]) -> datetime | None:
    """First minute of HitsMisses, else of the images; ``group`` is in order of time."""
    known = [row.minute for row in group if row.hits is not None]
    return known[0] if known else group[0].minute


def _bin_flags(group: Sequence[CountRow]) -> tuple[str, ...]:
    found = {flag for row in group for flag in row.flags}
    minutes = sum(row.hits is not None for row in group)
    if any(row.raised_count is None for row in group):
        found.add("minutes_without_density")
    start = _start(group)
    if minutes and minutes != BIN_MINUTES:
        found.add("hits_misses_rows")
    if minutes and start and (minutes < BIN_MINUTES or start.minute % BIN_MINUTES):
        found.add("partial_bin")
    return tuple(name for name in FLAGS if name in found)


def _minute(time: datetime | None) -> datetime | None:
    """Cut to the minute, in UTC; a time without a zone is UTC already."""
    if time is None:
        return None
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return aware.replace(second=0, microsecond=0)


def _minute_order(minute: datetime | None) -> tuple[bool, float]:
    return minute is None, minute.timestamp() if minute else 0.0


def _place_order(place: tuple[str, datetime | None]) -> tuple[str, bool, float]:
    return (place[0], *_minute_order(place[1]))
