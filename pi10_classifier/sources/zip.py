"""Reads the members of a zip archive through its directory."""

from __future__ import annotations

import errno
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pi10_classifier.errors import Code, InputError
from pi10_classifier.sources.base import MAX_NAME_CHARS, Limits, Member, corrupt, too_large
from pi10_classifier.sources.zip_scan import BOMB_BYTES, next_header, unpack

_END_BYTES = 22 + 0xFFFF  # size of a zip's end record with the longest comment


def zip_members(stream: BinaryIO, size: int, limits: Limits) -> Iterator[Member]:
    """Yield a zip's members in the order of its directory; ``stream`` must be seekable.

    Where the directory is damaged, the members are found by their own headers, and an InputError
    (archive_corrupt) ends the sequence. Raises InputError (archive_limit) beyond a cap.
    """
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        if _is_disk_error(error):
            raise
        yield from _zip_by_headers(stream, size, limits, str(error))
        return
    with archive:
        entries = archive.infolist()
        if len(entries) > limits.members:
            raise InputError(
                Code.ARCHIVE_LIMIT,
                f"{len(entries):,} members; the cap is {limits.members:,}; split the archive",
            )
        total = sum(entry.file_size for entry in entries)
        if total > limits.free_bytes + limits.ratio * size:
            raise InputError(
                Code.ARCHIVE_LIMIT,
                f"{total:,} bytes from {size:,}: more than {limits.ratio} times; not read",
            )
        if problem := _directory_problem(stream, size, entries):
            yield from _zip_by_headers(stream, size, limits, problem)
            return
        for entry in entries:
            yield _zip_member(archive, entry, limits)


def _is_disk_error(error: Exception) -> bool:
    """True where the disk failed; EINVAL is a seek before the start, caused by a bad archive."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def _directory_problem(stream: BinaryIO, size: int, entries: list[zipfile.ZipInfo]) -> str:
    """What is wrong with the directory, or ""; zipfile does not check a damaged end record."""
    stream.seek(max(size - _END_BYTES, 0))
    tail = stream.read(_END_BYTES)
    end = tail.rfind(b"PK\x05\x06")
    if 0 <= end <= len(tail) - 12:
        declared = int.from_bytes(tail[end + 10 : end + 12], "little")
        if declared not in (len(entries) & 0xFFFF, 0xFFFF):
            return f"it holds {len(entries):,} members, but its end record says {declared:,}"
    for entry in entries[:1] + entries[-1:]:
        if not 0 <= entry.header_offset < size:
            return "it points outside the archive"
        stream.seek(entry.header_offset)
        if stream.read(4) != b"PK\x03\x04":
            return "it does not point to the members"
    return ""


def _zip_by_headers(stream: BinaryIO, size: int, limits: Limits, problem: str) -> Iterator[Member]:
    """The members found by their own headers; always ends in an error, as some may be missing."""
    at = count = total = 0
    while (entry := next_header(stream, at)) is not None:
        at = entry.at
        count += 1
        if count > limits.members:
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
                Code.ARCHIVE_LIMIT,
                f"expands to more than {limits.ratio} times its size; the rest was not read",
            )
        yield Member(name, data)
    raise corrupt(
        f"the zip's directory is damaged: {problem}; the members found without it were used"
    )


def _zip_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits) -> Member:
    # orig_filename: on Windows zipfile replaces the backslashes of the instrument's names
    name = entry.orig_filename.encode("utf-8", "backslashreplace").decode("utf-8")
    if entry.filename.endswith("/"):  # Python 3.11's is_dir() fails on an empty name
        return Member(name)
    mode = entry.external_attr >> 16
    if mode & 0o170000 not in (0, 0o100000):
        return Member(
            name,
            error=InputError(
                Code.ARCHIVE_UNSAFE,
                "a link or device, which is never followed; store the file itself",
            ),
        )
    if entry.flag_bits & 0x1:
        return Member(
            name, error=InputError(Code.ARCHIVE_UNSAFE, "encrypted; store it without a password")
        )
    if entry.file_size > limits.member_bytes:
        return Member(name, error=too_large(entry.file_size, limits))
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
            error=InputError(
                Code.UNSUPPORTED_FORMAT,
                f"the zip method is not supported: {error}; make the zip again with deflate",
            ),
        )
    except MemoryError:
        return Member(
            name,
            error=InputError(
                Code.ARCHIVE_LIMIT,
                "its compression needs too much memory; make the zip again with deflate",
            ),
        )
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
            RuntimeError) as error:  # fmt: skip
        if _is_disk_error(error):
            raise
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
