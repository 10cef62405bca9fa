"""The labels of one source, where a label map goes by taxon; and what became of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import Entry, LabelUse, LeftOut
from pi10_classifier.datasets.taxa.columns import LABEL
from pi10_classifier.datasets.taxa.ecotaxa import EcoTaxaExport
from pi10_classifier.datasets.taxa.taxon_map import TAXA, TaxonMap
from pi10_classifier.errors import SettingError


class SourceLabels:
    """Gives the entries of one source labels that tell taxon and attributes."""

    def __init__(self, path: Path, taxon_map: TaxonMap) -> None:
        """Raises SettingError for an export of EcoTaxa that cannot be read."""
        self._path, self._map = path, taxon_map
        self._export = EcoTaxaExport.of(path)

    def give(self, entry: Entry) -> tuple[Entry, LeftOut | None]:
        """The entry with its label; or why it is left out. Raises SettingError."""
        if self._export and entry.cells is None:
            entry, lost = self._export.give(entry)
            if lost:
                return entry, lost
        if entry.cells is not None:
            try:
                entry = replace(entry, label=self._map.label_of(entry.cells, entry.label))
            except SettingError as error:
                raise SettingError(f"{self._path}: {error.message}") from None
        return entry, None

    def unused(self, source: str) -> list[LeftOut]:
        """The images that an export names and does not hold."""
        return self._export.unused(source) if self._export else []


def taxa_of(path: Path, label_map: LabelMap | None) -> SourceLabels | None:
    """The labels by taxon of a source; None where the label map does not go by taxon."""
    return SourceLabels(path, label_map) if isinstance(label_map, TaxonMap) else None


def check_has_label(entry: Entry, path: Path, given: object) -> None:
    """Raise SettingError for a table of taxa where nothing gives them labels."""
    if given is None and entry.cells is not None and LABEL not in entry.cells:
        raise SettingError(
            f"table {path} has taxa and no column label; give --label-map {TAXA}, or a table of "
            "rules with the columns class,below,when,except,why"
        )


def uses(files: Mapping[tuple[str, str], int], label_map: LabelMap | None) -> tuple[LabelUse, ...]:
    """What became of each label. files: number of files by source and label."""
    if not isinstance(label_map, TaxonMap):
        return ()
    rows = []
    for (source, label), number in sorted(files.items()):
        decision = label_map.decide(label)
        rows.append(
            LabelUse(source, label, decision.group or "", number, decision.rule, decision.note)
        )
    return tuple(rows)
