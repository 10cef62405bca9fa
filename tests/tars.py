"""Tar archives drawn up for tests, and what the reader under test makes of them."""

from __future__ import annotations

import io
import tarfile

from pi10_classifier.archives import (
    LIMITS,
    Limits,
    Member,
    members,
)
from pi10_classifier.errors import Code, InputError

FORMATS = (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
PARTICLE = "RawImages\\pia7.2024-06-24.1454+N00000000.tif"


def read(data: bytes, limits: Limits = LIMITS) -> tuple[list[Member], Code | None]:
    """All members, and the code the archive ended with."""
    found = []
    try:
        for member in members(io.BytesIO(data), len(data), limits):
            found.append(member)
    except InputError as error:
        assert error.message
        return found, error.code
    return found, None


def contents(data: bytes) -> list[tuple[str, bytes | None]]:
    found, code = read(data)
    assert code is None
    assert all(member.error is None for member in found)
    return [(member.name, member.data) for member in found]


def tar_of(
    *files: tuple[str, bytes], form: int = tarfile.PAX_FORMAT, pax: dict[str, str] | None = None
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.pax_headers = pax or {}
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def as_tarfile_reads(data: bytes) -> list[tuple[str, bytes | None]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = []
        for info in tar:
            opened = tar.extractfile(info)
            found.append((info.name, opened.read() if opened else None))
        return found


def header(
    name: bytes = b"a.tif",
    size: bytes = b"00000000003\0",
    kind: bytes = b"0",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
) -> bytes:
    """One tar header with a right checksum, whatever its fields."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124 : 124 + len(size)] = size
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257 : 257 + len(magic)] = magic
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


END = bytes(1024)
ABC = padded(b"abc")
TWO = tar_of(("a.tif", b"a" * 700), ("b.tif", b"b" * 3), form=tarfile.USTAR_FORMAT)
