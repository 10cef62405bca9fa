"""The columns of tables whose labels are taxa, by the names that known sources give them.

- PlanktoShare (van Walraven et al., doi 10.5194/essd-2026-215): AphiaIDs, the classes Organism,
  Taxo_particle and Non_taxo_particle, and attributes such as Life_stage are named in its abstract;
  ``imageID``, ``customName`` and ``PlanktoShare_labels.csv`` beside a folder ``PlanktoShare`` in a
  public script that converts it. The data themselves were not at hand.
- Darwin Core: ``scientificName``, ``scientificNameID``, ``taxonID``, ``lifeStage``, ``sex``,
  ``associatedMedia``, and the names of higher taxa.
- EcoTaxa: ``img_file_name``, ``object_annotation_category``, ``…_hierarchy``, ``…_status``.

A file ``TABLE.columns.csv`` beside ``TABLE.csv``, with lines of ``name,column``, gives others; its
name ``folder`` is no column but the folder of the images.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Mapping
from io import StringIO
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.taxonomy.class_rules import LIFE_STAGE, attribute_name
from pi10_classifier.taxonomy.table import folded, read_text

PATH, APHIA_ID, NAME = "path", "aphia_id", "scientific_name"
CUSTOM_NAME, CLASS, LABEL = "custom_name", "class", "label"
FOLDER = "folder"
CATEGORY = "object_annotation_category"
HIERARCHY = "object_annotation_hierarchy"
STATUS = "object_annotation_status"
# name here -> names elsewhere as attribute_name gives them, the first that is there counts
KNOWN = {
    PATH: ("path", "image_id", "img_file_name", "associated_media"),
    APHIA_ID: ("aphia_id", "scientific_name_id", "taxon_id"),
    NAME: ("scientific_name",),
    CUSTOM_NAME: ("custom_name",),
    LIFE_STAGE: ("life_stage", "lifestage"),
    CLASS: ("class",),
    "body_part": ("body_part",),
    "sex": ("sex",),
}
TAXON = (APHIA_ID, NAME, CUSTOM_NAME, CATEGORY)
"""A table has labels that are taxa where it has one of these."""
HIGHER = ("genus", "family", "order", "class", "phylum", "kingdom")
HIGHER_NAMES = "higher_classification"
_IDENTIFIER = re.compile(
    r"(?:urn:lsid:marinespecies\.org:taxname:|https?://(?:www\.)?marinespecies\.org/\S*?id=)?"
    r"(\d{1,10})(?:\.0)?",
    re.IGNORECASE,
)
_MISSING = frozenset({"", "na", "nan", "none", "null", "n/a", "-"})


def named(header: Collection[str], table: Path) -> dict[str, str]:
    """Name here -> column of the table, for all columns. Raises SettingError.

    Columns of other names keep them, as ``attribute_name`` gives them.
    """
    columns: dict[str, str] = {}
    for column in header:
        columns.setdefault(attribute_name(column), column)
    known = {
        name: columns[other]
        for name, others in KNOWN.items()
        for other in reversed(others)
        if other in columns
    }
    used = set(known.values())
    names = {name: column for name, column in columns.items() if column not in used} | known
    for name, column in _own(table).items():
        if name == FOLDER:
            continue
        if column not in header:
            raise SettingError(
                f"{beside(table)} names the column {column!r}, which {table} has not; it has "
                f"{', '.join(header)}"
            )
        names = {key: other for key, other in names.items() if other != column} | {name: column}
    return names


def folders(table: Path) -> tuple[Path, ...]:
    """Where the images of a table may lie: beside it, or in the folder that goes with it."""
    own = _own(table).get(FOLDER)
    return table.parent, table.parent / (own or table.stem.removesuffix("_labels"))


def beside(table: Path) -> Path:
    """The file that names a table's columns."""
    return table.with_name(f"{table.stem}.columns.csv")


def _own(table: Path) -> dict[str, str]:
    path = beside(table)
    if not path.is_file():
        return {}
    reader = csv.DictReader(StringIO(read_text(path)))
    if list(reader.fieldnames or ()) != ["name", "column"]:
        raise SettingError(
            f"{path} has the columns {', '.join(reader.fieldnames or ()) or 'none'}; its first "
            "line must be: name,column"
        )
    own: dict[str, str] = {}
    for row in reader:
        name, column = attribute_name(row["name"] or ""), (row["column"] or "").strip()
        if not name or not column:
            raise SettingError(f"{path}, line {reader.line_num}: give name,column, both not empty")
        own[name] = column
    return own


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return folded(text) in _MISSING


def identifier(text: str) -> int | None:
    """The AphiaID of a cell, also of a WoRMS LSID or address; None for a missing one.

    Raises SettingError for anything else.
    """
    if is_missing(text):
        return None
    match = _IDENTIFIER.fullmatch(text.strip())
    if not match or not 0 < int(match[1]) < 2**31:
        raise SettingError(
            f"AphiaID is {text[:80]!r}; give a whole number, or "
            "urn:lsid:marinespecies.org:taxname:NUMBER"
        )
    return int(match[1])


def higher_names(cells: Mapping[str, str]) -> Iterable[str]:
    """The names of higher taxa in a row, the nearest first."""
    for rank in HIGHER:
        if not is_missing(cells.get(rank, "")):
            yield cells[rank]
    for separator in ("|", ";", ">"):
        names = cells.get(HIGHER_NAMES, "").split(separator)
        if len(names) > 1:
            yield from (name.strip() for name in reversed(names) if name.strip())
