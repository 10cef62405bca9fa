"""Reads the members of a tar as a stream."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pi10_classifier.errors import Code, InputError
from pi10_classifier.sources.base import MAX_NAME_CHARS, Limits, Member, corrupt, too_large

BLOCK = 512
_PIECE = 2**20
_ZERO_PIECE = bytes(_PIECE)
_ZEROS = bytes(BLOCK)


def tar_members(stream: BinaryIO, limits: Limits) -> Iterator[Member]:
    """Yield the members of an uncompressed tar in order; ``stream`` need not be seekable.

    A member that cannot be used has an error. Raises InputError (archive_corrupt, archive_limit)
    where the rest of the tar cannot be read.
    """
    read: Callable[[int], bytes] = stream.read
    count = 0
    pax: dict[str, str] = {}
    common: dict[str, str] = {}
    long_name: str | None = None
    position = zeros = 0
    ahead: _LookaheadReader | None = None
    while True:
        head = read(BLOCK)
        ends = (not head and position) or (zeros and not any(head) and len(head) < BLOCK)
        if (pax or long_name) and (ends or head == _ZEROS):
            raise corrupt(f"a name at byte {position:,} is followed by no member")
        if ends:
            # some writers leave out the end marker, so a cut exactly here cannot be detected
            return
        if head == _ZEROS:
            # the end marker or a hole: read on, as members may follow a hole, and a compressed
            # stream has its checksum at the very end
            position += BLOCK
            zeros += 1
            if zeros > 1:  # a long hole is skipped a megabyte at a time, for speed
                ahead = ahead or _LookaheadReader(read)
                read = ahead.read
                position += ahead.skip_zeros()
            continue
        if len(head) < BLOCK:
            raise corrupt(f"the archive ends at byte {position + len(head):,}, inside a header")
        # the checksum covers the header with its own field blank. The lower half of Adler-32 is
        # one more than the sum of the bytes modulo 65521: a tenth of the time of adding them
        added = zlib.adler32(head[:148] + head[156:]) & 0xFFFF
        if added != (_number(head[148:156], position) - 255) % 65521:
            raise corrupt(f"the tar header at byte {position:,} is damaged")
        kind = head[156]
        size = _number(head[124:136], position)
        position += BLOCK
        padded = (size + BLOCK - 1) // BLOCK * BLOCK
        if kind in b"xXgLK":
            if size > limits.name_bytes:
                raise InputError(
                    Code.ARCHIVE_LIMIT,
                    f"a name record has {size:,} bytes; the cap is {limits.name_bytes:,}; "
                    "shorten the name",
                )
            record = _read_exactly(read, padded, position)[:size]
            position += padded
            if kind in b"xX":
                pax = _pax(record, position)
            elif kind == 0x67:
                common |= _pax(record, position)
            elif kind == 0x4C:
                long_name = _text(record.split(b"\0", 1)[0])
            continue
        count += 1
        if count > limits.members:
            raise InputError(
                Code.ARCHIVE_LIMIT, f"more than {limits.members:,} members; split the archive"
            )
        extended = common | pax if common or pax else pax
        name = extended.get("GNU.sparse.name") or extended.get("path") or long_name or _name(head)
        too_long = len(name) > MAX_NAME_CHARS
        if too_long:  # long names in many failures would fill the memory
            name = f"{name[:100]}…"
        if "size" in extended:
            digits = extended["size"]
            if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
                raise corrupt(f"member {name[:80]!r} has the size {digits[:20]!r}")
            size = int(digits)
            padded = (size + BLOCK - 1) // BLOCK * BLOCK
        sparse = kind == 0x53 or "GNU.sparse" in extended
        pax, long_name = {}, None
        if kind in b"12346":
            noun = {0x31: "a hard link", 0x32: "a symbolic link", 0x36: "a FIFO"}.get(
                kind, "a device"
            )
            yield Member(
                name,
                error=InputError(
                    Code.ARCHIVE_UNSAFE, f"{noun}, which is never followed; store the file itself"
                ),
            )
            continue
        if kind == 0x35 or (kind == 0 and name.endswith("/")):
            yield Member(name)  # a folder's size, if any, is a quota: no data follows
            continue
        more = kind == 0x53 and head[482]
        while more:  # old GNU sparse maps continue in blocks of their own
            more = _read_exactly(read, BLOCK, position)[504]
            position += BLOCK
        if sparse or size > limits.member_bytes:
            _skip(read, padded, position)
            position += padded
            refusal = (
                InputError(
                    Code.ARCHIVE_UNSAFE, "a sparse member, which is not read; store the whole file"
                )
                if sparse
                else too_large(size, limits)
            )
            yield Member(name, error=refusal)
            continue
        # without the padding, so that the bytes are not copied once more
        data = read(size)
        if len(data) < size:
            raise InputError(
                Code.ARCHIVE_CORRUPT,
                f"the archive ends inside {name[:80]!r}: {len(data):,} of {size:,} bytes; "
                "fetch the archive again",
            )
        if too_long:
            error = InputError(
                Code.ARCHIVE_LIMIT, f"its name has over {MAX_NAME_CHARS:,} characters; rename it"
            )
            yield Member(name, error=error)
        else:
            yield Member(name, data)
        more = len(read(padded - size)) if padded > size else 0
        if size + more < padded:
            raise corrupt(f"the archive ends at byte {position + size + more:,}, in the padding")
        position += padded


class _LookaheadReader:
    """A reader that can skip zeros; bytes that it read after them are returned first."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._seen, self._at = b"", 0

    def read(self, count: int) -> bytes:
        head = self._seen[self._at : self._at + count]
        self._at += len(head)
        return head if len(head) == count else head + self._read(count - len(head))

    def skip_zeros(self) -> int:
        """Skip whole blocks of zeros; returns the number of bytes skipped."""
        passed = 0
        while (piece := self.read(_PIECE)) == _ZERO_PIECE:
            passed += _PIECE
        zeros = (len(piece) - len(piece.lstrip(b"\0"))) // BLOCK * BLOCK
        self._seen, self._at = piece, zeros
        return passed + zeros


