"""The image formats that can be read, each with its first bytes and file name suffixes.

A format added here must also be handled by the decoder, ``imaging/decode.py``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """name: Pillow's name. suffixes: the usual one first. magic: the possible first bytes."""

    name: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...]


FORMATS = (
    # little and big endian, classic and BigTIFF
    ImageFormat("TIFF", (".tif", ".tiff"), (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ImageFormat("PNG", (".png",), (b"\x89PNG\r\n\x1a\n",)),
    ImageFormat("JPEG", (".jpg", ".jpeg"), (b"\xff\xd8\xff",)),
)
SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)
NAMES = f"{', '.join(f.name for f in FORMATS[:-1])} or {FORMATS[-1].name}"
"""The formats' names as they appear in messages."""


def format_of(head: bytes) -> str | None:
    """The name of the format whose files begin with ``head``; None where no format matches."""
    for known in FORMATS:
        if head.startswith(known.magic):
            return known.name
    return None
