"""The label map whose rules are those of taxa: ``--label-map taxa``, or a table of rules."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pi10_classifier.datasets.label_map import LEFT_OUT, LabelMap, check_twins, tidy_label
from pi10_classifier.datasets.taxa import label as labels
from pi10_classifier.datasets.taxa.columns import APHIA_ID, CLASS, LABEL, TAXON, identifier
from pi10_classifier.datasets.taxa.label import NEAREST, TaxonLabel
from pi10_classifier.errors import Code, SettingError
from pi10_classifier.taxonomy.class_rules import LIFE_STAGE, NEEDED, Assigned, ClassRules
from pi10_classifier.taxonomy.table import Taxon, TaxonTable

TAXA = "taxa"
"""The name of the shipped rules."""
_KEPT = (LIFE_STAGE, CLASS, "body_part")


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a label. group: the class, ``-`` to leave it out, None where none is known.

    rule: the rule that gave the class, and why. note: what was not taken as it came, or why there
    is no class. code: of ``errors.Code``, where there is none.
    """

    group: str | None
    rule: str = ""
    note: str = ""
    code: Code = Code.UNKNOWN_LABEL


class TaxonMap(LabelMap):
    """A label map by lineage. Its ``rules`` are the rules' texts and classes, in order."""

    def __init__(self, rules: ClassRules, *, shipped: bool = False) -> None:
        """shipped: the rules are those of the package, of which a data set need not use each.

        Raises SettingError for rules without a class.
        """
        pairs = tuple((rule.title, rule.label) for rule in rules.rules)
        object.__setattr__(self, "rules", pairs)
        object.__setattr__(self, "_rules", rules)
        object.__setattr__(self, "_decisions", {})
        object.__setattr__(self, "shipped", shipped)
        if not self.classes:
            raise SettingError("the rules give no class; add one other than '-'")
        check_twins(self.classes)

    shipped: bool
    _rules: ClassRules
    _decisions: dict[str, Decision]

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes that a label keeps beside the taxon."""
        return tuple(dict.fromkeys((*_KEPT, *self._rules.attributes)))

    def label_of(self, cells: Mapping[str, str], label: str) -> str:
        """The label of a table's row: its taxon and attributes; its own label where it has none.

        Raises SettingError for a table with neither.
        """
        if not any(name in cells for name in TAXON):
            if LABEL in cells:
                return label
            raise SettingError(
                f"the table has the columns {', '.join(cells)}; a taxon is in aphia_id (also "
                "scientificNameID), scientificName or object_annotation_category; name others in "
                "a file TABLE.columns.csv with lines of name,column"
            )
        return tidy_label(str(labels.of_cells(cells, self.attributes, self._rules.table)))

    def decide(self, label: str) -> Decision:
        """The class of a label and how it came about."""
        decision = self._decisions.get(label)
        if decision is None:
            decision = self._decisions[label] = self._decide(label)
        return decision

    def group(self, label: str) -> str | None:
        return self.decide(label).group

    def unused(self, labels: Iterable[str]) -> tuple[str, ...]:
        """The rules that gave no label a class, unless they come with the package."""
        if self.shipped:
            return ()
        used = {self.decide(label).rule for label in labels}
        return tuple(
            dict.fromkeys(
                rule.title for rule in self._rules.rules if _shown(rule.title, rule.why) not in used
            )
        )

    def unknown(self, labels: Iterable[str]) -> tuple[int, ...]:
        """The AphiaIDs of labels that are not among the known taxa, in ascending order."""
        numbers = set()
        for label in labels:
            try:
                numbers.add(identifier(TaxonLabel.parse(label).attributes.get(APHIA_ID, "")))
            except SettingError:
                continue  # no AphiaID at all, as the label's own note says
        return tuple(sorted(n for n in numbers if n is not None and n not in self._rules.table))

    def _decide(self, label: str) -> Decision:
        table = self._rules.table
        given = TaxonLabel.parse(label)
        bare = not given.attributes
        if bare and given.name:
            given = labels.of_folders(given.name, table)
        attributes = {**given.attributes, "name": given.name}
        if status := attributes.get("status"):
            return Decision(None, note=f"{status} in EcoTaxa, not validated; validate it there")
        try:
            number, note = self._number(given)
            if bare and number is not None:
                note = f"AphiaID {number} by the name"
            assigned = self._rules.assign(number, attributes)
            other = self._other(given, number)
            if other is not None:
                said = self._rules.assign(other.aphia_id, attributes)
                contradiction = (
                    f"AphiaID {number} is {table[number or 0].name}, but the name is {other.name} "
                    f"(AphiaID {other.aphia_id})"
                )
                if said.label != assigned.label:
                    return Decision(
                        None,
                        note=f"{contradiction}; correct one of them",
                        code=Code.MISLABELLED,
                    )
                note = "; ".join(filter(None, (note, f"{contradiction}; both have this class")))
        except SettingError as error:
            return Decision(None, note=error.message)
        return _decided(assigned, note)

    def _number(self, given: TaxonLabel) -> tuple[int | None, str]:
        """The AphiaID to go by, and a note where it is not the label's own."""
        table = self._rules.table
        text = given.attributes.get(APHIA_ID, "")
        number = identifier(text)
        if number is not None and number in table:
            return number, ""
        nearest = identifier(given.attributes.get(NEAREST, ""))
        if number is None:
            taxon = table.by_name(given.name)
            if taxon:
                return taxon.aphia_id, f"AphiaID {taxon.aphia_id} by the name"
            if nearest is not None:
                return nearest, f"{given.name} is not known; {table[nearest].name} is above it"
            return None, ""
        if nearest is not None:
            return nearest, f"AphiaID {number} is not known; {table[nearest].name} is above it"
        table[number]  # tells that it is unknown
        raise AssertionError(number)

    def _other(self, given: TaxonLabel, number: int | None) -> Taxon | None:
        """The taxon of the label's name, where it is another than that of its AphiaID."""
        if APHIA_ID not in given.attributes or number is None or number not in self._rules.table:
            return None
        named = self._rules.table.by_name(given.name)
        numbered = self._rules.table[number]
        if named is None or {named.aphia_id, named.accepted_id} & {
            numbered.aphia_id,
            numbered.accepted_id or numbered.aphia_id,
        }:
            return None
        return named


