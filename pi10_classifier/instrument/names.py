"""Parses the Pi-10's file names: particles, bins and sidecars.

TIFF tags are read in ``tiff.py``. The instrument's clock is taken as UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from pi10_classifier.instrument.formats import SUFFIXES

UM_PER_PX = 10.0
BIN_MINUTES = 10
NO_PARTICLE = "no_particle"  # the label of an image that shows none

_PARTICLE = re.compile(
    r"(?P<instrument>[A-Za-z][A-Za-z0-9_-]{0,31})"
    r"\.(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})\.(?P<time>[0-9]{4})"
    r"\+N(?P<number>[0-9]{8})\.tiff?",
    re.IGNORECASE | re.ASCII,  # without ASCII, [a-z] would match U+0131, U+017F and U+212A
)
_BIN = re.compile(
    r"(?:(?P<instrument>[^/\\]+)\.)?(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})\.(?P<time>[0-9]{4})"
)
_ARCHIVED_BIN = re.compile(r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[/\\](?P<time>[0-9]{4})(?:\.|$)")
_SIDECARS = frozenset(
    {"background.tif", "flowcelledges.tif", "bubbles.txt", "cameralog.txt", "hitsmisses.txt"}
)


Rows = tuple[tuple[int, int] | None, ...]
"""Hits and misses of each minute; None where they are unknown."""


class Kind(Enum):
    """What a member is, by its name alone."""

    IMAGE = "image"
    HITS_MISSES = "hits_misses"
    SIDECAR = "sidecar"
    OTHER = "other"


@lru_cache(maxsize=256)  # each name is looked up several times in a row
def split_member(member: str) -> tuple[str, str]:
    r"""Split ``RawImages\pia7….tif`` into folder and base name, at the last ``/`` or ``\``."""
    cut = max(member.rfind("/"), member.rfind("\\"))
    return member[: max(cut, 0)], member[cut + 1 :]


def kind_of(member: str) -> Kind:
    """The kind of a member, by its name; the decoder checks the content."""
    base = split_member(member)[1].lower()
    if base in _SIDECARS:
        return Kind.HITS_MISSES if base == "hitsmisses.txt" else Kind.SIDECAR
    if base.startswith("."):  # AppleDouble files (._x.tif) and other hidden files
        return Kind.OTHER
    return Kind.IMAGE if base.endswith(SUFFIXES) else Kind.OTHER


def is_background(member: str) -> bool:
    """True for ``Background.tif``, the bin's image of the empty flow cell."""
    return split_member(member)[1].lower() == "background.tif"


def bin_folder(member: str) -> str:
    """The folder of a member's bin: the member's folder without a trailing ``RawImages``."""
    return _bin_folder(split_member(member)[0])


@lru_cache(maxsize=256)
def _bin_folder(folder: str) -> str:
    parent, last = split_member(folder)
    if last.lower() == "rawimages":
        folder = parent
    return "" if folder == "." else folder.removeprefix("./")  # some tars write "./"


@dataclass(frozen=True, slots=True, order=True)
class Bin:
    """A recording of up to ten minutes, identified by its instrument and start (UTC).

    ``instrument`` is empty where only the archive's path identifies the bin.
    """

    instrument: str
    start: datetime

    def __str__(self) -> str:
        return _bin_text(self)

    @property
    def is_partial(self) -> bool:
        """True where the bin started late, off the ten-minute grid."""
        return self.start.minute % BIN_MINUTES != 0

    @classmethod
    def from_archive(cls, path: str) -> Bin | None:
        """The bin in a path such as ``…/2024-06-24/1450.tar`` or ``…/2024-06-24/1450``."""
        matches = list(_ARCHIVED_BIN.finditer(path))
        start = _stamp(matches[-1]["date"], matches[-1]["time"]) if matches else None
        return cls("", start) if start else None

    @classmethod
    def parse(cls, text: str) -> Bin | None:
        """The inverse of ``str``."""
        match = _BIN.fullmatch(text)
        start = _stamp(match["date"], match["time"]) if match else None
        return cls(match["instrument"] or "", start) if match and start else None


class Particle(NamedTuple):
    """The identity of one particle, unique over instruments, bins and cruises."""

    bin: Bin
    number: int

    def __str__(self) -> str:
        return f"{self.bin}+N{self.number:08d}"

    @classmethod
    def parse(cls, member: str) -> Particle | None:
        r"""Read a member name such as ``RawImages\pia7.2024-06-24.1454+N00000000.tif``.

        None for any other name; such images are classified too.
        """
        match = _PARTICLE.fullmatch(split_member(member)[1])
        if not match:
            return None
        bin_ = _bin(match["instrument"], match["date"], match["time"])
        return cls(bin_, int(match["number"])) if bin_ else None


def names_particle(base: str) -> bool:
    """True where a base name has the form of a particle's name, in upper or lower case."""
    return _PARTICLE.fullmatch(base) is not None


def particle_id(member: str) -> str:
    """The particle's identity, or the member's path without its extension."""
    particle = Particle.parse(member)
    if particle:
        return str(particle)
    base = split_member(member)[1]
    stem = base.rpartition(".")[0]
    return member[: len(member) - len(base)] + (stem or base)


# cached: a bin holds up to half a million particles
@lru_cache(maxsize=256)
def _bin(instrument: str, date: str, time: str) -> Bin | None:
    start = _stamp(date, time)
    return Bin(instrument, start) if start else None


@lru_cache(maxsize=256)
def _bin_text(bin_: Bin) -> str:
    stamp = f"{bin_.start.date()}.{bin_.start:%H%M}"  # %Y is not padded on every system
    return f"{bin_.instrument}.{stamp}" if bin_.instrument else stamp


def _stamp(date: str, time: str) -> datetime | None:
    try:
        return datetime(
            int(date[0:4]), int(date[5:7]), int(date[8:10]), int(time[0:2]), int(time[2:4]),
            tzinfo=UTC,
        )  # fmt: skip
    except ValueError:
        return None
