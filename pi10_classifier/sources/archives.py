"""Members of tar and zip archives as a stream; nothing is ever extracted to disk.

The tar reader is our own because ``tarfile`` ends silently at a damaged header, which
loses every image behind it, and walks members at half the speed the decoder needs.
A test holds both to the same members for ustar, PAX and GNU archives.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from pi10_classifier.errors import Code, InputError
from pi10_classifier.sources.zip_scan import BOMB_BYTES, next_header, unpack

BLOCK = 512
MAX_NAME_CHARS = 4096  # as file systems have it
_END_BYTES = 22 + 0xFFFF  # of a zip's end record with the longest comment
_PIECE = 2**20
_ZERO_PIECE = bytes(_PIECE)
_ZEROS = bytes(BLOCK)


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on an archive, against hostile ones.

    members: count. member_bytes: of one member. ratio: bytes out per byte in, of
    compressed archives, beyond the first ``free_bytes`` out.
    """

    members: int = 2_000_000
    member_bytes: int = 128 * 2**20
    ratio: int = 200
    free_bytes: int = 256 * 2**20
    name_bytes: int = 65_536


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive: its bytes, or why it has none.

    A folder entry has neither bytes nor error.
    """

    name: str
    data: bytes | None = None
    error: InputError | None = None


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
        yield from _zip_members(stream, size, limits)
        return
    opened: BinaryIO = stream
    for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if head.startswith(magic):
            opened = cast("BinaryIO", _Counted(opener(stream, "rb"), size, limits))
    try:
        yield from _tar_members(opened, limits)
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise _corrupt(f"the compressed stream is damaged: {error}") from error
    except MemoryError as error:
        raise InputError(Code.ARCHIVE_LIMIT, "its compression needs too much memory") from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 say so of bad data; a disk gives a number
            raise _corrupt(f"the compressed stream is damaged: {error}") from error
        raise


def _corrupt(what: str) -> InputError:
    return InputError(Code.ARCHIVE_CORRUPT, f"{what}; fetch the archive again")


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


def _tar_members(stream: BinaryIO, limits: Limits) -> Iterator[Member]:
    read: Callable[[int], bytes] = stream.read
    count = 0
    pax: dict[str, str] = {}
    common: dict[str, str] = {}
    long_name: str | None = None
    position = zeros = 0
    ahead: _Ahead | None = None
    while True:
        head = read(BLOCK)
        ends = (not head and position) or (zeros and not any(head) and len(head) < BLOCK)
        if (pax or long_name) and (ends or head == _ZEROS):
            raise _corrupt(f"at byte {position:,} a name has no member")
        if ends:
            # some writers leave out the end marker, so a cut right there cannot be told
            return
        if head == _ZEROS:
            # the end marker or a hole: read on, for members behind a hole must not be lost,
            # and a compressed stream has its checksum at the very end
            position += BLOCK
            zeros += 1
            if zeros > 1:  # a long hole a megabyte at a time: it must not hold a reader up
                ahead = ahead or _Ahead(read)
                read = ahead.read
                position += ahead.skip_zeros()
            continue
        if len(head) < BLOCK:
            raise _corrupt(f"the archive ends at byte {position + len(head):,}, inside a header")
        # the checksum is of the header with its own field blank
        if sum(head) - sum(head[148:156]) + 256 != _number(head[148:156], position):
            raise _corrupt(f"the tar header at byte {position:,} is damaged")
        kind = head[156]
        size = _number(head[124:136], position)
        position += BLOCK
        padded = (size + BLOCK - 1) // BLOCK * BLOCK
        if kind in b"xXgLK":
            if size > limits.name_bytes:
                raise InputError(
                    Code.ARCHIVE_LIMIT,
                    f"a name record of {size:,} bytes; the cap is {limits.name_bytes:,}",
                )
            record = _exactly(read, padded, position)[:size]
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
        if too_long:  # kept whole, such names would fill the memory of failures
            name = f"{name[:100]}…"
        if "size" in extended:
            digits = extended["size"]
            if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
                raise _corrupt(f"member {name[:80]!r} has the size {digits[:20]!r}")
            size = int(digits)
            padded = (size + BLOCK - 1) // BLOCK * BLOCK
        sparse = kind == 0x53 or "GNU.sparse" in extended
        pax, long_name = {}, None
        if kind in b"12346":
            what = {0x31: "a hard link", 0x32: "a symbolic link", 0x36: "a FIFO"}.get(
                kind, "a device"
            )
            yield Member(
                name,
                error=InputError(
                    Code.ARCHIVE_UNSAFE, f"{what}, which is never followed; store the file itself"
                ),
            )
            continue
        if kind == 0x35 or (kind == 0 and name.endswith("/")):
            yield Member(name)  # its size, if any, is a quota: no data follows
            continue
        more = kind == 0x53 and head[482]
        while more:  # old GNU sparse maps go on in blocks of their own
            more = _exactly(read, BLOCK, position)[504]
            position += BLOCK
        if sparse or size > limits.member_bytes:
            _skip(read, padded, position)
            position += padded
            why = (
                InputError(Code.ARCHIVE_UNSAFE, "a sparse member, not read; store the file plainly")
                if sparse
                else _too_large(size, limits)
            )
            yield Member(name, error=why)
            continue
        data = read(padded)
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
            yield Member(name, data if padded == size else data[:size])
        if len(data) < padded:
            raise _corrupt(f"the archive ends at byte {position + len(data):,}, in the padding")
        position += padded


class _Ahead:
    """A reader that has looked ahead over zeros, and gives back what it saw behind them."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._seen, self._at = b"", 0

    def read(self, count: int) -> bytes:
        head = self._seen[self._at : self._at + count]
        self._at += len(head)
        return head if len(head) == count else head + self._read(count - len(head))

    def skip_zeros(self) -> int:
        """Pass over whole blocks of zeros; returns their bytes."""
        passed = 0
        while (piece := self.read(_PIECE)) == _ZERO_PIECE:
            passed += _PIECE
        zeros = (len(piece) - len(piece.lstrip(b"\0"))) // BLOCK * BLOCK
        self._seen, self._at = piece, zeros
        return passed + zeros


