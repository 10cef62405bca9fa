"""Encodes an RGB array as a TIFF, byte for byte as the Pi-10 writes it.

The 392-byte header has 17 tags, a private 18-byte field, the GPS tags and their values. After the
strip follow one background line (BGR) and a footer of six int16. The meaning of the private field
and of the footer was inferred from genuine files: see ``Place`` and ``footer_of``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

HEADER_SIZE = 392
BLOCK_LINES = 128  # the camera delivers blocks of 128 lines
MINUTE_UNITS = 100_000  # denominator of the GPS minutes

# (tag, type, count, value or offset); width, height and strip size are filled in per image.
_TAGS = (
    (256, 4, 1, 0),
    (257, 4, 1, 0),
    (258, 3, 3, 386),
    (259, 3, 1, 1),
    (262, 3, 1, 2),
    (269, 2, 1, 0),
    (270, 2, 1, 0),
    (272, 2, 4, int.from_bytes(b"6.0\0", "little")),
    (273, 4, 1, HEADER_SIZE),
    (277, 3, 1, 3),
    (278, 4, 1, 0),
    (279, 4, 1, 0),
    (282, 5, 1, 302),
    (283, 5, 1, 310),
    (296, 3, 1, 3),
    (306, 2, 20, 318),
    (34853, 4, 1, 236),
)
_GPS_TAGS = (
    (0, 1, 4, 0x0202),
    (1, 2, 2, ord("N")),
    (2, 5, 3, 338),
    (3, 2, 2, ord("E")),
    (4, 5, 3, 362),
)


def _template() -> bytes:
    def directory(entries: Sequence[tuple[int, int, int, int]]) -> bytes:
        body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        return struct.pack("<H", len(entries)) + body + bytes(4)

    return b"".join(
        (
            struct.pack("<2sHI", b"II", 42, 8),
            directory(_TAGS),
            struct.pack("<HIIII", 3, 0, 0, 0, 0),  # private: see Place
            directory(_GPS_TAGS),
            struct.pack("<4I", 1000, 1, 1000, 1),  # 1000 px per cm = 10 µm per px
            bytes(20),  # DateTime
            struct.pack("<6I", 0, 1, 0, MINUTE_UNITS, 0, 1) * 2,  # latitude, longitude
            struct.pack("<3H", 8, 8, 8),
        )
    )


_TEMPLATE = _template()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the camera saw the particle (inferred from 17 genuine files).

    column: first sensor column, px. line: first line inside its block, 0..127. block, last_block:
    running numbers of the blocks in which the particle begins and ends, about 782 per second;
    ``last_block - block = (line + height - 1) // 128``.
    """

    column: int = 0
    line: int = 0
    block: int = 0
    last_block: int = 0

    @classmethod
    def seen(cls, column: int, line: int, block: int, height: int) -> Place:
        """The place of a particle ``height`` lines tall that begins at ``block``."""
        return cls(column, line, block, block + (line + height - 1) // BLOCK_LINES)


def _angle(degrees: float) -> tuple[int, int]:
    """|degrees| -> whole degrees and minutes in units of 1/100,000."""
    units = round(abs(degrees) * 60 * MINUTE_UNITS)
    return divmod(units, 60 * MINUTE_UNITS)


def background_of(rgb: U8) -> U8:
    """RGB (H, W, 3) -> one line (W, 3), BGR: the mean of the outermost two lines."""
    mean = (rgb[0].astype(np.uint16) + rgb[-1]) >> 1
    return np.ascontiguousarray(mean[:, ::-1].astype(np.uint8))


def footer_of(rgb: U8, background: U8) -> tuple[int, ...]:
    """Six int16, BGR twice: the negative mean of the background, then the darkest value."""
    # one pass per channel: numpy's reduction over (H, W) of (H, W, 3) is ten times slower
    darkest = (int(rgb[:, :, channel].min()) for channel in (2, 1, 0))
    return (*(-round(float(level)) for level in background.mean(axis=0)), *darkest)


def encode_tiff(
    rgb: U8,
    when: datetime,
    latitude: float | None,
    longitude: float | None,
    *,
    place: Place | None = None,
    background: U8 | None = None,
    footer: Sequence[int] | None = None,
) -> bytes:
    """RGB (H, W, 3) uint8 -> the instrument's TIFF.

    when: moment of capture, stored to the second; UTC where it has no zone. latitude, longitude:
    degrees, south and west negative; both None for no fix, which the instrument writes as (0, 0)
    north and east. background: the line after the strip, (W, 3) uint8 BGR. footer: six int16.
    Background and footer are derived from the image where they are not given. The instrument's own
    images have multiples of 8 for W and H; any other size can be written too. Raises ValueError
    for arrays of another shape or type, and for an impossible position.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(f"expected uint8 (H, W, 3), got {rgb.dtype} {rgb.shape}")
    if (latitude is None) != (longitude is None):
        raise ValueError(f"latitude is {latitude} and longitude {longitude}; give both or neither")
    if abs(latitude or 0.0) > 90 or abs(longitude or 0.0) > 180:
        raise ValueError(f"position {latitude}, {longitude} is outside 90 and 180 degrees")
    height, width = rgb.shape[:2]
    line = background_of(rgb) if background is None else background
    if line.shape != (width, 3) or line.dtype != np.uint8:
        raise ValueError(f"background must be uint8 ({width}, 3), got {line.dtype} {line.shape}")
    if when.tzinfo is not None:
        when = when.astimezone(UTC)
    spot = place or Place()

    header = bytearray(_TEMPLATE)
    pixels = width * height * 3
    for offset, value in ((18, width), (30, height), (138, height), (150, pixels)):
        struct.pack_into("<I", header, offset, value)
    struct.pack_into("<4I", header, 220, spot.column, spot.line, spot.block, spot.last_block)
    header[318:337] = f"{when:%Y:%m:%d %H:%M:%S}".encode("ascii")
    if latitude is not None and longitude is not None:
        header[258] = ord("S" if latitude < 0 else "N")
        header[282] = ord("W" if longitude < 0 else "E")
        for offset, value in ((338, latitude), (362, longitude)):
            degrees, minutes = _angle(value)
            struct.pack_into("<I", header, offset, degrees)
            struct.pack_into("<I", header, offset + 8, minutes)
    end = struct.pack("<6h", *(footer_of(rgb, line) if footer is None else footer))
    return b"".join((header, rgb.tobytes(), line.tobytes(), end))
