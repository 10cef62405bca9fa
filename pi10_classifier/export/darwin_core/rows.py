"""The rows of a Darwin Core Archive: events, occurrences, measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pi10_classifier.errors import SettingError
from pi10_classifier.export.darwin_core.events import SAMPLE, Event
from pi10_classifier.export.darwin_core.occurrences import Occurrence
from pi10_classifier.export.darwin_core.terms import (
    ABSENT,
    ABUNDANCE,
    BIOVOLUME,
    COUNT,
    INDIVIDUALS,
    INSTRUMENT,
    LITRES,
    MACHINE_OBSERVATION,
    PER_CUBIC_METRE,
    PLANKTON_IMAGER,
    PRESENT,
    SUBSAMPLING,
    VOLUME,
    Measurement,
    of_ship,
)
from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.run_tables import RunTables
from pi10_classifier.export.ship_readings import Reading
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.sizes.by_bin import Biovolume
from pi10_classifier.underway.table import BinMean

Row = dict[str, str]
_PROTOCOL = (
    "Plankton Imager Pi-10: water pumped from the ship's intake through a flow cell, 34 litres a "
    "minute, imaged by a line-scan camera; particles above about 180 µm"
)
_RAISING = (
    "each minute's images of a class times (hits + misses) / images of that minute, over the "
    "litres of the minutes that have a density"
)


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


def occurrence_row(occurrence: Occurrence, run: RunTables, facts: DatasetFacts) -> Row:
    """Raises SettingError where people have verified and ``dataset.toml`` does not name them."""
    taxon = occurrence.taxon
    people = facts.having("verifier") if occurrence.verified else ()
    if occurrence.verified and not people:
        raise SettingError(
            "people have labelled particles of this run, but nobody in dataset.toml has the role "
            "'verifier'; OBIS wants to know who has identified: add it to those who labelled"
        )
    quantity, kind = _quantity(occurrence)
    return {
        "eventID": occurrence.event.id,
        "occurrenceID": occurrence.id,
        "basisOfRecord": MACHINE_OBSERVATION,
        "occurrenceStatus": PRESENT if occurrence.is_present else ABSENT,
        "scientificName": taxon.name,
        "scientificNameID": taxon.lsid,
        "taxonRank": taxon.rank,
        "kingdom": taxon.kingdom,
        "verbatimIdentification": " | ".join(occurrence.labels),
        "identificationRemarks": _identification(occurrence),
        "identifiedBy": " | ".join(person.name for person in people)
        or facts.machine
        or f"{run.model} {run.model_version}",
        "identifiedByID": " | ".join(
            f"https://orcid.org/{person.orcid}" for person in people if person.orcid
        ),
        "identificationVerificationStatus": occurrence.status,
        "identificationReferences": f"model {run.model} {run.model_version}, SHA-256 "
        f"{run.model_sha256}; pi10-classifier {run.software}",
        "organismQuantity": quantity,
        "organismQuantityType": kind if quantity else "",
        "occurrenceRemarks": _remarks(occurrence),
    }


def _quantity(occurrence: Occurrence) -> tuple[str, str]:
    if occurrence.verified:
        return str(occurrence.verified), INDIVIDUALS
    if occurrence.per_litre is None or not _fits(occurrence):
        return "", ""
    return number(occurrence.per_litre * LITRES), PER_CUBIC_METRE


def _fits(occurrence: Occurrence) -> bool:
    """Whether the density goes with the status: present takes more than 0."""
    return occurrence.per_litre is not None and (occurrence.per_litre > 0) == occurrence.is_present


def _remarks(occurrence: Occurrence) -> str:
    if occurrence.verified:
        return (
            f"{occurrence.verified} of the images that people looked at; no density follows from "
            "them alone: it is under PredictedByMachine"
        )
    amount = occurrence.amount
    if amount is None:
        return ""
    if occurrence.corrected:
        unseen = occurrence.corrected.per_litre > 0 and not amount.count + amount.count_outside
        return (
            "the model sorted no image of this event so; the density follows from its errors"
            if unseen
            else ""
        )
    if amount.count + amount.count_outside == 0:
        return f"looked for in {occurrence.event.images} images and not found"
    if amount.count == 0:
        return f"{amount.count_outside} images, all in minutes without a density"
    if amount.count_outside:
        return f"{amount.count_outside} more images in minutes without a density"
    return ""


def _identification(occurrence: Occurrence) -> str:
    classes = " and ".join(f"'{label}'" for label in occurrence.labels)
    text = f"class{'es' * (len(occurrence.labels) > 1)} {classes}"
    if occurrence.taxon.remarks:
        text += f" ({occurrence.taxon.remarks})"
    if occurrence.verified:
        return f"{text}; people looked at each of these images"
    if occurrence.corrected:
        return (
            f"{text} of the model; the density is corrected by a probability sample of "
            f"{occurrence.corrected.labelled} particles that people have labelled "
            "(post-stratification)"
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


def ship_measurements(
    event: Event, readings: Sequence[Reading], means: Mapping[str, BinMean]
) -> Iterator[Row]:
    """What the ship measured while the bin was sampled; means: by column of ``underway.csv``."""
    for reading in readings:
        if mean := means.get(reading.column):
            yield _emof(event.id, "", of_ship(reading), number(mean.mean)) | {
                "measurementMethod": "instruments of the ship: mean over the minutes of the event, "
                "of each the reading nearest to its middle",
                "measurementRemarks": f"{mean.minutes} minutes have a reading",
            }


def biovolume_measurement(
    occurrence: Occurrence, biovolume: Biovolume | None, run: RunTables
) -> Row | None:
    """None where none is known, and beside a corrected density, which these images do not make."""
    if (
        biovolume is None
        or not biovolume.total
        or occurrence.verified
        or occurrence.corrected
        or not occurrence.is_present
    ):
        return None
    value, low, high = biovolume.per_m3(occurrence.event.litres)
    remarks = "errors of the model, and of the volume of single particles, are not in it"
    if low is not None and high is not None:
        remarks = (
            f"95 % interval {number(low)} to {number(high)} cubic millimetres per cubic metre for "
            f"the water sampled; {remarks}"
        )
    if biovolume.without_size:
        remarks += f"; {biovolume.without_size} of {biovolume.images} images have no size"
    return _emof(occurrence.event.id, occurrence.id, BIOVOLUME, number(value)) | {
        "measurementMethod": f"images of {UM_PER_PX:g} µm per pixel, classified by {run.model} "
        f"{run.model_version}; of each the sphere of its silhouette's area, particles that the "
        f"frame cuts as they are; {_RAISING}",
        "measurementRemarks": remarks,
    }


def occurrence_measurements(occurrence: Occurrence, run: RunTables) -> Iterator[Row]:
    """Density and count; none where the status and the quantity do not go together."""
    if occurrence.verified:
        yield _emof(occurrence.event.id, occurrence.id, COUNT, str(occurrence.verified)) | {
            "measurementMethod": f"images of {UM_PER_PX:g} µm per pixel, labelled by people",
            "measurementRemarks": "those images of the event that people looked at; no density "
            "follows from them alone",
        }
        return
    images = f"images of {UM_PER_PX:g} µm per pixel, classified by {run.model} {run.model_version}"
    method = f"{images}; {_RAISING}"
    if occurrence.corrected:
        method += (
            "; then corrected by the classes that people gave to a sample drawn in proportion to "
            "the raising factors (post-stratification)"
        )
    if _fits(occurrence) and occurrence.per_litre is not None:
        row = _emof(
            occurrence.event.id, occurrence.id, ABUNDANCE, number(occurrence.per_litre * LITRES)
        )
        yield row | {"measurementMethod": method, "measurementRemarks": _intervals(occurrence)}
    # images as the model sorted them say nothing of a corrected density
    if (
        occurrence.amount
        and not occurrence.corrected
        and (occurrence.amount.count > 0) == occurrence.is_present
    ):
        row = _emof(occurrence.event.id, occurrence.id, COUNT, str(occurrence.amount.count))
        yield row | {
            "measurementMethod": images,
            "measurementRemarks": "images; they are the share of the particles that the event's "
            "sub-sampling coefficient tells, so do not divide them by the volume alone",
        }


def _intervals(occurrence: Occurrence) -> str:
    def span(low: float, high: float) -> str:
        return f"{number(low * LITRES)} to {number(high * LITRES)} per cubic metre"

    if occurrence.corrected:
        low, high = occurrence.corrected.low, occurrence.corrected.high
        if low is None or high is None:
            return "several classes make up the taxon; no interval is given"
        return (
            f"95 % interval {span(low, high)}: chance of counting, errors of the model, and "
            "differences between bins"
        )
    texts = []
    amount = occurrence.amount
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
