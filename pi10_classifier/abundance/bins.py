"""Counts of classified images -> individuals per litre, by minute and by bin.

The Pi-10 cannot save every particle. Per minute it reports hits (saved) and misses (counted
only). Each minute's count n of a class is raised by (hits + misses) / images, where images are
all that were classified in that minute, whatever their class and blank ones too: what was not
saved, and what could not be read, is taken to be like what was classified. Divided by the 34
litres of a minute this is the density. A bin is the sum of its raised minutes over 34 litres
times the minutes that have a density. One factor for a whole bin would be biased, as the factor
varies inside it along with what passes.

A minute in which hits were saved but no image was classified has no density: it is unknown, not
zero. A minute of no hits and no misses has none either: an instrument that counts every speck
above 180 µm sees some in 34 litres of any sea, so none at all means that no water passed.

Two intervals, both of 95 %:

- **of the water sampled** (``per_litre_low``, ``per_litre_high``): the counts are Poisson. For a
  minute these are the exact limits of Garwood (1936, Biometrika 28:437,
  https://doi.org/10.1093/biomet/28.3-4.437); for several minutes, a weighted sum of Poisson
  counts, the gamma limits of Fay and Feuer (1997, Statistics in Medicine 16:791,
  https://doi.org/10.1002/(SICI)1097-0258(19970415)16:7<791::AID-SIM500>3.0.CO;2-%23), which
  become Garwood's where all factors are equal and are otherwise on the wide side.
- **of the water mass** (``water_mass_low``, ``water_mass_high``): how much minutes differ, by
  Student's t over the minutes' densities, from three minutes on. Plankton is patchy, so it is
  usually wider. It never is narrower than the other, which it contains.

Both leave out: errors of the classification; that hits may not be a random sample of what
passed, and errors in hits and misses themselves; the flow's departure from 34 L/min; particles
that are cut, overlap or break.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from pi10_classifier.abundance.density import Density, Sums, densities, total_of
from pi10_classifier.abundance.minutes import CountRow, minute_order
from pi10_classifier.abundance.quality import codes_of, in_order
from pi10_classifier.abundance.track import Where, of_minutes
from pi10_classifier.instrument.names import BIN_MINUTES, NO_PARTICLE, Bin


@dataclass(frozen=True, slots=True)
class BinRow:
    """One label in one bin; a line of ``bins.csv``.

    start: as the bin's name tells it, else its first minute. count: images of the label;
    count_without_density: those of them in minutes without a density. minutes_observed:
    minutes that have one; ``raised_count``, ``litres`` and all else are of these. share_of_hits:
    images classified in the minutes with hits, over these hits. raised_variance (sum of
    factor² x count), largest_factor and per_litre_sd (between minutes) are what pooling
    several bins takes. flags: the bin's own and those of any of its minutes.
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
    water_mass_low: float | None
    water_mass_high: float | None
    share_of_hits: float | None
    raised_variance: float | None
    largest_factor: float | None
    per_litre_sd: float | None
    where: Where
    quality_l20: str
    quality_qartod: int
    flags: tuple[str, ...]


def pool(rows: Iterable[CountRow]) -> Density | None:
    """Density over minutes of one label, whatever their bins; None where no minute has one."""
    return densities([total_of(row.sums for row in rows)])[0]


def bin_rows(rows: Sequence[CountRow]) -> list[BinRow]:
    """Density of each label in each bin, from ``minute_rows``; sorted by bin and label."""
    ordered = sorted(rows, key=lambda row: (row.bin, row.label, *minute_order(row.minute)))
    groups = [list(group) for _, group in groupby(ordered, key=lambda row: (row.bin, row.label))]
    sums = [total_of(row.sums for row in group) for group in groups]
    out = []
    for group, its, density in zip(groups, sums, densities(sums), strict=True):
        flags = _bin_flags(group)
        codes = codes_of(flags, has_value=density is not None)
        seen = [row for row in group if row.hits]
        hits = sum(row.hits or 0 for row in seen)
        out.append(
            BinRow(
                bin=group[0].bin,
                start=_start(group),
                label=group[0].label,
                minutes_observed=its.minutes,
                count=sum(row.count for row in group),
                count_without_density=sum(r.count for r in group if r.raised_count is None),
                raised_count=density.raised_count if density else None,
                litres=density.litres if density else None,
                per_litre=density.per_litre if density else None,
                per_litre_low=density.low if density else None,
                per_litre_high=density.high if density else None,
                water_mass_low=density.water_mass_low if density else None,
                water_mass_high=density.water_mass_high if density else None,
                share_of_hits=sum(row.images for row in seen) / hits if hits else None,
                raised_variance=its.variance if density else None,
                largest_factor=its.largest if density else None,
                per_litre_sd=its.sd if density else None,
                where=of_minutes([(row.minute, row.where) for row in group]),
                quality_l20=codes.l20,
                quality_qartod=codes.qartod,
                flags=flags,
            )
        )
    return out


def means(rows: Iterable[CountRow]) -> dict[str, dict[str, Density | None]]:
    """Means over all minutes of a run by label: ``all``, and ``without_bad`` minutes (L20 4)."""
    every: dict[str, Sums] = defaultdict(Sums)
    good: dict[str, Sums] = defaultdict(Sums)
    for row in rows:
        if row.label == NO_PARTICLE:
            continue
        sums = row.sums or Sums()
        every[row.label] += sums
        good[row.label] += sums if row.quality_l20 != "4" else Sums()
    return {
        name: dict(zip(sums, densities(list(sums.values())), strict=True))
        for name, sums in (("all", every), ("without_bad", good))
    }


def _start(group: Sequence[CountRow]) -> datetime | None:
    """As the bin's name tells it, else the first minute; ``group`` is in order of time."""
    named = Bin.parse(group[0].bin)
    if named:
        return named.start
    known = [row.minute for row in group if row.hits is not None]
    return known[0] if known else group[0].minute


def _bin_flags(group: Sequence[CountRow]) -> tuple[str, ...]:
    found = {flag for row in group for flag in row.flags}
    minutes = sum(row.hits is not None or "hits_misses_unknown" in row.flags for row in group)
    if any(row.raised_count is None for row in group) and NO_PARTICLE not in found:
        found.add("minutes_without_density")
    start = _start(group)
    if minutes and minutes != BIN_MINUTES:
        found.add("hits_misses_rows")
    if minutes and start and (minutes < BIN_MINUTES or start.minute % BIN_MINUTES):
        found.add("partial_bin")
    return in_order(found)
