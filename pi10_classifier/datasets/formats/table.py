"""Tables of labelled images: .csv, .tsv or .parquet, a row for each image."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pi10_classifier.datasets.label_map import tidy_label
from pi10_classifier.datasets.taxa.columns import PATH, TAXON, beside, named
from pi10_classifier.datasets.taxa.ecotaxa import TYPES, bin_of
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.formats.ecotaxa import decoded
from pi10_classifier.sources.base import unreadable
from pi10_classifier.sources.local import LooseFile

SPLITS = ("train", "validation", "test")
TABLES = frozenset({".csv", ".tsv", ".parquet"})
_COLUMNS = ("path", "label", "bin", "split", "source")
_WITHOUT_SUFFIX = ".tif"  # what an image is sought with whose name in the table has none


@dataclass(frozen=True, slots=True)
class TableRow:
    """One image of a table: ``cells`` are all its columns, by ``taxa.columns.named``."""

    path: str
    label: str
    bin: str
    split: str
    source: str
    cells: dict[str, str] = field(default_factory=dict)


def table_rows(path: Path) -> list[TableRow]:
    """All rows. Raises SettingError for a table that cannot be used, with its row."""
    try:
        header, raw = _read(path)
    except SettingError:
        raise
    except (OSError, ValueError, csv.Error) as error:  # Arrow's errors are ValueErrors
        raise SettingError(f"table {path} cannot be read: {error}; write it again") from error
    columns = named(header, path) | {name: name for name in _COLUMNS if name in header}
    if PATH not in columns or not {"label", *TAXON} & set(columns):
        raise SettingError(
            f"table {path} has the columns {', '.join(header) or 'none'}; it needs path and"
            " label, and may have bin, split and source; or path and a taxon, such as aphia_id"
            f" (docs/data.md). {beside(path).name} can name its columns: lines of name,column"
        )
    rows = []
    for number, values in enumerate(raw, start=1):
        cells = {name: _text(values.get(column)) for name, column in columns.items()}
        given = {name: cells.get(name, "") for name in _COLUMNS}
        given["path"] = given["path"].replace("\\", "/")
        given["label"] = tidy_label(given["label"].replace("\\", "/"))
        given["source"] = given["source"] or path.stem
        given["bin"] = given["bin"] or bin_of(cells)
        if not given["path"]:
            raise SettingError(f"table {path}, row {number} has no path; add it")
        if given["split"] and given["split"] not in SPLITS:
            raise SettingError(
                f"table {path}, row {number}: split is {given['split']!r}; it must be"
                f" {', '.join(SPLITS)}, or empty to be assigned"
            )
        rows.append(TableRow(**given, cells=cells))
    if not rows:
        raise SettingError(f"table {path} has no rows; add one row per image")
    return rows


def image_file(places: Sequence[Path], name: str) -> LooseFile:
    """The file of a row, in the first of the folders that holds it."""
    names = (name,) if Path(name).suffix else (name, name + _WITHOUT_SUFFIX)
    lost = OSError(0, "no such file")
    for number, path in enumerate(folder / each for folder in places for each in names):
        try:
            info = path.stat()
        except (OSError, ValueError) as problem:
            if number == 0:  # what is told is that it does not lie beside the table
                lost = problem if isinstance(problem, OSError) else OSError(0, str(problem))
            continue
        error = None if path.is_file() else unreadable(IsADirectoryError(21, "no regular file"))
        return LooseFile(path, name, info.st_size, info.st_mtime_ns, error)
    return LooseFile(places[0] / name, name, 0, 0, unreadable(lost))


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _read(path: Path) -> tuple[list[str], Sequence[dict[str, Any]]]:
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    if path.suffix.lower() == ".tsv":
        with path.open("rb") as stream:
            text = (decoded(line) for line in stream)
            return _csv(path, _without_mark(text), "\t")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return _csv(path, lines, ",")


def _without_mark(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line.removeprefix("\ufeff") if number == 0 else line


def _csv(
    path: Path, lines: Iterator[str], delimiter: str
) -> tuple[list[str], list[dict[str, Any]]]:
    reader = csv.DictReader(lines, delimiter=delimiter)
    names = [str(name) for name in reader.fieldnames or ()]
    for name in _COLUMNS:
        if names.count(name) > 1:
            raise SettingError(
                f"table {path} has the column {name} {names.count(name)} times; keep one"
            )
    rows = list(reader)
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise SettingError(
                f"table {path}, row {number} has more cells than the header; put names with commas "
                "in quotes"
            )
    if rows and rows[0].get("object_id", "").strip().lower() in TYPES:
        del rows[0]  # the types that EcoTaxa writes for a backup
    return names, rows


def _parquet(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    # pictures and measures of each image are no part of a label
    wanted = [
        column.name
        for column in schema
        if not (pa.types.is_nested(column.type) or pa.types.is_binary(column.type))
    ]
    return schema.names, pq.read_table(path, columns=wanted).to_pylist()
