"""From a taxon and its life stage to a class of the model, by lineage.

The rules are data: ``cefas.csv`` holds the scheme of Cefas, in which a noncopepod is every living
thing that is no copepodite and no adult copepod: nauplii, protists and phytoplankton included.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files
from io import StringIO
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.taxonomy.table import ACCEPTED, TaxonTable, folded, read_text

FILE = "cefas.csv"
COLUMNS = ("ancestor", "life_stage", "class")
# the stages that a rule may name; forms that mean the same
LIFE_STAGES = {
    "": ("unspecified", "unknown", "not specified", "na", "nan", "mixed", "all"),
    "adult": ("adults", "female", "females", "male", "males", "mature"),
    "copepodite": ("copepodites", "copepodid", "copepodids"),
    "juvenile": ("juveniles", "immature", "subadult", "post-larva", "postlarva"),
    "nauplius": ("nauplii", "naupliar"),
    "metanauplius": ("metanauplii",),
    "egg": ("eggs", "egg sac", "embryo", "embryos", "ovum"),
    "larva": (
        *("larvae", "larval", "zoea", "zoeae", "megalopa", "megalopae", "cypris", "cyprids"),
        *("calyptopis", "furcilia", "veliger", "veligers", "trochophore", "trochophores"),
        *("pluteus", "plutei", "bipinnaria", "brachiolaria", "auricularia", "cyphonautes"),
        *("actinotroch", "actinotrocha", "mitraria", "nectochaete", "planula", "ephyra", "ephyrae"),
    ),
    "cyst": ("cysts", "resting stage"),
    "colony": ("colonies", "chain", "chains"),
}
_STAGES = {form: stage for stage, forms in LIFE_STAGES.items() for form in (stage, *forms)}


@dataclass(frozen=True, slots=True)
class ClassRule:
    """``label`` for every taxon at or below ``ancestor``, of one life stage or ("") of any."""

    ancestor: int
    life_stage: str
    label: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """The class of one taxon; ``note`` says what was not taken as it came, else it is empty.

    ``aphia_id`` is the accepted identifier; the table may not hold it.
    """

    label: str
    aphia_id: int
    life_stage: str
    note: str


class ClassRules:
    """Rules in their order: the first that fits gives the class."""

    def __init__(self, rules: tuple[ClassRule, ...], table: TaxonTable) -> None:
        """Raises SettingError for a rule whose ancestor the table does not hold."""
        for rule in rules:
            table[rule.ancestor]
        self.rules = rules
        self.table = table

    @classmethod
    def load(cls, table: TaxonTable, path: Path | None = None) -> ClassRules:
        """The scheme of Cefas, or the CSV file ``path`` with its columns. Raises SettingError."""
        if path is None:
            text, origin = files(__package__).joinpath(FILE).read_text("utf-8"), FILE
        else:
            text, origin = read_text(path), str(path)
        return cls(_parse(text, origin, table), table)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the rules can give, in the order of the rules."""
        return tuple(dict.fromkeys(rule.label for rule in self.rules))

    def assign(self, aphia_id: int, life_stage: str = "") -> Assigned:
        """The class of a taxon. An identifier that is not accepted counts as the accepted one.

        Raises SettingError for an unknown AphiaID or life stage, and where no rule fits.
        """
        taxon = self.table[aphia_id]
        stage = stage_of(life_stage)
        used, note = taxon.aphia_id, ""
        if taxon.status != ACCEPTED:
            note = f"AphiaID {aphia_id} ({taxon.name}) has the status {taxon.status!r} in WoRMS"
            if taxon.accepted_id is not None:
                used = taxon.accepted_id
                note += f"; {used} was used"
        # a taxon that WoRMS has renamed keeps its own place where the accepted one is not listed
        place = used if used in self.table else aphia_id
        above = {step.aphia_id for step in self.table.lineage(place)}
        for rule in self.rules:
            if rule.ancestor in above and rule.life_stage in ("", stage):
                return Assigned(rule.label, used, stage, note)
        raise SettingError(
            f"no rule gives a class to {taxon.name} (AphiaID {aphia_id}, life stage "
            f"{life_stage or 'unspecified'}); add a rule for one of its ancestors"
        )


def stage_of(text: str) -> str:
    """A life stage as the rules name it; "" where it is unspecified. Raises SettingError."""
    try:
        return _STAGES[folded(text.replace("_", " "))]
    except KeyError:
        raise SettingError(
            f"life stage {text!r} is none of {', '.join(stage for stage in LIFE_STAGES if stage)}; "
            "correct it, or leave it empty"
        ) from None


def _parse(text: str, origin: str, table: TaxonTable) -> tuple[ClassRule, ...]:
    rules: list[ClassRule] = []
    reader = csv.reader(StringIO(text), strict=True)
    try:
        for row in reader:
            where = f"{origin}, line {reader.line_num}"
            if reader.line_num == 1:
                if tuple(row) != COLUMNS:
                    raise SettingError(f"{where}: {','.join(row)!r}; needed: {','.join(COLUMNS)}")
            elif row:
                rules.append(_rule(row, where, table))
    except csv.Error as error:
        raise SettingError(
            f"{origin}, line {reader.line_num}: {error}; save it as plain CSV"
        ) from None
    if not rules:
        raise SettingError(f"{origin} holds no rule; give lines of {','.join(COLUMNS)}")
    return tuple(rules)


def _rule(row: list[str], where: str, table: TaxonTable) -> ClassRule:
    if len(row) != len(COLUMNS) or not row[2].strip():
        raise SettingError(f"{where}: {','.join(row)!r}; give {','.join(COLUMNS)}")
    if not (row[0].strip().isascii() and row[0].strip().isdigit() and len(row[0].strip()) < 11):
        raise SettingError(f"{where}: ancestor is {row[0]!r}; give an AphiaID")
    try:
        ancestor = table[int(row[0])].aphia_id
        return ClassRule(ancestor, stage_of(row[1]), row[2].strip())
    except SettingError as error:
        raise SettingError(f"{where}: {error.message}") from None
