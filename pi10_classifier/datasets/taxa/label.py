"""A taxon with attributes as the text of a label, and back.

``Copepoda|aphia_id=1080|life_stage=nauplius``: the name first, then what else is known. A label
without attributes is a name, or a category of EcoTaxa such as ``nauplii<Copepoda``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

from pi10_classifier.datasets.taxa.columns import (
    APHIA_ID,
    CATEGORY,
    CUSTOM_NAME,
    HIERARCHY,
    LABEL,
    NAME,
    STATUS,
    higher_names,
    identifier,
    is_missing,
)
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.formats.categories import Categories
from pi10_classifier.taxonomy.class_rules import LIFE_STAGE
from pi10_classifier.taxonomy.life_stages import known_stage
from pi10_classifier.taxonomy.table import Taxon, TaxonTable

FORM = "form"
NEAREST = "nearest"
"""The attribute with a higher taxon of the row, where its own is unknown."""
VALIDATED = "validated"
_FORMS = ("copepod", "noncopepod", "detritus", "artefact", "unknown", "several")
_ESCAPED = {ord(char): f"%{ord(char):02X}" for char in "%|/=\\\r\n\t"}
_NUMBER = re.compile(r"__\d+$")  # of a category, at the end of a folder in EcoTaxa's exports


@dataclass(frozen=True, slots=True)
class TaxonLabel:
    """What a label says: a name, and attributes, of which aphia_id is one."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        pairs = (f"{key}={text.translate(_ESCAPED)}" for key, text in self.attributes.items())
        return "|".join((self.name.translate(_ESCAPED), *pairs))

    @classmethod
    def parse(cls, text: str) -> TaxonLabel:
        """The inverse of ``str``; a label without attributes is a name as it stands."""
        name, *pairs = text.split("|")
        if not pairs:
            return cls(name)
        split = (pair.partition("=") for pair in pairs)
        return cls(unquote(name), {key: unquote(value) for key, _, value in split})


def of_cells(cells: Mapping[str, str], attributes: Sequence[str], table: TaxonTable) -> TaxonLabel:
    """The label of a row. cells: by ``columns.named``. attributes: those to keep beside the taxon.

    An AphiaID is kept as it stands where it is none, for the error to show.
    """
    if CATEGORY in cells:
        return _of_category(cells, attributes, table)
    name = " ".join(_cell(cells, NAME).split())
    custom = _cell(cells, CUSTOM_NAME) or _cell(cells, LABEL)
    kept: dict[str, str] = {}
    number = None
    try:
        number = identifier(cells.get(APHIA_ID, ""))
        if number is not None:
            kept[APHIA_ID] = str(number)
    except SettingError:
        kept[APHIA_ID] = cells[APHIA_ID]
    known = number in table if number is not None else table.by_name(name) is not None
    if not known and (number is not None or name):
        nearest = next(filter(None, map(table.by_name, higher_names(cells))), None)
        genus = table.by_name(name.split()[0]) if " " in name else None
        if genus and genus.rank == "Genus":
            nearest = genus
        if nearest:
            kept[NEAREST] = str(nearest.aphia_id)
    if custom:
        kept[CUSTOM_NAME] = custom
    _keep(kept, cells, attributes)
    if not name and number is not None and number in table:
        name = table[number].name
    if number is None and not known and (form := _categories().label([name or custom])):
        kept[FORM] = form
    return TaxonLabel(name or custom, kept)


def of_folders(text: str, table: TaxonTable) -> TaxonLabel:
    """The label of a path of folders, the last a name or a category such as ``nauplii<Copepoda``.

    A label that a data set has given its images itself, such as ``copepod/calanoid``, is one too.
    """
    *above, last = text.split("/")
    last = _NUMBER.sub("", last)
    return _of_names([*above, *_category_names(last)], last, {}, table)


def _of_category(
    cells: Mapping[str, str], attributes: Sequence[str], table: TaxonTable
) -> TaxonLabel:
    shown = cells[CATEGORY].strip()
    names = [name.strip() for name in cells.get(HIERARCHY, "").split(">") if name.strip()]
    kept: dict[str, str] = {}
    status = cells.get(STATUS, "").strip().lower()
    if status != VALIDATED:
        kept["status"] = status or "none"
    _keep(kept, cells, attributes)
    return _of_names(names or _category_names(shown), shown, kept, table)


def _category_names(shown: str) -> list[str]:
    """``nauplii<Copepoda`` from the root to the leaf."""
    return [name.strip() for name in shown.split("<")[::-1] if name.strip()]


def _of_names(
    names: Sequence[str], shown: str, kept: dict[str, str], table: TaxonTable
) -> TaxonLabel:
    """names: from the root to the leaf. The nearest taxon counts; what is below says the rest."""
    taxon: Taxon | None = None
    place = len(names)
    while taxon is None and place > 0:
        place -= 1
        taxon = table.by_name(names[place])
    below = list(names[place + 1 :]) if taxon else list(names)
    if taxon:
        kept[APHIA_ID] = str(taxon.aphia_id)
    stages = [stage for name in below if (stage := known_stage(name))]
    if stages and LIFE_STAGE not in kept:
        kept[LIFE_STAGE] = stages[-1]
    # the stage of a known taxon is for the rules to judge
    if not (taxon and stages) and (form := _categories().label(below)):
        kept[FORM] = form
    return TaxonLabel(shown, kept)


def _keep(kept: dict[str, str], cells: Mapping[str, str], attributes: Sequence[str]) -> None:
    for name in attributes:
        if name not in ("name", NAME, FORM) and name not in kept and (text := _cell(cells, name)):
            kept[name] = text


def _cell(cells: Mapping[str, str], name: str) -> str:
    text = cells.get(name, "").strip()
    return "" if is_missing(text) else text


@lru_cache(maxsize=1)  # reads a file
def _categories() -> Categories:
    return Categories(_FORMS)
