"""Occurrences: what was found of each taxon in each bin, and what people verified of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from pi10_classifier.export.darwin_core.events import SAMPLE, Event
from pi10_classifier.export.darwin_core.terms import PREDICTED, VALIDATED
from pi10_classifier.export.run_tables import Amount, RunTables, together
from pi10_classifier.export.taxa import Taxon, is_within
from pi10_classifier.export.validated import Corrected, Validated


@dataclass(frozen=True, slots=True)
class Occurrence:
    """What is published of a taxon in a bin under one status; densities are per litre.

    amount: what the model sorted, None where it knows none of the classes in this bin. corrected:
    its density by a sample that people labelled. verified: particles that people called so; the
    others are None then.
    """

    event: Event
    taxon: Taxon
    labels: tuple[str, ...]
    amount: Amount | None = None
    corrected: Corrected | None = None
    verified: int = 0

    @property
    def per_litre(self) -> float | None:
        if self.corrected:
            return self.corrected.per_litre
        return self.amount.per_litre if self.amount else None

    @property
    def is_present(self) -> bool:
        if self.verified:
            return True
        if self.corrected or self.amount is None:
            return bool(self.per_litre)
        # seen in minutes without a density: it was there, but nobody can say how much
        return self.amount.count + self.amount.count_outside > 0

    @property
    def status(self) -> str:
        return VALIDATED if self.verified else PREDICTED

    @property
    def id(self) -> str:
        suffix = "validated" if self.verified else "predicted"
        return f"{self.event.id}:{self.taxon.aphia_id}:{suffix}"


def occurrences_of(
    run: RunTables,
    events: Sequence[Event],
    groups: Mapping[Taxon, tuple[str, ...]],
    validated: Validated,
) -> Iterator[Occurrence]:
    """Of each bin and taxon what the model found, and apart from it what people verified."""
    for event in events:
        if event.kind == SAMPLE:
            for taxon, labels in groups.items():
                yield from _of_taxon(run, event, taxon, labels, validated)


def _of_taxon(
    run: RunTables, event: Event, taxon: Taxon, labels: tuple[str, ...], validated: Validated
) -> Iterator[Occurrence]:
    keys = [(event.key, label) for label in labels]
    if verified := sum(validated.verified.get(key, 0) for key in keys):
        yield Occurrence(event, taxon, labels, verified=verified)
    amounts = run.bins[event.key].amounts
    present = [amounts[label] for label in labels if label in amounts]
    amount = together(present, event.litres) if present else None
    corrected = _sum([validated.by_bin.get(key) for key in keys])
    seen = sum(validated.predicted.get(key, 0) for key in keys)
    if amount and seen:  # what people looked at is told under their own status
        amount = replace(amount, count=max(amount.count - seen, 0))
        if not corrected and not amount.count + amount.count_outside:
            return
    if amount or corrected:
        yield Occurrence(event, taxon, labels, amount, corrected)


def without_contradictions(
    occurrences: Iterable[Occurrence],
) -> tuple[list[Occurrence], list[Occurrence]]:
    """What to publish, and absences of what is present after all.

    A taxon is present where people verified it, or where a taxon below it is present: "no animal"
    beside "a copepod" would be false.
    """
    everything = list(occurrences)
    present: dict[str, list[Taxon]] = {}
    for occurrence in everything:
        if occurrence.is_present:
            present.setdefault(occurrence.event.id, []).append(occurrence.taxon)
    kept: list[Occurrence] = []
    contradicted: list[Occurrence] = []
    within = cache(is_within)
    for occurrence in everything:
        taxa = present.get(occurrence.event.id, ())
        is_false = not occurrence.is_present and any(
            within(taxon, occurrence.taxon) for taxon in taxa
        )
        (contradicted if is_false else kept).append(occurrence)
    return kept, contradicted


def _sum(parts: Sequence[Corrected | None]) -> Corrected | None:
    """Several classes as one taxon; their limits cannot be added, so that there are none then."""
    known = [part for part in parts if part]
    if len(known) < len(parts) or not known:
        return None
    if len(known) == 1:
        return known[0]
    return Corrected(sum(part.per_litre for part in known), None, None, known[0].labelled)