def _decided(assigned: Assigned, note: str) -> Decision:
    notes = "; ".join(filter(None, (note, assigned.note)))
    rule = _shown(assigned.rule.title, assigned.rule.why)
    code = Code.LABEL_LEFT_OUT if assigned.label == LEFT_OUT else Code.UNKNOWN_LABEL
    return Decision(assigned.label, rule, notes, code)


def _shown(title: str, why: str) -> str:
    return f"{title} ({why})" if why else title


@lru_cache(maxsize=4)
def _table(extra: Path | None) -> TaxonTable:
    return TaxonTable.load(extra)


def read_label_map(path: Path, taxa: Path | None = None) -> LabelMap:
    """A label map: ``taxa``, a table of rules for taxa, or one of ``label,class``.

    A file of the name ``taxa`` comes before the shipped rules. taxa: more taxa, as
    ``TaxonTable.load`` takes them. Raises SettingError.
    """
    if str(path) == TAXA and not path.exists():
        return TaxonMap(ClassRules.load(_table(taxa)), shipped=True)
    if _has_rules(path):
        return TaxonMap(ClassRules.load(_table(taxa), path))
    if taxa is not None:
        raise SettingError(
            f"{taxa} holds taxa, but the label map {path} has none; its columns would be "
            f"{','.join(NEEDED)}"
        )
    return LabelMap.read(path)


def _has_rules(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header = next(csv.reader(io.StringIO(stream.readline(2**16))), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False  # read again, and told, as a map of labels
    return set(NEEDED) <= {name.strip() for name in header}
