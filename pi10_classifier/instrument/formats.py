"""The image formats that are read, and how each is told: by its first bytes and its names.

A format that is added here must pass the decoder gate too, ``imaging/decode.py``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """name: Pillow's. suffixes: the usual one first. magic: how files begin."""

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
"""The formats as messages name them."""


def format_of(head: bytes) -> str | None:
    """The name of the format of a file that begins so; None for none of them."""
    for known in FORMATS:
        if head.startswith(known.magic):
            return known.name
    return None