def _read_exactly(read: object, count: int, position: int) -> bytes:
    data: bytes = read(count)  # type: ignore[operator]
    if len(data) < count:
        raise corrupt(f"the archive ends at byte {position + len(data):,}")
    return data


def _skip(read: object, count: int, position: int) -> None:
    while count > 0:
        step = min(count, 2**20)
        _read_exactly(read, step, position)
        count -= step


def _number(field: bytes, position: int) -> int:
    """A tar number: octal digits, or base 256 where the top bit is set; never negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip(b" ")
    # checked here, as int() accepts signs and underscores
    if digits.strip(b"01234567"):
        raise corrupt(f"the tar header at byte {position:,} is damaged")
    return int(digits or b"0", 8)


def _name(head: bytes) -> str:
    name = head[:100].split(b"\0", 1)[0]
    # GNU tar (magic 'ustar  ') puts times where POSIX has the prefix
    if head[345] and head[257:263] == b"ustar\0":
        name = head[345:500].split(b"\0", 1)[0] + b"/" + name
    return _text(name)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _pax(record: bytes, position: int) -> dict[str, str]:
    """The PAX records that are used here; others are dropped to save memory."""
    fields = {}
    while record and record[0]:
        length, space, _ = record[:21].partition(b" ")
        if not space or not length.isdigit() or not len(length) < int(length) <= len(record):
            raise corrupt(f"the extended header at byte {position:,} is damaged")
        key, equals, value = record[len(length) + 1 : int(length) - 1].partition(b"=")
        if equals and key in (b"path", b"size", b"GNU.sparse.name"):
            fields[_text(key)] = _text(value)
        if key.startswith(b"GNU.sparse"):
            fields["GNU.sparse"] = ""
        record = record[int(length) :]
    return fields
