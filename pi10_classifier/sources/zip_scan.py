"""Reads the members of a zip without its directory, by the local header before each member.

A zip's directory lies at its end, so a truncated copy lacks it and a bad sector may damage it,
while the members before it are intact. Each member is checked by its CRC. Only one member is
held in memory, and the usual caps apply.
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
_NEWEST = 99  # highest format version that a reader may need, in tenths
BOMB_BYTES = 2**20 * 16


@dataclass(frozen=True, slots=True)
class LocalHeader:
    """A local header; ``at`` is where the data begins, and an unknown size is -1."""

    name: str
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    at: int

    @property
    def is_streamed(self) -> bool:
        """True where CRC and sizes follow the data."""
        return bool(self.flags & 0x8)


def next_header(stream: BinaryIO, at: int) -> LocalHeader | None:
    """The first local header from byte ``at`` on; None where there is none."""
    while (at := _find(stream, _LOCAL, at)) >= 0:
        stream.seek(at)
        raw = stream.read(_HEADER.size)
        if len(raw) < _HEADER.size:
            return None
        _, version, flags, method, _, _, crc, compressed, size, names, extras = _HEADER.unpack(raw)
        if method not in _METHODS or version & 0xFF > _NEWEST:
            at += 4  # four bytes of an image that look like a header
            continue
        name, extra = stream.read(names), stream.read(extras)
        if _UNKNOWN in (compressed, size):
            compressed, size = _zip64(extra, compressed, size)
        if flags & 0x8:
            compressed, size = compressed or -1, size or -1
        text = name.decode("utf-8" if flags & 0x800 else "cp437", "backslashreplace")
        begin = at + _HEADER.size + names + extras
        return LocalHeader(text, flags, method, crc, compressed, size, begin)
    return None


def unpack(stream: BinaryIO, entry: LocalHeader, cap: int, ratio: int) -> tuple[bytes, int]:
    """A member's bytes and its end. Raises InputError where they are incomplete or damaged."""
    if entry.flags & 0x1:
        raise InputError(Code.ARCHIVE_UNSAFE, "encrypted; store it without a password")
    if max(entry.size, entry.compressed if entry.method == _STORED else 0) > cap:
        raise InputError(
            Code.TOO_LARGE,
            f"{max(entry.size, entry.compressed):,} bytes; the cap is {cap:,}; "
            "raise it if the file is genuine",
        )
    if entry.method == _DEFLATED:
        data, end = _inflate(stream, entry, cap, ratio)
    elif entry.method == _STORED:
        data, end = _stored(stream, entry, cap)
    else:
        raise InputError(
            Code.UNSUPPORTED_FORMAT,
            f"zip method {entry.method} cannot be read without the zip's directory; "
            "make the zip again with deflate",
        )
    crc = entry.crc
    if entry.is_streamed:
        crc, end = _descriptor(stream, end)
    elif len(data) != entry.size:
        raise _damaged(f"it has {len(data):,} of {entry.size:,} bytes")
    if zlib.crc32(data) != crc:
        raise _damaged("its checksum is wrong")
    return data, end


def _inflate(stream: BinaryIO, entry: LocalHeader, cap: int, ratio: int) -> tuple[bytes, int]:
    stream.seek(entry.at)
    inflater = zlib.decompressobj(-15)
    out = bytearray()
    consumed = 0
    left = entry.compressed if entry.compressed >= 0 else -1
    try:
        while not inflater.eof:
            piece = inflater.unconsumed_tail
            if not piece:
                piece = stream.read(_PIECE if left < 0 else min(_PIECE, left))
                left -= len(piece) if left >= 0 else 0
                consumed += len(piece)
                if not piece:
                    raise _damaged(f"the archive ends inside it, after {len(out):,} bytes")
            out += inflater.decompress(piece, _PIECE * 4)
            if len(out) > cap:
                raise InputError(
                    Code.TOO_LARGE,
                    f"more than {cap:,} bytes, the cap; raise it if the file is genuine",
                )
            if len(out) > BOMB_BYTES and len(out) > consumed * ratio:
                raise InputError(
                    Code.DECOMPRESSION_BOMB,
                    f"more than {len(out):,} bytes from {consumed:,}; not read",
                )
    except zlib.error as error:
        raise _damaged(str(error)) from error
    return bytes(out), entry.at + consumed - len(inflater.unused_data)


def _stored(stream: BinaryIO, entry: LocalHeader, cap: int) -> tuple[bytes, int]:
    length = entry.compressed
    if entry.is_streamed and length < 0:
        # the length is known only from a descriptor that matches it
        at = entry.at
        while (at := _find(stream, _DESCRIPTOR, at, entry.at + cap)) >= 0:
            stream.seek(at + 8)
            raw = stream.read(4)
            if len(raw) == 4 and struct.unpack("<I", raw)[0] == at - entry.at:
                break
            at += 4
        if at < 0:
            raise _damaged("its end cannot be found")
        length = at - entry.at
    stream.seek(entry.at)
    data = stream.read(length)
    if len(data) < length:
        raise _damaged(f"the archive ends inside it: {len(data):,} of {length:,} bytes")
    return data, entry.at + length


def _descriptor(stream: BinaryIO, at: int) -> tuple[int, int]:
    """The CRC that follows a member's data, and the end; the signature is optional."""
    stream.seek(at)
    raw = stream.read(8)
    skip = 4 if raw.startswith(_DESCRIPTOR) else 0
    if len(raw) < 4 + skip:
        raise _damaged("the archive ends before its checksum")
    return struct.unpack_from("<I", raw, skip)[0], at + skip + 4


def _zip64(extra: bytes, compressed: int, size: int) -> tuple[int, int]:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        values = extra[4 : 4 + length]
        if kind == 1:
            wanted = [name for name, value in (("size", size), ("compressed", compressed))
                      if value == _UNKNOWN]  # fmt: skip
            sizes = dict(zip(wanted, struct.unpack_from(f"<{len(values) // 8}Q", values),
                             strict=False))  # fmt: skip
            return sizes.get("compressed", compressed), sizes.get("size", size)
        extra = extra[4 + length :]
    return compressed, size


def _find(stream: BinaryIO, signature: bytes, at: int, before: int | None = None) -> int:
    """The next position of a signature of four bytes; -1 where there is none before ``before``."""
    stream.seek(at)
    held = b""
    while before is None or at <= before:
        piece = stream.read(_PIECE)
        if not piece:
            return -1
        held += piece
        offset = held.find(signature)
        if offset >= 0:
            return at + offset
        at += len(held) - 3 if len(held) > 3 else 0
        held = held[-3:]
    return -1


def _damaged(problem: str) -> InputError:
    message = f"its zip entry is damaged: {problem}; fetch the archive again"
    return InputError(Code.CORRUPT_IMAGE, message)