def _exactly(read: object, count: int, position: int) -> bytes:
    data: bytes = read(count)  # type: ignore[operator]
    if len(data) < count:
        raise _corrupt(f"the archive ends at byte {position + len(data):,}")
    return data


def _skip(read: object, count: int, position: int) -> None:
    while count > 0:
        step = min(count, 2**20)
        _exactly(read, step, position)
        count -= step


def _number(field: bytes, position: int) -> int:
    """A tar number: octal digits, or base 256 where the top bit is set; never negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip(b" ")
    # not left to int(), which takes signs and underscores
    if digits.strip(b"01234567"):
        raise _corrupt(f"the tar header at byte {position:,} is damaged")
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
    """The records that matter here: others are dropped, so that they cannot pile up."""
    fields = {}
    while record and record[0]:
        length, space, _ = record[:21].partition(b" ")
        if not space or not length.isdigit() or not len(length) < int(length) <= len(record):
            raise _corrupt(f"the extended header at byte {position:,} is damaged")
        key, equals, value = record[len(length) + 1 : int(length) - 1].partition(b"=")
        if equals and key in (b"path", b"size", b"GNU.sparse.name"):
            fields[_text(key)] = _text(value)
        if key.startswith(b"GNU.sparse"):
            fields["GNU.sparse"] = ""
        record = record[int(length) :]
    return fields


def _too_large(size: int, limits: Limits) -> InputError:
    return InputError(
        Code.TOO_LARGE, f"{size:,} bytes; the cap is {limits.member_bytes:,}; raise it if genuine"
    )


def _zip_members(stream: BinaryIO, size: int, limits: Limits) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        if _is_of_disk(error):
            raise
        yield from _zip_by_headers(stream, size, limits, str(error))
        return
    with archive:
        entries = archive.infolist()
        if len(entries) > limits.members:
            raise InputError(
                Code.ARCHIVE_LIMIT, f"{len(entries):,} members; the cap is {limits.members:,}"
            )
        total = sum(entry.file_size for entry in entries)
        if total > limits.free_bytes + limits.ratio * size:
            raise InputError(
                Code.ARCHIVE_LIMIT,
                f"{total:,} bytes from {size:,}: more than {limits.ratio} to 1; not read",
            )
        if why := _lost_entries(stream, size, entries):
            yield from _zip_by_headers(stream, size, limits, why)
            return
        for entry in entries:
            yield _zip_member(archive, entry, limits)


def _is_of_disk(error: Exception) -> bool:
    """True where the disk failed; a seek to before the beginning is the archive's own fault."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def _lost_entries(stream: BinaryIO, size: int, entries: list[zipfile.ZipInfo]) -> str:
    """What of the directory cannot be true: zipfile believes a damaged end record."""
    stream.seek(max(size - _END_BYTES, 0))
    tail = stream.read(_END_BYTES)
    end = tail.rfind(b"PK\x05\x06")
    if 0 <= end <= len(tail) - 12:
        said = int.from_bytes(tail[end + 10 : end + 12], "little")
        if said not in (len(entries) & 0xFFFF, 0xFFFF):
            return f"it holds {len(entries):,} members, its end says {said:,}"
    for entry in entries[:1] + entries[-1:]:
        if not 0 <= entry.header_offset < size:
            return "it leads out of the archive"
        stream.seek(entry.header_offset)
        if stream.read(4) != b"PK\x03\x04":
            return "it does not lead to the members"
    return ""


