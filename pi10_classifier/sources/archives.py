"""Members of tar and zip archives as a stream; nothing is ever extracted to disk.

The tar reader is our own because ``tarfile`` ends silently at a damaged header, which
loses every image behind it, and walks members at half the speed the decoder needs.
A test holds both to the same members for ustar, PAX and GNU archives.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from pi10_classifier.errors import Code, InputError
from pi10_classifier.sources.base import LIMITS, Item, Limits, Member, corrupt, unreadable
from pi10_classifier.sources.input_rules import skip_reason
from pi10_classifier.sources.tar import BLOCK, tar_members
from pi10_classifier.sources.zip import zip_members


def is_archive(name: str) -> bool:
    """Judge by the name whether a file is an archive this module streams."""
    return name.lower().endswith(
        (".tar", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
    )


def looks_like_archive(head: bytes) -> bool:
    """True where the first 512 bytes are those of a tar, zip or compressed file."""
    return head[257:262] == b"ustar" or head.startswith(
        (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
    )


def members(stream: BinaryIO, size: int, limits: Limits = LIMITS) -> Iterator[Member]:
    """Stream an archive's members in their order; ``stream`` must seek, ``size`` its bytes.

    Raises InputError (archive_corrupt, archive_limit) once the rest cannot be read;
    what was yielded before stays good.
    """
    head = stream.read(BLOCK)
    stream.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        yield from zip_members(stream, size, limits)
        return
    opened: BinaryIO = stream
    for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if head.startswith(magic):
            opened = cast("BinaryIO", _Counted(opener(stream, "rb"), size, limits))
    try:
        yield from tar_members(opened, limits)
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise corrupt(f"the compressed stream is damaged: {error}") from error
    except MemoryError as error:
        raise InputError(Code.ARCHIVE_LIMIT, "its compression needs too much memory") from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 say so of bad data; a disk gives a number
            raise corrupt(f"the compressed stream is damaged: {error}") from error
        raise


class _Counted:
    """A decompressing reader that gives up beyond the ratio cap."""

    def __init__(self, stream: object, size: int, limits: Limits) -> None:
        self._stream = cast("BinaryIO", stream)
        self._cap = limits.free_bytes + limits.ratio * size
        self._limits = limits
        self._out = 0

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self._out += len(data)
        if self._out > self._cap:
            raise InputError(
                Code.ARCHIVE_LIMIT,
                f"expands beyond {self._limits.ratio} to 1; not read further",
            )
        return data


def archive_items(source: str, stream: BinaryIO, size: int, limits: Limits) -> Iterator[Item]:
    """The items of one archive; a failure of the archive itself is its last item."""
    try:
        for member in members(stream, size, limits):
            if member.name and skip_reason(member.name):
                yield Item(source, member.name)
            else:
                yield Item(source, member.name, member.data, member.error)
    except InputError as error:
        yield Item(source, "", error=error)
    except OSError as error:
        yield Item(source, "", error=unreadable(error))
