"""Reads TIFF tags defensively, and recognises the Pi-10's own file layout.

The instrument writes every particle with the same 17 tags and with its pixels at byte 392.
``particle_header`` recognises that layout in one step; ``Ifd`` reads any classic TIFF.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Tags:
    """Values of a particle's TIFF tags; None where absent or implausible, or a (0, 0) position."""

    when: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    um_per_px: float | None = None


NO_TAGS = Tags()

# TIFF field type -> bytes per value
_TYPE_SIZE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_MAX_ENTRIES = 512
_DATE_TIME = re.compile(rb"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)")

Entry = tuple[int, int, int]


class Ifd:
    """The first image directory of a classic TIFF.

    ``entries`` maps a tag to (field type, count, raw 32-bit value or offset).
    Raises ValueError where the directory does not lie inside the bytes.
    """

    __slots__ = ("data", "entries", "next_offset", "order")

    def __init__(
        self, data: bytes | memoryview, offset: int | None = None, order: str = ""
    ) -> None:
        self.data = data
        if not order:
            mark = bytes(data[:4])
            if mark not in (b"II*\0", b"MM\0*"):
                raise ValueError("not a classic TIFF")
            order = "<" if mark[0] == 0x49 else ">"
        self.order = order
        try:
            at = struct.unpack_from(order + "I", data, 4)[0] if offset is None else offset
            count = struct.unpack_from(order + "H", data, at)[0]
            if not 0 < count <= _MAX_ENTRIES:
                raise ValueError(f"TIFF directory has {count} entries")
            fields = struct.unpack_from(f"{order}{'HHII' * count}I", data, at + 2)
        except struct.error as error:
            raise ValueError("TIFF directory lies beyond the end of the file") from error
        self.next_offset: int = fields[-1]
        self.entries: dict[int, Entry] = dict(
            zip(
                fields[0:-1:4],
                zip(fields[1::4], fields[2::4], fields[3::4], strict=False),
                strict=True,
            )
        )

    def integer(self, tag: int, default: int = -1) -> int:
        """A single SHORT or LONG value; ``default`` where absent or of another type."""
        entry = self.entries.get(tag)
        if entry is None or entry[1] != 1 or entry[0] not in (3, 4):
            return default
        if entry[0] == 3:
            return entry[2] & 0xFFFF if self.order == "<" else entry[2] >> 16
        return entry[2]

    def raw(self, tag: int, limit: int = 256) -> bytes:
        """The value's bytes, inline or from its offset; empty where absent or out of bounds."""
        entry = self.entries.get(tag)
        if entry is None:
            return b""
        size = _TYPE_SIZE.get(entry[0], 0) * entry[1]
        if size > limit:
            return b""
        if size <= 4:
            return struct.pack(self.order + "I", entry[2])[:size]
        value = bytes(self.data[entry[2] : entry[2] + size])
        return value if len(value) == size else b""

    def rationals(self, tag: int) -> tuple[float, ...]:
        """Unsigned rationals; empty where absent or with a zero denominator."""
        if self.entries.get(tag, (0,))[0] != 5:
            return ()
        parts = self.raw(tag)
        numbers = struct.unpack(f"{self.order}{len(parts) // 4}I", parts)
        if 0 in numbers[1::2]:
            return ()
        return tuple(a / b for a, b in zip(numbers[::2], numbers[1::2], strict=True))


def read_tags(ifd: Ifd) -> Tags:
    """DateTime (306), GPS (34853) and resolution (282, 296) of a TIFF directory."""
    unit_um = {2: 25_400.0, 3: 10_000.0}.get(ifd.integer(296))
    density = ifd.rationals(282)
    um_per_px = unit_um / density[0] if unit_um and density and density[0] > 0 else None
    latitude, longitude = _position(ifd)
    return Tags(_date_time(ifd.raw(306)), latitude, longitude, um_per_px)


_YEARS = range(1990, 2100)  # within which a particle can have been imaged


@lru_cache(maxsize=1024)  # hundreds of particles pass in a second
def _date_time(text: bytes) -> datetime | None:
    # 'YYYY:MM:DD HH:MM:SS\0'; strptime costs ten times as much
    match = _DATE_TIME.match(text)
    if not match:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    if year not in _YEARS:  # a clock never set, or a damaged tag
        return None
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _position(ifd: Ifd) -> tuple[float | None, float | None]:
    offset = ifd.integer(34853)
    if offset <= 0:
        return None, None
    try:
        gps = Ifd(ifd.data, offset, ifd.order)
    except ValueError:
        return None, None
    return _coordinates(gps.raw(1), _angle(gps, 2), gps.raw(3), _angle(gps, 4))


