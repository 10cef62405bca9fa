"""From a taxon and its attributes to a class of the model, by lineage.

The rules are data, a CSV of ``class,below,when,except,why``. ``below``: AphiaIDs of which the taxon
is one or stands below one; empty for any taxon or none. ``when``: conditions that all hold, such as
``life_stage=nauplius|egg; class=Organism``. ``except``: conditions of which none holds, such as
``below=1100; life_stage=egg``. Values may be globs; ``attribute=`` is an empty value. The class
``-`` leaves out. The first rule that fits gives the class.

``cefas.csv`` holds the scheme of Cefas, in which a noncopepod is every living thing that is no
copepodite and no adult copepod: nauplii, protists and phytoplankton included.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from io import StringIO
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.taxonomy.life_stages import known_stage, stage_of
from pi10_classifier.taxonomy.table import ACCEPTED, TaxonTable, folded, read_text

FILE = "cefas.csv"
NEEDED = ("class", "below")
COLUMNS = (*NEEDED, "when", "except", "why")
LIFE_STAGE = "life_stage"
LEFT_OUT = "-"
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_NAME = re.compile(r"[^a-z0-9]+")


def attribute_name(text: str) -> str:
    """One name for ``Life_stage``, ``lifeStage`` and ``life stage``: ``life_stage``."""
    return _NO_NAME.sub("_", folded(_HUMP.sub("_", text.strip()))).strip("_")


@dataclass(frozen=True, slots=True)
class Condition:
    """An attribute has one of the values, which are globs in lower case."""

    attribute: str
    values: tuple[str, ...]

    def holds(self, attributes: Mapping[str, str]) -> bool:
        text = attributes.get(self.attribute, "")
        return any(fnmatchcase(text, value) for value in self.values)


@dataclass(frozen=True, slots=True)
class ClassRule:
    """``label`` for what is at or below one of ``below``, if the conditions allow it."""

    label: str
    below: tuple[int, ...] = ()
    when: tuple[Condition, ...] = ()
    not_below: tuple[int, ...] = ()
    unless: tuple[Condition, ...] = ()
    why: str = ""
    title: str = ""

    def is_over(self, above: frozenset[int]) -> bool:
        """Whether a taxon with these identifiers in its lineage is in the rule's place."""
        return (not self.below or not above.isdisjoint(self.below)) and above.isdisjoint(
            self.not_below
        )

    def allows(self, attributes: Mapping[str, str], beside: str = "") -> bool:
        """Whether the conditions allow it, but for those of the attribute ``beside``."""
        return all(
            condition.holds(attributes) for condition in self.when if condition.attribute != beside
        ) and not any(
            condition.holds(attributes)
            for condition in self.unless
            if condition.attribute != beside
        )

    @property
    def stages(self) -> tuple[str, ...]:
        """The life stages that it names."""
        return tuple(
            value
            for condition in (*self.when, *self.unless)
            if condition.attribute == LIFE_STAGE
            for value in condition.values
        )


@dataclass(frozen=True, slots=True)
class Assigned:
    """The class of one taxon; ``note`` says what was not taken as it came, else it is empty.

    ``aphia_id`` is the accepted identifier, which the table may not hold; None without a taxon.
    """

    label: str
    aphia_id: int | None
    rule: ClassRule
    note: str = ""


class ClassRules:
    """Rules in their order: the first that fits gives the class."""

    def __init__(self, rules: tuple[ClassRule, ...], table: TaxonTable) -> None:
        """Raises SettingError for a rule whose ancestor the table does not hold."""
        for rule in rules:
            for ancestor in (*rule.below, *rule.not_below):
                table[ancestor]
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
        """The classes that the rules can give, in the order of the rules; ``-`` among them."""
        return tuple(dict.fromkeys(rule.label for rule in self.rules))

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes that the rules ask for."""
        named = (c.attribute for rule in self.rules for c in (*rule.when, *rule.unless))
        return tuple(dict.fromkeys(named))

    def assign(self, aphia_id: int | None, attributes: Mapping[str, str] | None = None) -> Assigned:
        """The class of a taxon. An identifier that is not accepted counts as the accepted one.

        aphia_id: None for what is no taxon. attributes: by ``attribute_name``. Raises SettingError
        for an AphiaID that is unknown, or neither accepted nor replaced; for an unknown life stage
        that a rule would have to judge; and where no rule fits.
        """
        above, used, note = self._place(aphia_id)
        given = {name: folded(text) for name, text in (attributes or {}).items()}
        stage = known_stage(given.get(LIFE_STAGE, ""))
        if stage is not None:
            given[LIFE_STAGE] = stage
        unknown = stage is None and not any(
            fnmatchcase(given[LIFE_STAGE], value) for rule in self.rules for value in rule.stages
        )
        for rule in self.rules:
            if not rule.is_over(above):
                continue
            if unknown and rule.stages and rule.allows(given, LIFE_STAGE):
                stage_of((attributes or {})[LIFE_STAGE])
            if rule.allows(given):
                return Assigned(rule.label, used, rule, note)
        what = "what has no taxon"
        if aphia_id is not None:
            what = f"{self.table[aphia_id].name} (AphiaID {aphia_id})"
        also = "; ".join(f"{name}={text}" for name, text in given.items() if text)
        raise SettingError(
            f"no rule gives a class to {what}{f' with {also}' if also else ''}; add a rule for it, "
            f"or with the class {LEFT_OUT!r}"
        )

    def _place(self, aphia_id: int | None) -> tuple[frozenset[int], int | None, str]:
        """The identifiers of a taxon's lineage, the accepted one, and what was replaced."""
        if aphia_id is None:
            return frozenset(), None, ""
        taxon = self.table[aphia_id]
        used, note = taxon.aphia_id, ""
        if taxon.status != ACCEPTED:
            note = f"AphiaID {aphia_id} ({taxon.name}) has the status {taxon.status!r} in WoRMS"
            if taxon.accepted_id is None:
                raise SettingError(
                    f"{note}, which names no other; give the accepted AphiaID instead"
                )
            used = taxon.accepted_id
            note += f"; {used} was used"
        # a taxon that WoRMS has renamed keeps its own place where the accepted one is not listed
        place = used if used in self.table else aphia_id
        return frozenset(step.aphia_id for step in self.table.lineage(place)), used, note


