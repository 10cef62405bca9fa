"""Labels that were validated in EcoTaxa: its TSV export, bare or in a zip.

EcoTaxa writes UTF-8 with a mark at the beginning, or Latin-1 if so asked; a table that went through
another program has lost the mark. So each line is read as UTF-8, and as Latin-1 where it is none.
Exports for a backup have a second line of types, the others have not; only the others have the
hierarchy.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.formats.given import Given, Reading
from pi10_classifier.labelling.formats.lines import lines, table
from pi10_classifier.sources.base import LIMITS, Limits

NEEDED = ("object_id", "object_annotation_status", "object_annotation_category")
VALIDATED = "validated"
TYPES = ("[t]", "[f]")
"""What the second line of a backup's table has in place of values."""


def read_ecotaxa(path: Path, limits: Limits = LIMITS) -> Reading:
    """Read the validated objects of an export; those of another status are counted.

    Raises SettingError for what is no such export, or larger than the limits.
    """
    reading = Reading("ecotaxa")
    with path.open("rb") as stream:
        zipped = stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        stream.seek(0)
        if zipped:
            for _, title, table_stream in export_tables(stream, path, limits, needed=True):
                _read_table(table_stream, title, reading)
        else:
            _read_table(stream, str(path), reading)
    return reading


def export_tables(
    stream: BinaryIO, path: Path, limits: Limits = LIMITS, *, needed: bool = False
) -> Iterator[tuple[str, str, BinaryIO]]:
    """The tables in the zip of an export: name in it, title for messages, and the open table.

    needed: it is an error if there is none. Raises SettingError, also for a damaged zip and for one
    larger than the limits.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            if len(entries) > limits.members:
                raise SettingError(
                    f"{path} has {len(entries):,} members; the cap is {limits.members:,}"
                )
            tables = [entry for entry in entries if _is_table(entry.filename)]
            if needed and not tables:
                some = ", ".join(repr(entry.filename[:60]) for entry in entries[:3])
                raise SettingError(
                    f"{path} holds no .tsv, so it is no export of EcoTaxa; it holds "
                    f"{some or 'nothing'}"
                )
            left = limits.free_bytes + limits.ratio * path.stat().st_size
            for entry in tables:
                title = f"{entry.filename[:100]!r} in {path}"
                if entry.flag_bits & 1:
                    raise SettingError(f"{title} is encrypted; store it without a password")
                with closing(archive.open(entry)) as member:
                    capped = _Capped(member, left, title)
                    yield entry.filename, title, capped  # type: ignore[misc]
                    left = capped.left
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise SettingError(f"{path} is a damaged zip ({error}); export it again") from error


class _Capped:
    """A stream that may give so many bytes: a table that unpacks to more is no table."""

    def __init__(self, stream: object, left: int, title: str) -> None:
        self._stream = stream
        self.left = left
        self._title = title

    def readline(self, most: int) -> bytes:
        line: bytes = self._stream.readline(most)  # type: ignore[attr-defined]
        self.left -= len(line)
        if self.left < 0:
            raise SettingError(
                f"{self._title} unpacks to more than {LIMITS.ratio} times its size; not read on"
            )
        return line


def _is_table(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base.lower().endswith(".tsv") and not base.startswith(".")


def _read_table(stream: BinaryIO, title: str, reading: Reading) -> None:
    for row in table_lines(stream, title):
        status = row["object_annotation_status"].lower()
        if status != VALIDATED:
            reading.pass_over(f"{status[:20] or 'without a status'} in EcoTaxa, not validated")
            continue
        shown = row["object_annotation_category"]
        names = row.get("object_annotation_hierarchy", "").split(">")
        if names == [""]:
            names = shown.split("<")[::-1]
        category = tuple(name.strip() for name in names if name.strip())
        labeller = row.get("object_annotation_person_name", "")
        reading.given.append(Given(row["object_id"], category, shown or names[-1], labeller))


def table_lines(
    stream: BinaryIO, title: str, needed: Sequence[str] = NEEDED
) -> Iterator[dict[str, str]]:
    """The rows of a table without its line of types. needed: the columns that it must have."""
    for number, row in enumerate(table(lines(stream, decoded, title), "\t", needed, title)):
        if number == 0 and row.get("object_id", "").lower() in TYPES:
            continue
        yield row


def decoded(line: bytes) -> str:
    """A line as UTF-8, or as Latin-1 where it is none."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
