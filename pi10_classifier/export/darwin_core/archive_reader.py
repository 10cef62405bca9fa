"""A Darwin Core Archive read back plainly: its descriptor, tables and metadata."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from pi10_classifier.export.darwin_core.terms import TABLES, Table, term

_TEXT = "{http://rs.tdwg.org/dwc/text/}"
MOST_BYTES = 2**31  # of one file of an archive


@dataclass(slots=True)
class ArchiveContents:
    """rows: file -> its lines, column -> cell. problems: what keeps a part from being read."""

    rows: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    eml: ET.Element | None = None
    problems: list[str] = field(default_factory=list)

    def of(self, table: Table) -> list[dict[str, str]]:
        return self.rows.get(table.file, [])


def read_archive(path: Path) -> ArchiveContents:
    """Read all that can be read; the rest is told in ``problems``."""
    contents = ArchiveContents()
    try:
        with zipfile.ZipFile(path) as archive:
            files = {
                info.filename: archive.read(info)
                for info in archive.infolist()
                if info.file_size <= MOST_BYTES
            }
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        contents.problems.append(f"the archive cannot be read: {error}")
        return contents
    meta = _xml(files, "meta.xml", contents)
    contents.eml = _xml(files, "eml.xml", contents)
    if meta is None:
        return contents
    parts = {part.findtext(f"{_TEXT}files/{_TEXT}location"): part for part in meta}
    for table in TABLES:
        if table.file not in parts:
            contents.problems.append(f"meta.xml: names no file {table.file}")
        elif table.file not in files:
            contents.problems.append(f"{table.file}: is named in meta.xml, but not there")
        else:
            columns = _columns(parts[table.file], table, contents)
            if lacking := [name for name in table.columns if name not in columns]:
                contents.problems.append(f"meta.xml: {table.file} has no {', '.join(lacking)}")
                continue
            _rows(files[table.file], table.file, columns, contents)
    return contents


def _xml(files: dict[str, bytes], name: str, contents: ArchiveContents) -> ET.Element | None:
    if name not in files:
        contents.problems.append(f"{name}: is missing")
        return None
    try:
        # written by this program a moment before
        return ET.fromstring(files[name])  # noqa: S314  # nosec B314
    except ET.ParseError as error:
        contents.problems.append(f"{name}: is no XML: {error}")
        return None


def _columns(part: ET.Element, table: Table, contents: ArchiveContents) -> Sequence[str]:
    """The columns as the descriptor tells them, in order of their place."""
    if part.get("rowType") != table.row_type:
        contents.problems.append(
            f"meta.xml: {table.file} has the row type {part.get('rowType')}, not {table.row_type}"
        )
    link = part.find(f"{_TEXT}id")
    link = part.find(f"{_TEXT}coreid") if link is None else link
    if link is None or link.get("index") != "0":
        contents.problems.append(f"meta.xml: {table.file} is not linked by its first column")
    known = {term(column): column for column in table.columns}
    columns = []
    for place, entry in enumerate(part.findall(f"{_TEXT}field")):
        address = entry.get("term", "")
        if entry.get("index") != str(place):
            contents.problems.append(f"meta.xml: {table.file}: the field {address} is out of order")
        if address not in known:
            contents.problems.append(f"meta.xml: {table.file}: the term {address} is not known")
        columns.append(known.get(address, address))
    return columns


def _rows(data: bytes, name: str, columns: Sequence[str], contents: ArchiveContents) -> None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        contents.problems.append(f"{name}: is not UTF-8: {error}")
        return
    if not text.endswith("\n"):
        contents.problems.append(f"{name}: is cut: its last line has no end")
    header, *lines = text.removesuffix("\n").split("\n")
    if header.split("\t") != list(columns):
        contents.problems.append(f"{name}: its header is not what meta.xml tells")
    rows = []
    for number, line in enumerate(lines, 2):
        cells = line.split("\t")
        if len(cells) != len(columns):
            contents.problems.append(
                f"{name}, line {number}: has {len(cells)} cells, not {len(columns)}"
            )
            continue
        rows.append(dict(zip(columns, cells, strict=True)))
    contents.rows[name] = rows
