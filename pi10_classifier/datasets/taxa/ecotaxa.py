"""Exports of EcoTaxa with their images: a zip or a folder of TSV files and pictures.

The names are those that EcoTaxa writes (ecotaxa_back, its export of a project): in an export for
a DOI ``images/Category__id/objid_rank.ext`` beside one table, in a backup the pictures beside the
table of their sample. ``img_file_name`` is the path from the table.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pi10_classifier.datasets.records import Entry, LeftOut
from pi10_classifier.datasets.taxa.columns import CATEGORY
from pi10_classifier.errors import Code, SettingError
from pi10_classifier.instrument.names import Bin, Particle
from pi10_classifier.labelling.formats.ecotaxa import TYPES, export_tables, table_lines
from pi10_classifier.sources.input_rules import normalised_name

FILE_NAME = "img_file_name"


def bin_of(cells: Mapping[str, str]) -> str:
    """The bin of an object, where its object_id or sample_id is a name of the Pi-10; else ""."""
    name = cells.get("object_id", "")
    for form in (name, f"{name}.tif"):
        if name and (particle := Particle.parse(form)):
            return str(particle.bin)
    sample = Bin.parse(cells.get("sample_id", ""))
    return str(sample) if sample else ""


class EcoTaxaExport:
    """What the tables of an export say of its images."""

    def __init__(self, title: str, rows: Mapping[str, Mapping[str, str]]) -> None:
        """rows: path of the image in the export -> the cells of its row."""
        self.title = title
        self._rows = {normalised_name(path): (path, cells) for path, cells in rows.items()}
        self._used: set[str] = set()

    @classmethod
    def of(cls, path: Path) -> EcoTaxaExport | None:
        """The export that a zip or a folder is; None for other ones.

        Raises SettingError for an export without names of images, or with two rows of one.
        """
        if path.is_dir():
            tables = _in_folder(path)
        elif zipfile.is_zipfile(path):
            tables = _in_zip(path)
        else:
            return None
        rows: dict[str, Mapping[str, str]] = {}
        for name, cells in tables:
            if not cells.get(FILE_NAME):
                raise SettingError(
                    f"{name} in {path} is of EcoTaxa, but has no {FILE_NAME}; export it together "
                    "with the images"
                )
            folder = name.rpartition("/")[0]
            member = "/".join(filter(None, (folder, cells[FILE_NAME].replace("\\", "/"))))
            before = rows.setdefault(member, cells)
            if before.get(CATEGORY) != cells.get(CATEGORY):
                raise SettingError(
                    f"{name} in {path} has {member} as {before.get(CATEGORY)!r} and as "
                    f"{cells.get(CATEGORY)!r}; keep one row"
                )
        return cls(str(path), rows) if rows else None

    def give(self, entry: Entry) -> tuple[Entry, LeftOut | None]:
        """The entry with the cells of its row; or why it is left out."""
        key = normalised_name(entry.member)
        _, cells = self._rows.get(key, ("", None))
        if cells is None:
            why = "the tables of the EcoTaxa export do not name it; export it again with the images"
            return entry, LeftOut(entry.source, entry.member, Code.UNKNOWN_LABEL.value, why)
        self._used.add(key)
        return replace(entry, label="", bin=entry.bin or bin_of(cells), cells=cells), None

    def unused(self, source: str) -> list[LeftOut]:
        """The rows whose image is not in the export."""
        why = "a table of the EcoTaxa export names it, but it is not there; export it again"
        return [
            LeftOut(source, path, Code.OBJECT_GONE.value, why)
            for key, (path, _) in self._rows.items()
            if key not in self._used
        ]


def _in_zip(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    with path.open("rb") as stream:
        for name, title, table in export_tables(stream, path):
            for cells in table_lines(table, title, ()):
                if CATEGORY not in cells:
                    break  # a table of something else
                yield name, cells


def _in_folder(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    for table in sorted(path.rglob("*.tsv")):
        if table.name.startswith(".") or not table.is_file():
            continue
        with table.open("rb") as stream:
            for cells in table_lines(stream, str(table), ()):
                if CATEGORY not in cells:
                    break
                yield table.relative_to(path).as_posix(), cells


__all__ = ["TYPES", "EcoTaxaExport", "bin_of"]
