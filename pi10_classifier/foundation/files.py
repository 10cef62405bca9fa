"""Atomic writing: a file is written under a temporary name, then renamed into place."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from pi10_classifier.errors import output_error


@contextmanager
def atomic_path(
    path: Path, *, shared: bool = False, sync: bool = True, option: str = "--out"
) -> Iterator[Path]:
    """A temporary path in the folder of ``path``: renamed to it at the end, removed on failure.

    shared: processes with equal ids, as in containers, may write to the folder at once.
    sync: flush the bytes to the disk before the rename. Raises OutputError for any OSError
    inside the block; its text names ``option``, as of all functions here.
    """
    writer = secrets.token_hex(8) if shared else str(os.getpid())
    temporary = path.with_name(f".{path.name[:150]}.{writer}.tmp")
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise output_error(error, path, option) from error
        raise


def write_atomically(path: Path, data: bytes, *, option: str = "--out") -> None:
    """Write ``data`` to ``path`` atomically, flushed to the disk. Raises OutputError."""
    with atomic_path(path, option=option) as temporary:
        temporary.write_bytes(data)


class _LineFeeds:
    """Ends rows in a line feed; given to the writer, Python to 3.12 leaves a lone CR unquoted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def write_csv(
    path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]], *, option: str = "--out"
) -> None:
    """Write a CSV file atomically, with line feeds as line ends; None is an empty cell."""
    with (
        atomic_path(path, option=option) as temporary,
        temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as stream,
    ):
        writer = csv.writer(_LineFeeds(stream), lineterminator="\r\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(["" if cell is None else cell for cell in row])


def write_records(
    path: Path, kind: type[Any], records: Iterable[Any], *, option: str = "--out"
) -> None:
    """Write dataclass instances as a CSV file: a column a field, numbers to six digits."""
    names = [column.name for column in fields(kind)]

    def cell(value: object) -> object:
        return f"{value:.6g}" if isinstance(value, float) else value

    rows = ([cell(getattr(record, name)) for name in names] for record in records)
    write_csv(path, names, rows, option=option)


def write_json(path: Path, value: Any, *, option: str = "--out") -> None:
    """Write JSON atomically; bytes of a path that are not UTF-8 become escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode("utf-8", "backslashreplace"), option=option)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def drop_torn_line(stream: BinaryIO, longest: int = 2**16) -> None:
    """Cut off a last line without an end, of a writer that died: it was never acknowledged.

    longest: bytes of a line, at most. The stream stands at its end then.
    Left there, the next line would be joined to it, and half a label might read as a whole one.
    """
    end = stream.seek(0, os.SEEK_END)
    tail = min(end, longest)
    stream.seek(end - tail)
    whole = stream.read(tail).rfind(b"\n") + 1
    stream.truncate(end - tail + whole)
    stream.seek(0, os.SEEK_END)
