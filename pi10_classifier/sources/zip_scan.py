"""Members of a zip whose directory is lost, by the headers that stand before each of them.

A zip's directory is at its end, which a cut copy lacks and a damaged sector may hit; the
members before are whole. Each is checked by its CRC. One at a time is held, and the caps
are those of every archive.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from pi10_classifier.errors import Code, InputError

_LOCAL, _DESCRIPTOR = b"PK\x03\x04", b"PK\x07\x08"
_HEADER = struct.Struct("<4s5H3I2H")
_PIECE = 2**16
_STORED, _DEFLATED = 0, 8
_METHODS = frozenset({0, 1, 6, 8, 9, 12, 14, 19, 93, 95, 98, 99})
_UNKNOWN = 0xFFFFFFFF
_NEWEST = 99  # version of the format that a reader needs, in tenths
BOMB_BYTES = 2**20 * 16


@dataclass(frozen=True, slots=True)
class Local:
    """A local header: where its data begins, and what it says of it; sizes -1 if unsaid."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    at: int

    @property
    def is_streamed(self) -> bool:
        """True where CRC and sizes stand behind the data."""
        return bool(self.flags & 0x8)


def next_header(stream: BinaryIO, at: int) -> Local | None:
    """The first place from byte ``at`` on that begins as a local header does."""
    while (at := _find(stream, _LOCAL, at)) >= 0:
        stream.seek(at)
        raw = stream.read(_HEADER.size)
        if len(raw) < _HEADER.size:
            return None
        _, version, flags, method, _, _, crc, packed, size, names, extras = _HEADER.unpack(raw)
        if method not in _METHODS or version & 0xFF > _NEWEST:
            at += 4  # four bytes of an image that look alike
            continue
        name, extra = stream.read(names), stream.read(extras)
        if _UNKNOWN in (packed, size):
            packed, size = _zip64(extra, packed, size)
        if flags & 0x8:
            packed, size = packed or -1, size or -1
        text = name.decode("utf-8" if flags & 0x800 else "cp437", "backslashreplace")
        begin = at + _HEADER.size + names + extras
        return Local(text, flags, method, crc, packed, size, begin)
    return None


def unpack(stream: BinaryIO, entry: Local, cap: int, ratio: int) -> tuple[bytes, int]:
    """A member's bytes and where it ends. Raises InputError where they are not whole."""
    if entry.flags & 0x1:
        raise InputError(Code.ARCHIVE_UNSAFE, "encrypted; store it without a password")
    if max(entry.size, entry.packed if entry.method == _STORED else 0) > cap:
        what = f"{max(entry.size, entry.packed):,} bytes; the cap is {cap:,}; raise it if genuine"
        raise InputError(Code.TOO_LARGE, what)
    if entry.method == _DEFLATED:
        data, end = _inflate(stream, entry, cap, ratio)
    elif entry.method == _STORED:
        data, end = _stored(stream, entry, cap)
    else:
        what = f"zip method {entry.method} without the zip's directory; rezip"
        raise InputError(Code.UNSUPPORTED_FORMAT, what)
    crc = entry.crc
    if entry.is_streamed:
        crc, end = _descriptor(stream, end)
    elif len(data) != entry.size:
        raise _damaged(f"{len(data):,} bytes of {entry.size:,}")
    if zlib.crc32(data) != crc:
        raise _damaged("its checksum is wrong")
    return data, end


def _inflate(stream: BinaryIO, entry: Local, cap: int, ratio: int) -> tuple[bytes, int]:
    stream.seek(entry.at)
    inflater = zlib.decompressobj(-15)
    out = bytearray()
    taken = 0
    left = entry.packed if entry.packed >= 0 else -1
    try:
        while not inflater.eof:
            piece = inflater.unconsumed_tail
            if not piece:
                piece = stream.read(_PIECE if left < 0 else min(_PIECE, left))
                left -= len(piece) if left >= 0 else 0
                taken += len(piece)
                if not piece:
                    raise _damaged(f"the archive ends inside it, after {len(out):,} bytes")
            out += inflater.decompress(piece, _PIECE * 4)
            if len(out) > cap:
                raise InputError(Code.TOO_LARGE, f"over {cap:,} bytes; raise the cap if genuine")
            if len(out) > BOMB_BYTES and len(out) > taken * ratio:
                what = f"over {len(out):,} bytes from {taken:,}; not read"
                raise InputError(Code.DECOMPRESSION_BOMB, what)
    except zlib.error as error:
        raise _damaged(str(error)) from error
    return bytes(out), entry.at + taken - len(inflater.unused_data)


def _stored(stream: BinaryIO, entry: Local, cap: int) -> tuple[bytes, int]:
    length = entry.packed
    if entry.is_streamed and length < 0:
        # its length is known by the descriptor that says it
        at = entry.at
        while (at := _find(stream, _DESCRIPTOR, at, entry.at + cap)) >= 0:
            stream.seek(at + 8)
            said = stream.read(4)
            if len(said) == 4 and struct.unpack("<I", said)[0] == at - entry.at:
                break
            at += 4
        if at < 0:
            raise _damaged("its end is not found")
        length = at - entry.at
    stream.seek(entry.at)
    data = stream.read(length)
    if len(data) < length:
        raise _damaged(f"the archive ends inside it: {len(data):,} of {length:,} bytes")
    return data, entry.at + length


def _descriptor(stream: BinaryIO, at: int) -> tuple[int, int]:
    """The CRC behind a member's data; its signature may be left out."""
    stream.seek(at)
    raw = stream.read(8)
    skip = 4 if raw.startswith(_DESCRIPTOR) else 0
    if len(raw) < 4 + skip:
        raise _damaged("the archive ends before its checksum")
    return struct.unpack_from("<I", raw, skip)[0], at + skip + 4


def _zip64(extra: bytes, packed: int, size: int) -> tuple[int, int]:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        values = extra[4 : 4 + length]
        if kind == 1:
            wanted = [name for name, value in (("size", size), ("packed", packed))
                      if value == _UNKNOWN]  # fmt: skip
            found = dict(zip(wanted, struct.unpack_from(f"<{len(values) // 8}Q", values),
                             strict=False))  # fmt: skip
            return found.get("packed", packed), found.get("size", size)
        extra = extra[4 + length :]
    return packed, size


def _find(stream: BinaryIO, what: bytes, at: int, before: int | None = None) -> int:
    """The next place of four bytes, -1 where there is none (before ``before``)."""
    stream.seek(at)
    held = b""
    while before is None or at <= before:
        piece = stream.read(_PIECE)
        if not piece:
            return -1
        held += piece
        found = held.find(what)
        if found >= 0:
            return at + found
        at += len(held) - 3 if len(held) > 3 else 0
        held = held[-3:]
    return -1


def _damaged(why: str) -> InputError:
    what = f"its zip entry is damaged: {why}; fetch the archive again"
    return InputError(Code.CORRUPT_IMAGE, what)
