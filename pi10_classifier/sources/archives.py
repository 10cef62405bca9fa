"""Streams the members of tar and zip archives; nothing is extracted to disk.

The tar reader is our own: ``tarfile`` ends silently at a damaged header and loses every image
behind it, and it reads members at half the speed that the decoder needs. A test checks that
both find the same members in ustar, PAX and GNU archives.
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
    """True where a file's name is that of an archive that this module reads."""
    return name.lower().endswith(
        (".tar", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
    )


def looks_like_archive(head: bytes) -> bool:
    """True where ``head``, the first 512 bytes, is that of a tar, zip or compressed file."""
    return head[257:262] == b"ustar" or head.startswith(
        (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
    )


def members(stream: BinaryIO, size: int, limits: Limits = LIMITS) -> Iterator[Member]:
    """Yield an archive's members in order; ``stream`` must be seekable and has ``size`` bytes.

    Raises InputError (archive_corrupt, archive_limit) where the rest cannot be read; the
    members yielded before that are valid.
    """
    head = stream.read(BLOCK)
    stream.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        yield from zip_members(stream, size, limits)
        return
    opened: BinaryIO = stream
    for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if head.startswith(magic):
            opened = cast("BinaryIO", _LimitedReader(opener(stream, "rb"), size, limits))
    try:
        yield from tar_members(opened, limits)
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise corrupt(f"the compressed stream is damaged: {error}") from error
    except MemoryError as error:
        raise InputError(
            Code.ARCHIVE_LIMIT, "its compression needs too much memory; compress it again"
        ) from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 raise it for bad data; disk errors have a number
            raise corrupt(f"the compressed stream is damaged: {error}") from error
        raise


class _LimitedReader:
    """A decompressing reader that raises InputError beyond the ratio cap."""

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
                f"expands to more than {self._limits.ratio} times its size; the rest was not read",
            )
        return data


def archive_items(source: str, stream: BinaryIO, size: int, limits: Limits) -> Iterator[Item]:
    """The items of one archive; where the archive itself fails, the failure is the last item."""
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
