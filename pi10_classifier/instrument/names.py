"""What the Plankton Imager Pi-10 says in names and sidecars: particles, bins, hits and misses.

Its TIFF tags are read in ``tiff.py``. The instrument's clock is taken as UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache

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
"""Hits and misses of each minute; None where a row says nothing."""


class Kind(Enum):
    """What a member is, judged by its name alone."""

    IMAGE = "image"
    HITS_MISSES = "hits_misses"
    SIDECAR = "sidecar"
    OTHER = "other"


@lru_cache(maxsize=256)  # each name is asked about several times in a row
def split_member(member: str) -> tuple[str, str]:
    r"""``RawImages\pia7….tif`` -> (folder, base name); ``/`` and ``\`` both separate."""
    cut = max(member.rfind("/"), member.rfind("\\"))
    return member[: max(cut, 0)], member[cut + 1 :]


def kind_of(member: str) -> Kind:
    """Judge a member by its name; content has the last word at the decoder gate."""
    base = split_member(member)[1].lower()
    if base in _SIDECARS:
        return Kind.HITS_MISSES if base == "hitsmisses.txt" else Kind.SIDECAR
    if base.startswith("."):  # AppleDouble twins (._x.tif) and desktop litter
        return Kind.OTHER
    return Kind.IMAGE if base.endswith(SUFFIXES) else Kind.OTHER


def is_background(member: str) -> bool:
    """True for the picture of the empty flow cell that lies beside a bin's particles."""
    return split_member(member)[1].lower() == "background.tif"


def bin_folder(member: str) -> str:
    """The folder a member's bin lives in: its own, less a trailing ``RawImages``."""
    folder = split_member(member)[0]
    parent, last = split_member(folder)
    found = parent if last.lower() == "rawimages" else folder
    return "" if found == "." else found.removeprefix("./")  # as some tars write it


@dataclass(frozen=True, slots=True, order=True)
class Bin:
    """A recording of up to ten minutes, named by its instrument and start (UTC).

    ``instrument`` is empty where only the archive's path names the bin.
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
        """``…/2024-06-24/1450.tar`` or ``…/2024-06-24/1450`` -> its bin, if it names one."""
        found = list(_ARCHIVED_BIN.finditer(path))
        start = _stamp(found[-1]["date"], found[-1]["time"]) if found else None
        return cls("", start) if start else None

    @classmethod
    def parse(cls, text: str) -> Bin | None:
        """The inverse of ``str``."""
        found = _BIN.fullmatch(text)
        start = _stamp(found["date"], found["time"]) if found else None
        return cls(found["instrument"] or "", start) if found and start else None


@dataclass(frozen=True, slots=True)
class Particle:
    """The identity of one particle: unique over instruments, bins and cruises."""

    bin: Bin
    number: int

    def __str__(self) -> str:
        return f"{self.bin}+N{self.number:08d}"

    @classmethod
    def parse(cls, member: str) -> Particle | None:
        r"""Read a member name such as ``RawImages\pia7.2024-06-24.1454+N00000000.tif``.

        None where the name is not the instrument's: such images are classified too.
        """
        found = _PARTICLE.fullmatch(split_member(member)[1])
        if not found:
            return None
        bin_ = _bin(found["instrument"], found["date"], found["time"])
        return cls(bin_, int(found["number"])) if bin_ else None


def names_particle(base: str) -> bool:
    """True where a base name has the form of the instrument's names, in any case."""
    return _PARTICLE.fullmatch(base) is not None


def particle_id(member: str) -> str:
    """The particle's identity, or the member's path without its extension."""
    particle = Particle.parse(member)
    if particle:
        return str(particle)
    base = split_member(member)[1]
    stem = base.rpartition(".")[0]
    return member[: len(member) - len(base)] + (stem or base)


# A bin holds up to half a million particles: its name is parsed and written once.
@lru_cache(maxsize=256)
def _bin(instrument: str, date: str, time: str) -> Bin | None:
    start = _stamp(date, time)
    return Bin(instrument, start) if start else None


@lru_cache(maxsize=256)
def _bin_text(bin_: Bin) -> str:
    stamp = f"{bin_.start.date()}.{bin_.start:%H%M}"  # %Y is not padded everywhere
    return f"{bin_.instrument}.{stamp}" if bin_.instrument else stamp


def _stamp(date: str, time: str) -> datetime | None:
    try:
        return datetime(
            int(date[0:4]), int(date[5:7]), int(date[8:10]), int(time[0:2]), int(time[2:4]),
            tzinfo=UTC,
        )  # fmt: skip
    except ValueError:
        return None
