"""Status, category and person of an object: the model's prediction, or what a person said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.taxa import Taxon
from pi10_classifier.labelling.labels import Label, LabelStore, verdicts

COLUMNS = (
    "object_annotation_status", "object_annotation_category", "object_annotation_category_id",
    "object_annotation_person_name", "object_annotation_person_email", "object_annotation_date",
    "object_annotation_time",
)  # fmt: skip
_PREDICTED, _VALIDATED = "predicted", "validated"
# labels that are no class: EcoTaxa's own names for them, which an import knows
_BESIDE = {"several": "multiple<other", "unknown": "othertocheck"}

Cells = tuple[str, ...]


class Annotations:
    """The cells of ``COLUMNS``, by predicted label or by particle.

    contradicting: particles on which labellers differ; they stay predicted. by_name: categories
    without an EcoTaxa id that were given out, for which EcoTaxa asks at the import.
    """

    def __init__(
        self, run: Path, classes: Sequence[str], taxa: Mapping[str, Taxon], facts: DatasetFacts
    ) -> None:
        self._taxa = taxa
        # EcoTaxa remembers a name by its first row: one name, one id
        self._ids: dict[str, int] = {}
        for taxon in taxa.values():
            name = taxon.name or taxon.label
            self._ids[name] = self._ids.get(name) or taxon.ecotaxa_id
        self._emails = {person.name.casefold(): person.email for person in facts.people}
        lines = LabelStore(run, classes).read()
        known = verdicts(lines)
        self.contradicting = known.contradicting
        self._labels = {
            line.particle_id: line for line in lines if line.particle_id in known.label_of
        }
        self._predicted: dict[str, Cells] = {}
        self.by_name: set[str] = set()

    def of(self, particle_id: str, predicted: str) -> tuple[Cells, bool]:
        """The cells of an object, and whether a person gave them."""
        label = self._labels.get(particle_id)
        if label is not None:
            return self._validated(label), True
        cells = self._predicted.get(predicted)
        if cells is None:
            cells = self._predicted[predicted] = (
                _PREDICTED, *self._category(predicted), "", "", "", "",
            )  # fmt: skip
        return cells, False

    def _validated(self, label: Label) -> Cells:
        date, _, time = label.time.removesuffix("Z").partition("T")
        return (
            _VALIDATED,
            *self._category(label.label, label.taxon),
            label.labeller,
            self._emails.get(label.labeller.casefold(), ""),
            date.replace("-", ""),
            time.replace(":", ""),
        )

    def _category(self, label: str, finer: str = "") -> tuple[str, str]:
        taxon = self._taxa.get(label)
        name = finer or (taxon.name if taxon else "") or _BESIDE.get(label, label)
        number = self._ids.get(name, 0)
        if not number:
            self.by_name.add(name)
        return name, str(number or "")