def _parse(text: str, origin: str, table: TaxonTable) -> tuple[ClassRule, ...]:
    rules: list[ClassRule] = []
    reader = csv.DictReader(StringIO(text), strict=True)
    try:
        header = [str(name).strip() for name in reader.fieldnames or ()]
        if not set(NEEDED) <= set(header) <= set(COLUMNS) or len(header) != len(set(header)):
            raise SettingError(
                f"{origin}, line 1: {','.join(header)!r}; needed: {','.join(COLUMNS)}, of which "
                f"all but {' and '.join(NEEDED)} may be missing"
            )
        reader.fieldnames = header
        for row in reader:
            where = f"{origin}, line {reader.line_num}"
            if None in row or None in row.values():
                raise SettingError(
                    f"{where}: not the {len(header)} fields of the header; put a text with commas "
                    "in quotes"
                )
            try:
                rules.append(_rule({name: row.get(name, "").strip() for name in COLUMNS}, table))
            except SettingError as error:
                raise SettingError(f"{where}: {error.message}") from None
    except csv.Error as error:
        raise SettingError(
            f"{origin}, line {reader.line_num}: {error}; save it as plain CSV"
        ) from None
    if not rules:
        raise SettingError(f"{origin} holds no rule; give lines of {','.join(COLUMNS)}")
    return tuple(rules)


def _rule(row: Mapping[str, str], table: TaxonTable) -> ClassRule:
    if not row["class"]:
        raise SettingError(f"class is empty; give one, or {LEFT_OUT!r} to leave out")
    not_below: list[int] = []
    unless: list[Condition] = []
    for name, values in _conditions(row["except"], "except"):
        if name == "below":
            not_below += _identifiers("|".join(values), "except below", table)
        else:
            unless.append(Condition(name, values))
    when = tuple(Condition(name, values) for name, values in _conditions(row["when"], "when"))
    if any(condition.attribute == "below" for condition in when):
        raise SettingError("when has 'below'; give AphiaIDs in the column below")
    title = "; ".join(
        text
        for text in (
            f"below {row['below']}" if row["below"] else "",
            row["when"],
            f"except {row['except']}" if row["except"] else "",
        )
        if text
    )
    return ClassRule(
        row["class"],
        tuple(_identifiers(row["below"], "below", table)),
        when,
        tuple(not_below),
        tuple(unless),
        row["why"],
        title or "everything else",
    )


def _conditions(text: str, column: str) -> list[tuple[str, tuple[str, ...]]]:
    conditions = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, rest = part.partition("=")
        attribute = attribute_name(name)
        if not equals or not attribute:
            raise SettingError(
                f"{column} has {part!r}; give attribute=value|value, with ; between conditions"
            )
        values = [folded(value) for value in rest.split("|")]
        if attribute == LIFE_STAGE:
            # a stage in a form of its own, such as CV, is compared as it is
            stages = [known_stage(value) for value in values]
            values = [v if s is None else s for v, s in zip(values, stages, strict=True)]
        conditions.append((attribute, tuple(values)))
    return conditions


def _identifiers(text: str, column: str, table: TaxonTable) -> list[int]:
    numbers = []
    for part in filter(None, (part.strip() for part in text.split("|"))):
        if not (part.isascii() and part.isdigit() and len(part) < 11):
            raise SettingError(f"{column} is {part!r}; give AphiaIDs, with | between them")
        numbers.append(table[int(part)].aphia_id)
    return numbers
