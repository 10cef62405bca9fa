"""Rows for each minute of a bin: counts of images, raised by hits and misses, with flags."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from pi10_classifier.abundance.density import Sums, densities
from pi10_classifier.abundance.quality import (
    BAD_FACTOR,
    DARK_BACKGROUND,
    LEAST_IMAGES,
    LEAST_SHARE,
    MOST_BLANK,
    MOSTLY_MISSED,
    ONE_MINUTE,
    QUESTIONABLE_FACTOR,
    codes_of,
    has_step,
    in_order,
)
from pi10_classifier.abundance.track import NOWHERE, Fixes, Place, Where, by_minute
from pi10_classifier.instrument.names import BIN_MINUTES, NO_PARTICLE, Bin

MinuteKey = tuple[str, datetime | None, str]
"""Bin id ("" unknown), minute in UTC (None unknown), label."""

Table = Sequence[tuple[int, int] | None]
"""Hits and misses of each row of HitsMisses.txt; None where they are unknown."""


@dataclass(frozen=True, slots=True)
class CountRow:
    """One label in one minute; a line of ``counts.csv``.

    count: images of the label. hits, misses: of the whole minute, all labels.
    raised_count = count x raising_factor; litres: sampled in the minute; per_litre =
    raised_count / litres, with the 95 % limits of the water sampled. images: classified in
    the minute, all labels. share_of_hits = images / hits. raising_factor = (hits + misses) /
    images. Where there is no density, its columns are None and ``flags`` says why. where:
    position, sun and their codes; each becomes a column.
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
    images: int
    share_of_hits: float | None
    raising_factor: float | None
    where: Where
    quality_l20: str
    quality_qartod: int
    flags: tuple[str, ...]

    @property
    def sums(self) -> Sums | None:
        """What the minute adds to a pooled density; None for a minute without a density."""
        if self.raised_count is None or not self.hits:
            return None
        # images beyond the hits are copies: they add no evidence
        weight = (self.hits + (self.misses or 0)) / min(self.images, self.hits)
        return Sums.of_minute(self.raised_count, weight)


