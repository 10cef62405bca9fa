"""Counts of classified images -> individuals per litre, by minute and by bin.

The Pi-10 cannot save every particle. Per minute it reports hits (saved) and misses (counted
only). Each minute's count of a class is raised by (hits + misses) / images. Images are all that
were classified in that minute, of any class, blank ones too: particles that were not saved, or
whose image could not be read, are assumed to be like those that were classified. The raised
count over the 34 litres of a minute is the density. The density of a bin is the sum of its raised
counts over the litres of the minutes that have a density. One factor for the whole bin would be
biased, as the factor varies within a bin together with the particles that pass.

A minute in which hits were saved but no image was classified has no density: it is unknown, not
zero. A minute without hits and misses has none either. The instrument counts every speck above
180 µm, and 34 litres of any sea contain some, so a count of zero means that no water passed.

Two intervals, both of 95 %:

- **of the water sampled** (``per_litre_low``, ``per_litre_high``): the counts are Poisson. One
  minute has the exact limits of Garwood (1936, Biometrika 28:437,
  https://doi.org/10.1093/biomet/28.3-4.437). Several minutes are a weighted sum of Poisson
  counts and have the gamma limits of Fay and Feuer (1997, Statistics in Medicine 16:791,
  https://doi.org/10.1002/(SICI)1097-0258(19970415)16:7<791::AID-SIM500>3.0.CO;2-%23). These
  equal Garwood's where all factors are equal, and otherwise tend to be too wide.
- **of the water mass** (``water_mass_low``, ``water_mass_high``): how much minutes differ, by
  Student's t over the minutes' densities, from three minutes on. Plankton is patchy, so this
  interval is usually the wider one. It always contains the other.

Neither includes errors of the classification, errors in hits and misses, a sample of hits that is
not random, a flow other than 34 L/min, or particles that are cut, overlap or break.
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

    start: from the bin's name, else its first minute. count: images of the label;
    count_without_density: those of them in minutes without a density. minutes_observed: the
    minutes with a density; ``raised_count``, ``litres`` and the densities are those of these
    minutes. share_of_hits: images classified in the minutes with hits, over these hits.
    raised_variance (sum of factor² x count), largest_factor and per_litre_sd (between minutes)
    serve to pool several bins. flags: the bin's own and those of its minutes.
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
    """Density of one label over minutes of any bins; None where no minute has a density."""
    return densities([total_of(row.sums for row in rows)])[0]


def bin_rows(rows: Sequence[CountRow]) -> list[BinRow]:
    """Density of each label in each bin, from ``minute_rows``; sorted by bin and label."""
    ordered = sorted(rows, key=lambda row: (row.bin, row.label, *minute_order(row.minute)))
    groups = [list(group) for _, group in groupby(ordered, key=lambda row: (row.bin, row.label))]
    totals = [total_of(row.sums for row in group) for group in groups]
    out = []
    for group, total, density in zip(groups, totals, densities(totals), strict=True):
        flags = _bin_flags(group)
        codes = codes_of(flags, has_value=density is not None)
        with_hits = [row for row in group if row.hits]
        hits = sum(row.hits or 0 for row in with_hits)
        out.append(
            BinRow(
                bin=group[0].bin,
                start=_start(group),
                label=group[0].label,
                minutes_observed=total.minutes,
                count=sum(row.count for row in group),
                count_without_density=sum(r.count for r in group if r.raised_count is None),
                raised_count=density.raised_count if density else None,
                litres=density.litres if density else None,
                per_litre=density.per_litre if density else None,
                per_litre_low=density.low if density else None,
                per_litre_high=density.high if density else None,
                water_mass_low=density.water_mass_low if density else None,
                water_mass_high=density.water_mass_high if density else None,
                share_of_hits=sum(row.images for row in with_hits) / hits if hits else None,
                raised_variance=total.variance if density else None,
                largest_factor=total.largest if density else None,
                per_litre_sd=total.sd if density else None,
                where=of_minutes([(row.minute, row.where) for row in group]),
                quality_l20=codes.l20,
                quality_qartod=codes.qartod,
                flags=flags,
            )
        )
    return out


def means(rows: Iterable[CountRow]) -> dict[str, dict[str, Density | None]]:
    """Means of a run by label: over ``all`` minutes, and ``without_bad`` ones (L20 code 4)."""
    every_minute: dict[str, Sums] = defaultdict(Sums)
    without_bad: dict[str, Sums] = defaultdict(Sums)
    for row in rows:
        if row.label == NO_PARTICLE:
            continue
        sums = row.sums or Sums()
        every_minute[row.label] += sums
        without_bad[row.label] += sums if row.quality_l20 != "4" else Sums()
    return {
        name: dict(zip(by_label, densities(list(by_label.values())), strict=True))
        for name, by_label in (("all", every_minute), ("without_bad", without_bad))
    }


def _start(group: Sequence[CountRow]) -> datetime | None:
    """The start in the bin's name, else the first minute; ``group`` is in order of time."""
    named = Bin.parse(group[0].bin)
    if named:
        return named.start
    counted = [row.minute for row in group if row.hits is not None]
    return counted[0] if counted else group[0].minute


def _bin_flags(group: Sequence[CountRow]) -> tuple[str, ...]:
    flags = {flag for row in group for flag in row.flags}
    minutes = sum(row.hits is not None or "hits_misses_unknown" in row.flags for row in group)
    if any(row.raised_count is None for row in group) and NO_PARTICLE not in flags:
        flags.add("minutes_without_density")
    start = _start(group)
    if minutes and minutes != BIN_MINUTES:
        flags.add("hits_misses_rows")
    if minutes and start and (minutes < BIN_MINUTES or start.minute % BIN_MINUTES):
        flags.add("partial_bin")
    return in_order(flags)