def _coordinates(
    north: bytes, latitude_parts: tuple[float, ...], east: bytes, longitude_parts: tuple[float, ...]
) -> tuple[float | None, float | None]:
    latitude = _degrees(latitude_parts, north[:1] in b"Ss" and bool(north))
    longitude = _degrees(longitude_parts, east[:1] in b"Ww" and bool(east))
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None, None
    if latitude == 0 and longitude == 0:  # the instrument writes this for "no fix"
        return None, None
    return latitude, longitude


def _angle(gps: Ifd, tag: int) -> tuple[float, ...]:
    raw = gps.raw(tag)
    return _three(raw, gps.order) if gps.entries.get(tag, (0,))[0] == 5 and len(raw) == 24 else ()


def _degrees(parts: tuple[float, ...], negative: bool) -> float | None:
    # 59.999996 is rounded to 60
    if len(parts) != 3 or parts[1] > 60 or parts[2] > 60:
        return None
    value = parts[0] + parts[1] / 60 + parts[2] / 3600
    return -value if negative else value


_SIX = {order: struct.Struct(f"{order}6I") for order in "<>"}


def _three(raw: bytes, order: str = "<") -> tuple[float, ...]:
    """Degrees, minutes and seconds from three rationals; empty where one is not a number.

    0/0 is EXIF's "unknown". It is taken as 0 for seconds, as the minutes may have a fraction,
    and for minutes and seconds where the degrees have a fraction.
    """
    a, b, c, d, e, f = _SIX[order].unpack(raw)
    if b and d and f:
        return a / b, c / d, e / f
    if not b or e or (c and not d) or f:
        return ()
    if d:
        return a / b, c / d, 0.0
    return (a / b, 0.0, 0.0) if a % b else ()


PIXEL_OFFSET = 392
_HEADER = struct.Struct("<18sI8sI68s4s32sI8sI64s18s22s4s20s4s32s20s24s24s6s")
# The constant parts of the instrument's header, as (index in _HEADER, bytes). Not constant are
# sizes, the model tag, 18 bytes of uninitialised memory, GPS references and values, and time.
_CONSTANT = (
    (0, "49492a00080000001100000104000100 0000"),
    (2, "0101040001000000"),
    (
        4,
        "0201030003000000820100000301030001000000010000000601030001000000020000000d01020001000000"
        "000000000e01020001000000000000001001020004000000",
    ),
    (6, "1101040001000000880100001501030001000000030000001601040001000000"),
    (8, "1701040001000000"),
    (
        10,
        "1a010500010000002e0100001b01050001000000360100002801030001000000030000003201020014000000"
        "3e0100002588040001000000ec00000000000000",
    ),
    (12, "0500000001000400000002020000010002000200 0000"),
    (14, "0200050003000000520100000300020002000000"),
    (16, "04000500030000006a01000000000000e803000001000000e803000001000000"),
    (20, "080008000800"),
)
_constant_parts = itemgetter(*(index for index, _ in _CONSTANT))
_EXPECTED = tuple(bytes.fromhex(text) for _, text in _CONSTANT)
_NO_FIX = bytes.fromhex("0000000001000000 00000000a0860100 0000000001000000")


class ParticleHeader(NamedTuple):
    """The instrument's own header: 8-bit RGB, one uncompressed strip at byte 392."""

    width: int
    height: int
    tags: Tags


def particle_header(data: bytes | memoryview) -> ParticleHeader | None:
    """Recognise the instrument's own layout; None for any other file, even a similar one.

    Written by hand for speed. All other files take the general path (``Ifd`` and a decoder);
    a test checks that both find the same pixels and tags.
    """
    if len(data) < PIXEL_OFFSET:
        return None
    fields = _HEADER.unpack_from(data)
    width, height = fields[1], fields[3]
    if (
        _constant_parts(fields) != _EXPECTED
        or fields[7] != height
        or fields[9] != width * height * 3
        or not fields[9]
    ):
        return None
    return ParticleHeader(width, height, _header_tags(*_varying_parts(fields)))


# the references and values of latitude and longitude, and DateTime
_varying_parts = itemgetter(13, 18, 15, 19, 17)


@lru_cache(maxsize=1024)  # the ship's position changes once a second
def _header_tags(north: bytes, latitude: bytes, east: bytes, longitude: bytes, at: bytes) -> Tags:
    when = _date_time(at)
    if latitude == _NO_FIX and longitude == _NO_FIX:
        return Tags(when, None, None, 10.0)
    return Tags(when, *_coordinates(north, _three(latitude), east, _three(longitude)), 10.0)