def minute_rows(
    counts: Mapping[MinuteKey, int],
    hits_misses: Mapping[str, Table],
    starts: Mapping[str, datetime | None],
    labels: Sequence[str],
    backgrounds: Mapping[str, float] | None = None,
    fixes: Mapping[Place, Fixes] | None = None,
    several: Collection[str] = (),
) -> list[CountRow]:
    """Density of each label in each minute, sorted by bin, minute (unknown last), label.

    counts: images per (bin, minute, label). hits_misses: the table of each bin; its row i is the
    minute ``starts[bin]`` + i, and None is an unknown row. Rows beyond the ten minutes of a bin,
    and a row with the totals of the others, are left out and flagged. labels: the model's classes;
    labels that are only in ``counts`` are added. Each minute with images or a HitsMisses row gets
    a row for every label. backgrounds: the mean grey of Background.tif's edge, per bin. fixes:
    first and last position of each minute. several: bins whose images lie in several places.
    Times are cut to the minute; a time without a zone is taken as UTC.
    """
    images: Counter[MinuteKey] = Counter()
    for (bin_id, minute, label), count in counts.items():
        images[bin_id, _minute(minute), label] += count
    all_labels = sorted({*labels, *(label for _, _, label in images)})
    begun = {bin_id: _minute(start) for bin_id, start in starts.items()}

    totals: Counter[Place] = Counter()
    by_row: dict[str, Counter[int]] = defaultdict(Counter)
    for (bin_id, minute, _), count in images.items():
        totals[bin_id, minute] += count
        if minute and (start := begun.get(bin_id)):
            by_row[bin_id][(minute - start) // ONE_MINUTE] += count
    tables: dict[str, Table] = {}
    surplus: set[str] = set()
    places: set[Place] = set(totals)
    for bin_id, table in hits_misses.items():
        start = begun.get(bin_id)
        tables[bin_id] = kept = _minutes_of(table, bin_id, start, totals)
        if len(kept) < len(table):
            surplus.add(bin_id)
        if start is not None:
            places.update((bin_id, start + timedelta(minutes=i)) for i in range(len(kept)))

    ordered = sorted(places, key=_place_order)
    facts = {
        place: _facts(place, totals[place], tables.get(place[0], ()), begun.get(place[0]))
        for place in ordered
    }
    flags = {place: set(fact.flags) for place, fact in facts.items()}
    shifted = {bin_id for bin_id, table in tables.items() if _is_shifted(by_row[bin_id], table)}
    blank = _mostly_blank(images)
    _flag_series(facts, flags)
    in_time = (place for place in ordered if "clock_outside_bin" not in facts[place].flags)
    sampled = by_minute(in_time, fixes or {})
    for place, sample in sampled.items():
        flags[place].update(sample.flags)
    for place in ordered:
        if place[0] in surplus:
            flags[place].add("surplus_rows")
        if place[0] in blank:
            flags[place].add("mostly_blank")
        if place[0] in several:
            flags[place].add("several_places")
        if place[0] in shifted and facts[place].hits:
            flags[place].add("clock_shifted")
        if (backgrounds or {}).get(place[0], 255.0) < DARK_BACKGROUND:
            flags[place].add("dark_background")

    entries = [(place, label, facts[place]) for place in ordered for label in all_labels]
    sums = [
        Sums.of_minute(images[*place, label] * fact.factor, fact.weight)
        if fact.factor is not None and fact.weight is not None and label != NO_PARTICLE
        else None
        for place, label, fact in entries
    ]
    rows = []
    for (place, label, fact), density in zip(entries, densities(sums), strict=True):
        row_flags = flags[place] | ({NO_PARTICLE} if label == NO_PARTICLE else set())
        codes = codes_of(row_flags, has_value=density is not None)
        rows.append(
            CountRow(
                bin=place[0],
                minute=place[1],
                label=label,
                count=images[*place, label],
                hits=fact.hits,
                misses=fact.misses,
                raised_count=density.raised_count if density else None,
                litres=density.litres if density else None,
                per_litre=density.per_litre if density else None,
                per_litre_low=density.low if density else None,
                per_litre_high=density.high if density else None,
                images=totals[place],
                share_of_hits=fact.share,
                raising_factor=fact.factor,
                where=sampled.get(place, NOWHERE).where,
                quality_l20=codes.l20,
                quality_qartod=codes.qartod,
                flags=in_order(row_flags),
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class _Minute:
    """The HitsMisses row of a minute; factor and weight are None where it has no density."""

    hits: int | None = None
    misses: int | None = None
    share: float | None = None
    factor: float | None = None
    weight: float | None = None
    flags: tuple[str, ...] = ()


def _minutes_of(table: Table, bin_id: str, start: datetime | None, totals: Counter[Place]) -> Table:
    """The rows that are minutes of the bin: at most ten, without rows of totals."""
    first, *below = table or [None]
    if len(below) >= BIN_MINUTES and first and tuple(first) == _totals(below):
        table = below
    kept = list(table[:BIN_MINUTES])
    *above, last = kept or [None]
    several = sum(row is not None for row in above) > 1
    if not (last and several and any(last) and tuple(last) == _totals(above) and start is not None):
        return kept
    # where images were taken in that minute, the row is a minute that only looks like totals
    has_images = totals[bin_id, start + timedelta(minutes=len(above))] > 0
    return kept if has_images else above


def _totals(rows: Table) -> tuple[int, int]:
    return sum(row[0] for row in rows if row), sum(row[1] for row in rows if row)


def _facts(place: Place, images: int, table: Table, start: datetime | None) -> _Minute:
    """The bin's HitsMisses row for one minute that has ``images`` images of any label."""
    bin_id, minute = place
    if not bin_id or minute is None or start is None or not table:
        flags = {
            "no_bin": not bin_id,
            "no_datetime": minute is None,
            "clock_outside_bin": bool(bin_id) and _is_outside(minute, start),
            "no_hits_misses": bool(bin_id) and not table,
            "no_bin_start": bool(bin_id) and bool(table) and start is None,
        }
        return _Minute(flags=tuple(name for name, holds in flags.items() if holds))
    row = (minute - start) // ONE_MINUTE
    if not 0 <= row < len(table):
        outside = (
            "clock_outside_bin" if _is_outside(minute, start) else "minute_outside_hits_misses"
        )
        return _Minute(flags=(outside,))
    hits_misses = table[row]
    if hits_misses is None:
        return _Minute(flags=("hits_misses_unknown",))
    hits, misses = hits_misses
    if hits == 0:
        is_empty = misses == 0 and images == 0
        names = ["no_flow" if is_empty else "no_hits"]
        if images:
            names.append("images_beyond_hits")
        return _Minute(hits, misses, flags=tuple(names))
    passed = hits + misses
    flags = {
        "hits_without_images": images == 0,
        "hits_unseen": 0 < images < LEAST_SHARE * hits,
        "images_beyond_hits": images > hits,
        "factor_above_2": QUESTIONABLE_FACTOR * hits < passed <= BAD_FACTOR * hits,
        "factor_above_10": passed > BAD_FACTOR * hits,
        "mostly_missed": misses > MOSTLY_MISSED * hits,
    }
    names = [name for name, holds in flags.items() if holds]
    if not images:
        return _Minute(hits, misses, 0.0, flags=tuple(names))
    weight = passed / min(images, hits)
    return _Minute(hits, misses, images / hits, passed / images, weight, tuple(names))


def _mostly_blank(images: Mapping[MinuteKey, int]) -> set[str]:
    """Bins of which most images show no particle, though the instrument saved them for one."""
    of_bin: Counter[str] = Counter()
    blank: Counter[str] = Counter()
    for (bin_id, _, label), count in images.items():
        of_bin[bin_id] += count
        blank[bin_id] += count if label == NO_PARTICLE else 0
    return {
        bin_id
        for bin_id, count in of_bin.items()
        if count >= LEAST_IMAGES and blank[bin_id] > MOST_BLANK * count
    }


def _is_shifted(images: Mapping[int, int], table: Table) -> bool:
    """True where the images lie some minutes later, or earlier, than the rows that count them.

    images: number of images by row; rows before the table's first are negative.
    """

    def lacks_images(row: int) -> bool:
        hits_misses = table[row]
        return hits_misses is not None and images.get(row, 0) < LEAST_SHARE * hits_misses[0]

    if not table:
        return False
    late = any(len(table) <= row < len(table) + BIN_MINUTES for row in images)
    early = any(-BIN_MINUTES <= row < 0 for row in images)
    return (late and lacks_images(0)) or (early and lacks_images(len(table) - 1))


def _is_outside(minute: datetime | None, start: datetime | None) -> bool:
    if minute is None or start is None:
        return False
    return not timedelta() <= minute - start < timedelta(minutes=BIN_MINUTES)


def _flag_series(facts: Mapping[Place, _Minute], flags: Mapping[Place, set[str]]) -> None:
    """Flag steps, overlaps and gaps between the consecutive minutes of each instrument."""
    tracks: dict[str, list[tuple[datetime, Place]]] = defaultdict(list)
    for place, fact in facts.items():
        bin_id, minute = place
        named = Bin.parse(bin_id)
        if named and minute and "clock_outside_bin" not in fact.flags:
            tracks[named.instrument].append((minute, place))
    for track in tracks.values():
        track.sort()
        for (before, earlier), (now, later) in pairwise(track):
            if now == before:
                flags[earlier].add("overlapping_bins")
                flags[later].add("overlapping_bins")
            elif now - before > ONE_MINUTE:
                flags[later].add("gap_before")
            else:
                first, second = (_passed(facts[place]) for place in (earlier, later))
                if has_step(second, first):
                    flags[later].add("step")
                elif has_step(first, second):
                    flags[earlier].add("step")


def _passed(fact: _Minute) -> int:
    return (fact.hits or 0) + (fact.misses or 0)


def _minute(time: datetime | None) -> datetime | None:
    """Cut to the minute, in UTC; a time without a zone is UTC already."""
    if time is None:
        return None
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return aware.replace(second=0, microsecond=0)


def minute_order(minute: datetime | None) -> tuple[bool, float]:
    """Sort key for minutes: in order of time, an unknown one last."""
    return minute is None, minute.timestamp() if minute else 0.0


def _place_order(place: Place) -> tuple[str, bool, float]:
    return (place[0], *minute_order(place[1]))
