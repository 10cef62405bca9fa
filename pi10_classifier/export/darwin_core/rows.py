"""The rows of a Darwin Core Archive: events, occurrences, measurements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

from pi10_classifier.errors import SettingError
from pi10_classifier.export.darwin_core.events import SAMPLE, Event
from pi10_classifier.export.darwin_core.terms import (
    ABSENT,
    ABUNDANCE,
    COUNT,
    INDIVIDUALS,
    INSTRUMENT,
    LITRES,
    MACHINE_OBSERVATION,
    PER_CUBIC_METRE,
    PLANKTON_IMAGER,
    PREDICTED,
    PRESENT,
    SUBSAMPLING,
    VALIDATED,
    VOLUME,
    Measurement,
)
from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.run_tables import Amount, RunTables, together
from pi10_classifier.export.taxa import Taxon, is_within
from pi10_classifier.export.validated import Corrected, Validated
from pi10_classifier.instrument.names import UM_PER_PX

Row = dict[str, str]
_PROTOCOL = (
    "Plankton Imager Pi-10: water pumped from the ship's intake through a flow cell, 34 litres a "
    "minute, imaged by a line-scan camera; particles above about 180 µm"
)
_RAISING = (
    "each minute's images of a class times (hits + misses) / images of that minute, over the "
    "litres of the minutes that have a density"
)


@dataclass(frozen=True, slots=True)
class Found:
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


def finds(
    run: RunTables,
    events: Sequence[Event],
    groups: Mapping[Taxon, tuple[str, ...]],
    validated: Validated,
) -> Iterator[Found]:
    """Of each bin and taxon what the model found, and apart from it what people verified."""
    for event in events:
        if event.kind == SAMPLE:
            for taxon, labels in groups.items():
                yield from _finds(run, event, taxon, labels, validated)


def _finds(
    run: RunTables, event: Event, taxon: Taxon, labels: tuple[str, ...], validated: Validated
) -> Iterator[Found]:
    keys = [(event.key, label) for label in labels]
    if verified := sum(validated.verified.get(key, 0) for key in keys):
        yield Found(event, taxon, labels, verified=verified)
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
        yield Found(event, taxon, labels, amount, corrected)


def without_contradictions(found: Iterable[Found]) -> tuple[list[Found], list[Found]]:
    """What to publish, and absences of what is present after all.

    A taxon is present where people verified it, or where a taxon below it is present: "no animal"
    beside "a copepod" would be false.
    """
    everything = list(found)
    present: dict[str, list[Taxon]] = {}
    for one in everything:
        if one.is_present:
            present.setdefault(one.event.id, []).append(one.taxon)
    kept: list[Found] = []
    contradicted: list[Found] = []
    within = cache(is_within)
    for one in everything:
        others = present.get(one.event.id, ())
        false = not one.is_present and any(within(other, one.taxon) for other in others)
        (contradicted if false else kept).append(one)
    return kept, contradicted


def _sum(parts: Sequence[Corrected | None]) -> Corrected | None:
    """Several classes as one taxon; their limits cannot be added, so that there are none then."""
    known = [part for part in parts if part]
    if len(known) < len(parts) or not known:
        return None
    if len(known) == 1:
        return known[0]
    return Corrected(sum(part.per_litre for part in known), None, None, known[0].labelled)


def number(value: float) -> str:
    return f"{value:.6g}"


def _date(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def event_row(event: Event, facts: DatasetFacts) -> Row:
    north, east = event.position
    return {
        "eventID": event.id,
        "parentEventID": event.parent,
        "eventType": event.kind,
        "eventDate": f"{_date(event.start)}/{_date(event.end)}",
        # of the samples alone: the cruise's would count their water twice
        "samplingProtocol": _PROTOCOL if event.kind == SAMPLE else "",
        "sampleSizeValue": number(event.litres / LITRES) if event.kind == SAMPLE else "",
        "sampleSizeUnit": "cubic metre" if event.kind == SAMPLE else "",
        "minimumDepthInMeters": number(facts.intake_depth_m),
        "maximumDepthInMeters": number(facts.intake_depth_m),
        "decimalLatitude": f"{north:.5f}",
        "decimalLongitude": f"{east:.5f}",
        "geodeticDatum": "EPSG:4326",
        "coordinateUncertaintyInMeters": f"{event.uncertainty_m:.0f}",
        "footprintWKT": event.track,
        "footprintSRS": "EPSG:4326" if event.track else "",
        "locality": facts.area,
        "datasetName": facts.title,
        "institutionCode": facts.institution_code,
        "license": facts.licence.url,
        "eventRemarks": event.remarks,
    }


def occurrence_row(found: Found, run: RunTables, facts: DatasetFacts) -> Row:
    """Raises SettingError where people have verified and ``dataset.toml`` does not name them."""
    taxon = found.taxon
    people = facts.having("verifier") if found.verified else ()
    if found.verified and not people:
        raise SettingError(
            "people have labelled particles of this run, but nobody in dataset.toml has the role "
            "'verifier'; OBIS wants to know who has identified: add it to those who labelled"
        )
    quantity, kind = _quantity(found)
    return {
        "eventID": found.event.id,
        "occurrenceID": found.id,
        "basisOfRecord": MACHINE_OBSERVATION,
        "occurrenceStatus": PRESENT if found.is_present else ABSENT,
        "scientificName": taxon.name,
        "scientificNameID": taxon.lsid,
        "taxonRank": taxon.rank,
        "kingdom": taxon.kingdom,
        "verbatimIdentification": " | ".join(found.labels),
        "identificationRemarks": _identification(found),
        "identifiedBy": " | ".join(person.name for person in people)
        or facts.machine
        or f"{run.model} {run.model_version}",
        "identifiedByID": " | ".join(
            f"https://orcid.org/{person.orcid}" for person in people if person.orcid
        ),
        "identificationVerificationStatus": found.status,
        "identificationReferences": f"model {run.model} {run.model_version}, SHA-256 "
        f"{run.model_sha256}; pi10-classifier {run.software}",
        "organismQuantity": quantity,
        "organismQuantityType": kind if quantity else "",
        "occurrenceRemarks": _remarks(found),
    }


def _quantity(found: Found) -> tuple[str, str]:
    if found.verified:
        return str(found.verified), INDIVIDUALS
    if found.per_litre is None or not _fits(found):
        return "", ""
    return number(found.per_litre * LITRES), PER_CUBIC_METRE


def _fits(found: Found) -> bool:
    """Whether the density goes with the status: present takes more than 0."""
    return found.per_litre is not None and (found.per_litre > 0) == found.is_present


def _remarks(found: Found) -> str:
    if found.verified:
        return (
            f"{found.verified} of the images that people looked at; no density follows from them "
            "alone: it is under PredictedByMachine"
        )
    amount = found.amount
    if amount is None:
        return ""
    if found.corrected:
        unseen = found.corrected.per_litre > 0 and not amount.count + amount.count_outside
        return (
            "the model sorted no image of this event so; the density follows from its errors"
            if unseen
            else ""
        )
    if amount.count + amount.count_outside == 0:
        return f"looked for in {found.event.images} images and not found"
    if amount.count == 0:
        return f"{amount.count_outside} images, all in minutes without a density"
    if amount.count_outside:
        return f"{amount.count_outside} more images in minutes without a density"
    return ""


def _identification(found: Found) -> str:
    classes = " and ".join(f"'{label}'" for label in found.labels)
    text = f"class{'es' * (len(found.labels) > 1)} {classes}"
    if found.taxon.remarks:
        text += f" ({found.taxon.remarks})"
    if found.verified:
        return f"{text}; people looked at each of these images"
    if found.corrected:
        return (
            f"{text} of the model; the density is corrected by a probability sample of "
            f"{found.corrected.labelled} particles that people have labelled (post-stratification)"
        )
    return f"{text} of the model; no person has verified it, the model's errors are in it"


def event_measurements(event: Event) -> Iterator[Row]:
    """Instrument, volume, and the share of the particles that was imaged."""
    instrument, instrument_id = PLANKTON_IMAGER
    yield _emof(event.id, "", INSTRUMENT, instrument) | {"measurementValueID": instrument_id}
    yield _emof(event.id, "", VOLUME, number(event.litres / LITRES)) | {
        "measurementMethod": "34 litres a minute (the pump's nominal flow) times the minutes that "
        "have a density"
    }
    yield _emof(event.id, "", SUBSAMPLING, number(event.sampled_share)) | {
        "measurementMethod": "images classified / (hits + misses), over the same minutes",
        "measurementRemarks": "share of the particles of that volume that is imaged and "
        "classified; counts are of this share alone. Densities are raised minute by minute, so "
        "that they are near, but not equal to, count / share / volume",
    }


def occurrence_measurements(found: Found, run: RunTables) -> Iterator[Row]:
    """Density and count; none where the status and the quantity do not go together."""
    if found.verified:
        yield _emof(found.event.id, found.id, COUNT, str(found.verified)) | {
            "measurementMethod": f"images of {UM_PER_PX:g} µm per pixel, labelled by people",
            "measurementRemarks": "those images of the event that people looked at; no density "
            "follows from them alone",
        }
        return
    images = f"images of {UM_PER_PX:g} µm per pixel, classified by {run.model} {run.model_version}"
    method = f"{images}; {_RAISING}"
    if found.corrected:
        method += (
            "; then corrected by the classes that people gave to a sample drawn in proportion to "
            "the raising factors (post-stratification)"
        )
    if _fits(found) and found.per_litre is not None:
        row = _emof(found.event.id, found.id, ABUNDANCE, number(found.per_litre * LITRES))
        yield row | {"measurementMethod": method, "measurementRemarks": _intervals(found)}
    # images as the model sorted them say nothing of a corrected density
    if found.amount and not found.corrected and (found.amount.count > 0) == found.is_present:
        row = _emof(found.event.id, found.id, COUNT, str(found.amount.count))
        yield row | {
            "measurementMethod": images,
            "measurementRemarks": "images; they are the share of the particles that the event's "
            "sub-sampling coefficient tells, so do not divide them by the volume alone",
        }


def _intervals(found: Found) -> str:
    def span(low: float, high: float) -> str:
        return f"{number(low * LITRES)} to {number(high * LITRES)} per cubic metre"

    if found.corrected:
        low, high = found.corrected.low, found.corrected.high
        if low is None or high is None:
            return "several classes make up the taxon; no interval is given"
        return (
            f"95 % interval {span(low, high)}: chance of counting, errors of the model, and "
            "differences between bins"
        )
    texts = []
    amount = found.amount
    if amount and amount.low is not None and amount.high is not None:
        texts.append(f"95 % interval {span(amount.low, amount.high)} for the water sampled")
    if amount and amount.water_mass_low is not None and amount.water_mass_high is not None:
        texts.append(f"{span(amount.water_mass_low, amount.water_mass_high)} for the water mass")
    return "; ".join((*texts, "errors of the model are in neither")) if texts else ""


def _emof(event_id: str, occurrence_id: str, kind: Measurement, value: str) -> Row:
    return {
        "eventID": event_id,
        "occurrenceID": occurrence_id,
        "measurementType": kind.name,
        "measurementTypeID": kind.type_id,
        "measurementValue": value,
        "measurementUnit": kind.unit,
        "measurementUnitID": kind.unit_id,
    }