def _zip_by_headers(stream: BinaryIO, size: int, limits: Limits, why: str) -> Iterator[Member]:
    """The members that their own headers tell of; always ends in an error, for some may lack."""
    at = found = total = 0
    while (entry := next_header(stream, at)) is not None:
        at = entry.at
        found += 1
        if found > limits.members:
            raise InputError(
                Code.ARCHIVE_LIMIT, f"more than {limits.members:,} members; split the archive"
            )
        name = entry.name.encode("utf-8", "backslashreplace").decode("utf-8")[:MAX_NAME_CHARS]
        if name.endswith("/"):
            yield Member(name)
            continue
        try:
            data, at = unpack(stream, entry, limits.member_bytes, limits.ratio)
        except InputError as error:
            yield Member(name, error=error)
            continue
        total += len(data)
        if total > limits.free_bytes + limits.ratio * size:
            raise InputError(
                Code.ARCHIVE_LIMIT, f"expands beyond {limits.ratio} to 1; not read further"
            )
        yield Member(name, data)
    raise _corrupt(f"the zip's directory is damaged: {why}; its members were looked for one by one")


def _zip_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits) -> Member:
    # zipfile turns backslashes over on Windows only; keep the instrument's own names
    name = entry.orig_filename.encode("utf-8", "backslashreplace").decode("utf-8")
    if entry.filename.endswith("/"):  # is_dir() of Python 3.11 fails on an empty name
        return Member(name)
    mode = entry.external_attr >> 16
    if mode & 0o170000 not in (0, 0o100000):
        return Member(
            name,
            error=InputError(Code.ARCHIVE_UNSAFE, "a link or device, which is never followed"),
        )
    if entry.flag_bits & 0x1:
        return Member(
            name, error=InputError(Code.ARCHIVE_UNSAFE, "encrypted; store it without a password")
        )
    if entry.file_size > limits.member_bytes:
        return Member(name, error=_too_large(entry.file_size, limits))
    if entry.file_size > BOMB_BYTES and entry.file_size > entry.compress_size * limits.ratio:
        return Member(
            name,
            error=InputError(
                Code.DECOMPRESSION_BOMB,
                f"{entry.file_size:,} bytes from {entry.compress_size:,}; not read",
            ),
        )
    try:
        with archive.open(entry) as opened:
            data = opened.read(entry.file_size + 1)
    except NotImplementedError as error:
        return Member(
            name,
            error=InputError(Code.UNSUPPORTED_FORMAT, f"zip method not supported: {error}; rezip"),
        )
    except MemoryError:
        return Member(
            name,
            error=InputError(Code.ARCHIVE_LIMIT, "its compression needs too much memory; rezip"),
        )
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
            RuntimeError) as error:  # fmt: skip
        if _is_of_disk(error):
            raise  # the disk's fault, not the archive's
        return Member(
            name,
            error=InputError(
                Code.CORRUPT_IMAGE, f"its zip entry is damaged: {error}; fetch the archive again"
            ),
        )
    if len(data) != entry.file_size:
        return Member(
            name,
            error=InputError(
                Code.CORRUPT_IMAGE,
                f"{len(data):,} bytes, but the zip says {entry.file_size:,}; fetch it again",
            ),
        )
    return Member(name, data)
