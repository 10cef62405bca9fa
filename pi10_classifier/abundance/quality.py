"""Quality flags of minutes and bins: what each means, and its codes in two common schemes.

Codes: SeaDataNet L20 (http://vocab.nerc.ac.uk/collection/L20/current/) as text, and IOOS QARTOD
(Manual for Real-Time Oceanographic Data Quality Control Flags, 2020) as a number. Flags warn and
remove nothing; a missing value has the code 9 in both. The codes rate the sample: volume,
counting, time. The position has codes of its own. The classification has the codes 0 and 2 ("not
evaluated") until a sample of it has been validated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from pi10_classifier.instrument.names import BIN_MINUTES

LEAST_SHARE = 0.9  # of the hits that must have been classified
QUESTIONABLE_FACTOR, BAD_FACTOR = 2.0, 10.0
MOSTLY_MISSED = 50  # misses per hit above which operators set a bin apart
STEP = 10.0  # ratio between consecutive minutes that no sea causes
LEAST_STEP_TOTAL = 30  # particles: with fewer, such a step may be chance
DARK_BACKGROUND = 150.0  # mean grey of Background.tif's edge; a lower one: dirty or dark flow cell
ONE_MINUTE = timedelta(minutes=1)

CLASS_NOT_VALIDATED = ("0", 2)
"""The codes of the classification until a sample of it has been validated."""
CLASS_VALIDATED = ("1", 1)
"""The codes of densities that are corrected by a validated sample."""


class Codes(NamedTuple):
    """SeaDataNet L20 and QARTOD."""

    l20: str
    qartod: int


GOOD, SUSPECT, BAD, MISSING = Codes("1", 1), Codes("3", 3), Codes("4", 4), Codes("9", 9)


MOST_BLANK = 0.5  # of a bin's images; above it light, camera or cropping has failed
LEAST_IMAGES = 10  # of a bin: of fewer, more than half may be blank by chance


@dataclass(frozen=True, slots=True)
class Flag:
    """meaning: in words; codes: the best codes that a value with this flag can have."""

    meaning: str
    codes: Codes


FLAGS: Mapping[str, Flag] = {
    "no_particle": Flag("blank images: counted, but they have no density", MISSING),
    "no_bin": Flag("the image's name gives no bin", MISSING),
    "no_datetime": Flag("the image gives no time", MISSING),
    "clock_outside_bin": Flag(
        "the images' times lie outside the bin that their names give", MISSING
    ),
    "clock_shifted": Flag(
        "there are images beyond the rows of HitsMisses on one side, and rows without images on "
        "the other: the clock is some minutes off, so minutes have the wrong rows",
        BAD,
    ),
    "no_hits_misses": Flag("the bin has no usable HitsMisses.txt", MISSING),
    "no_bin_start": Flag(
        "the bin's start is unknown, so its HitsMisses rows have no time", MISSING
    ),
    "minute_outside_hits_misses": Flag("no HitsMisses row belongs to this minute", MISSING),
    "hits_misses_unknown": Flag("the minute's HitsMisses row is blank", MISSING),
    "no_flow": Flag("hits and misses are both 0, so probably no water passed", MISSING),
    "no_hits": Flag("particles passed but hits is 0: no image represents them", MISSING),
    "hits_without_images": Flag(
        "hits were saved, but no image of this minute was classified", MISSING
    ),
    "mostly_blank": Flag(
        f"more than {MOST_BLANK:.0%} of the bin's images show no particle: light, camera or "
        "cropping has failed, so no absence is known",
        BAD,
    ),
    "hits_unseen": Flag(f"less than {LEAST_SHARE:.0%} of the hits were classified", SUSPECT),
    "images_beyond_hits": Flag(
        "more images than hits: some are duplicates, or of another minute",
        SUSPECT,
    ),
    "several_places": Flag(
        "images of the bin are in several places; if they are copies, the interval is too narrow",
        SUSPECT,
    ),
    "factor_above_2": Flag(
        f"(hits + misses) / hits is above {QUESTIONABLE_FACTOR:g}: questionable", SUSPECT
    ),
    "factor_above_10": Flag(
        f"(hits + misses) / hits is above {BAD_FACTOR:g}: seldom plankton", BAD
    ),
    "mostly_missed": Flag(f"misses > {MOSTLY_MISSED} x hits", BAD),
    "step": Flag(f"hits + misses are over {STEP:g} times those of the minute before or after", BAD),
    "dark_background": Flag(
        f"Background.tif's edge is darker than {DARK_BACKGROUND:g}: a dirty or dark flow cell",
        SUSPECT,
    ),
    "overlapping_bins": Flag("two bins of the instrument contain this minute", SUSPECT),
    "gap_before": Flag("the minute before it was not recorded", GOOD),
    "hits_misses_rows": Flag(f"HitsMisses does not have {BIN_MINUTES} rows of minutes", SUSPECT),
    "surplus_rows": Flag(
        "HitsMisses rows beyond a bin's ten minutes, or a row of totals, were left out", SUSPECT
    ),
    "partial_bin": Flag(
        f"fewer than {BIN_MINUTES} minutes, or not begun on a ten-minute mark", SUSPECT
    ),
    "minutes_without_density": Flag(
        "some minutes of the bin have no density and are not in the bin's density", SUSPECT
    ),
}
"""All flags of the sample, in the order in which rows list them."""


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Flags in the order in which rows list them; those of the position last."""
    given = set(names)
    return (*(name for name in FLAGS if name in given), *sorted(given - set(FLAGS)))


def codes_of(flags: Iterable[str], *, has_value: bool) -> Codes:
    """The worst of the flags' codes; 9 exactly where there is no value."""
    if not has_value:
        return MISSING
    every = [FLAGS[name].codes for name in flags if name in FLAGS]
    # a bin with a value may have minutes without one; they do not affect the value
    return max((GOOD, *(codes for codes in every if codes is not MISSING)))


def has_step(total: int, other: int) -> bool:
    """True where a minute's ``total`` particles are too many next to a neighbour's ``other``."""
    return total >= LEAST_STEP_TOTAL and other > 0 and total > STEP * other
