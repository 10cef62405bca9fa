"""Rules of OBIS, EurOBIS and GBIF for a Darwin Core Archive, after EMODnetBiocheck.

What that R package checks without a network (``R/checkdataset.R``), and what OBIS's checklist of
terms demands of imaging data. Whether vocabulary terms and taxa still resolve is not checked: the
terms are compared with a fixed list. Positions on land are flagged by the run, not here.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from pi10_classifier.export.darwin_core.archive_reader import ArchiveContents, read_archive
from pi10_classifier.export.darwin_core.terms import (
    ABSENT,
    EMOF,
    EVENT,
    INSTRUMENT,
    MACHINE_OBSERVATION,
    MEASUREMENTS,
    OCCURRENCE,
    OF_EVENTS,
    PLANKTON_IMAGER,
    PREDICTED,
    PRESENT,
    QUANTITIES,
    VALIDATED,
    Measurement,
    Table,
)
from pi10_classifier.export.identifiers import licence_of

Row = Mapping[str, str]
_LSID = re.compile(r"urn:lsid:marinespecies\.org:taxname:[1-9][0-9]*")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_OF_ALL_EVENTS = ("eventID", "eventType", "eventDate", "datasetName", "institutionCode", "license")
_OF_SAMPLES = (
    "decimalLatitude", "decimalLongitude", "geodeticDatum", "coordinateUncertaintyInMeters",
    "minimumDepthInMeters", "maximumDepthInMeters", "samplingProtocol", "sampleSizeValue",
    "sampleSizeUnit",
)  # fmt: skip
_OF_OCCURRENCES = (
    "occurrenceID", "eventID", "scientificName", "scientificNameID", "taxonRank", "kingdom",
    "occurrenceStatus", "basisOfRecord", "identifiedBy", "identificationVerificationStatus",
    "identificationReferences",
)  # fmt: skip
_OF_MEASUREMENTS = ("eventID", "measurementType", "measurementValue")
_ALLOWED = {
    "occurrenceStatus": (PRESENT, ABSENT),
    "basisOfRecord": (MACHINE_OBSERVATION,),
    "identificationVerificationStatus": (PREDICTED, VALIDATED),
}
_OF_EML = (
    "title", "creator", "metadataProvider", "pubDate", "language", "abstract",
    "intellectualRights", "contact",
)  # fmt: skip


def check(path: Path, of_ship: Sequence[Measurement] = ()) -> list[str]:
    """What is wrong with the archive: file, line, what; empty where all rules are kept.

    of_ship: measurements that events may have beside those of the fixed list; only these may be
    without a measurementTypeID.
    """
    archive = read_archive(path)
    problems = [*archive.problems]
    if set(archive.rows) != {EVENT.file, OCCURRENCE.file, EMOF.file}:
        return problems
    problems += _events(archive)
    problems += _occurrences(archive)
    problems += _measurements(archive, of_ship)
    problems += _metadata(archive)
    return problems


def _numbered(table: Table, rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    for line, row in enumerate(rows, 2):
        yield f"{table.file}, line {line}", row


def _missing(where: str, row: Row, columns: Iterable[str]) -> Iterator[str]:
    for column in columns:
        if not row.get(column):
            yield f"{where}: {column} is empty"


def _repeated(table: Table, rows: Sequence[Row], column: str) -> Iterator[str]:
    for value, count in Counter(row[column] for row in rows).items():
        if count > 1:
            yield f"{table.file}: {column} {value!r} is there {count} times"


def _number(row: Row, column: str) -> float | None:
    try:
        return float(row[column])
    except ValueError:
        return None


def _between(where: str, row: Row, column: str, least: float, most: float) -> Iterator[str]:
    value = _number(row, column)
    if row[column] and (value is None or not least <= value <= most):
        yield f"{where}: {column} is {row[column]!r}, not a number from {least:g} to {most:g}"


def _events(archive: ArchiveContents) -> Iterator[str]:
    rows = archive.of(EVENT)
    if not rows:
        yield f"{EVENT.file}: there is no event"
    yield from _repeated(EVENT, rows, "eventID")
    parent_of = {row["eventID"]: row["parentEventID"] for row in rows}
    holding = {row["eventID"] for row in archive.of(OCCURRENCE)}
    leaves = set(parent_of) - set(parent_of.values())
    for where, row in _numbered(EVENT, rows):
        yield from _missing(where, row, _OF_ALL_EVENTS)
        if row["eventID"] in leaves | holding:
            yield from _missing(where, row, _OF_SAMPLES)
        if row["parentEventID"] and row["parentEventID"] not in parent_of:
            yield f"{where}: parentEventID {row['parentEventID']!r} is no event"
        if _is_own_ancestor(row["eventID"], parent_of):
            yield f"{where}: the event {row['eventID']!r} is its own ancestor"
        yield from _position(where, row)
        yield from _depths(where, row)
        yield from _date(where, row["eventDate"])
        yield from _between(where, row, "sampleSizeValue", 0, 1e6)
        if row["license"] and licence_of(row["license"]) is None:
            yield f"{where}: license is {row['license']!r}, which OBIS and GBIF do not take"
    for column in ("datasetName", "institutionCode", "license"):
        values = sorted({row[column] for row in rows})
        if len(values) > 1:
            yield f"{EVENT.file}: {column} has {len(values)} values: {', '.join(values[:3])}"


def _is_own_ancestor(event: str, parent_of: Mapping[str, str]) -> bool:
    seen = set()
    while event := parent_of.get(event, ""):
        if event in seen:
            return True
        seen.add(event)
    return False


def _position(where: str, row: Row) -> Iterator[str]:
    yield from _between(where, row, "decimalLatitude", -90, 90)
    yield from _between(where, row, "decimalLongitude", -180, 180)
    yield from _between(where, row, "coordinateUncertaintyInMeters", 1, 2.1e7)
    if _number(row, "decimalLatitude") == 0 and _number(row, "decimalLongitude") == 0:
        yield f"{where}: decimalLatitude and decimalLongitude are both 0"


def _depths(where: str, row: Row) -> Iterator[str]:
    least, most = _number(row, "minimumDepthInMeters"), _number(row, "maximumDepthInMeters")
    for column in ("minimumDepthInMeters", "maximumDepthInMeters"):
        yield from _between(where, row, column, 0, 11_000)
    if least is not None and most is not None and least > most:
        yield f"{where}: minimumDepthInMeters {least:g} is greater than the maximum, {most:g}"


def _date(where: str, text: str) -> Iterator[str]:
    try:
        times = [datetime.strptime(part, _TIME) for part in text.split("/")]
    except ValueError:
        yield f"{where}: eventDate {text!r} is not of the form 2024-06-24T14:50:00Z/…"
        return
    if len(times) > 2 or times != sorted(times):
        yield f"{where}: eventDate {text!r} does not go from start to end"


def _occurrences(archive: ArchiveContents) -> Iterator[str]:
    rows = archive.of(OCCURRENCE)
    yield from _repeated(OCCURRENCE, rows, "occurrenceID")
    events = {row["eventID"] for row in archive.of(EVENT)}
    seen: set[tuple[str, ...]] = set()
    for where, row in _numbered(OCCURRENCE, rows):
        yield from _missing(where, row, _OF_OCCURRENCES)
        if row["eventID"] not in events:
            yield f"{where}: eventID {row['eventID']!r} is no event"
        for column, allowed in _ALLOWED.items():
            if row[column] and row[column] not in allowed:
                yield f"{where}: {column} is {row[column]!r}, not {' or '.join(allowed)}"
        if row["scientificNameID"] and not _LSID.fullmatch(row["scientificNameID"]):
            yield f"{where}: scientificNameID {row['scientificNameID']!r} is no LSID of WoRMS"
        key = tuple(
            row[column]
            for column in ("eventID", "scientificNameID", "identificationVerificationStatus")
        )
        if key in seen:
            yield f"{where}: the event has {row['scientificName']} twice with one status"
        seen.add(key)
        if row["organismQuantity"]:
            yield from _between(where, row, "organismQuantity", 0, 1e12)
            yield from _agrees(where, row["occurrenceStatus"], _number(row, "organismQuantity"))
            if not row["organismQuantityType"]:
                yield f"{where}: organismQuantityType is empty"
    yield from _one_to_one(OCCURRENCE, rows, "scientificName", "scientificNameID")


def _agrees(where: str, status: str, quantity: float | None) -> Iterator[str]:
    if quantity == 0 and status == PRESENT:
        yield f"{where}: a quantity of 0 while occurrenceStatus is present"
    if quantity and status == ABSENT:
        yield f"{where}: a quantity of {quantity:g} while occurrenceStatus is absent"


def _one_to_one(table: Table, rows: Sequence[Row], name: str, identifier: str) -> Iterator[str]:
    for column, other in ((name, identifier), (identifier, name)):
        values = defaultdict(set)
        for row in rows:
            if row[column] and row[other]:
                values[row[column]].add(row[other])
        for value, others in sorted(values.items()):
            if len(others) > 1:
                yield f"{table.file}: {column} {value!r} has {len(others)} values of {other}"


def _measurements(archive: ArchiveContents, of_ship: Sequence[Measurement]) -> Iterator[str]:
    rows = archive.of(EMOF)
    events = {row["eventID"] for row in archive.of(EVENT)}
    occurrences = {row["occurrenceID"]: row for row in archive.of(OCCURRENCE)}
    known = {kind.type_id or kind.name: kind for kind in (*of_ship, *MEASUREMENTS)}
    of_events = (*OF_EVENTS, *of_ship)
    seen: set[tuple[str, str, str]] = set()
    for where, row in _numbered(EMOF, rows):
        yield from _missing(where, row, _OF_MEASUREMENTS)
        occurrence = occurrences.get(row["occurrenceID"])
        if row["eventID"] not in events:
            yield f"{where}: eventID {row['eventID']!r} is no event"
        if row["occurrenceID"] and occurrence is None:
            yield f"{where}: occurrenceID {row['occurrenceID']!r} is no occurrence"
        elif occurrence and occurrence["eventID"] != row["eventID"]:
            yield f"{where}: eventID is not that of its occurrence, {occurrence['eventID']!r}"
        type_of = row["measurementTypeID"] or row["measurementType"]
        key = (row["eventID"], row["occurrenceID"], type_of)
        if key in seen:
            yield f"{where}: {row['measurementType']} is there twice for one event or occurrence"
        seen.add(key)
        kind = known.get(type_of)
        if kind is None:
            yield f"{where}: measurementTypeID {row['measurementTypeID']!r} is not on the list"
            continue
        if (row["measurementUnit"], row["measurementUnitID"]) != (kind.unit, kind.unit_id):
            unit = row["measurementUnit"]
            yield f"{where}: the unit of {kind.name} is {unit!r}, not {kind.unit!r}"
        if (kind in of_events) == bool(row["occurrenceID"]):
            owners = "events" if kind in of_events else "occurrences"
            yield f"{where}: {kind.name} belongs to {owners}"
        if kind is not INSTRUMENT:
            yield from _between(where, row, "measurementValue", kind.least, 1e12)
        elif (row["measurementValue"], row["measurementValueID"]) != PLANKTON_IMAGER:
            name = row["measurementValue"]
            yield f"{where}: the instrument is {name!r}, not {PLANKTON_IMAGER[0]}"
        if occurrence and kind in QUANTITIES:
            quantity = _number(row, "measurementValue")
            yield from _agrees(where, occurrence["occurrenceStatus"], quantity)
    yield from _one_to_one(EMOF, rows, "measurementType", "measurementTypeID")
    described = {(event, kind) for event, occurrence, kind in seen if not occurrence}
    for event in sorted({row["eventID"] for row in occurrences.values()} & events):
        for kind in OF_EVENTS:
            # counts beside a volume without the share that was imaged would be misread
            if (event, kind.type_id) not in described:
                yield f"{EMOF.file}: the event {event!r} has no {kind.name}"


def _metadata(archive: ArchiveContents) -> Iterator[str]:
    dataset = archive.eml.find("dataset") if archive.eml is not None else None
    if archive.eml is None:
        return
    if dataset is None:
        yield "eml.xml: there is no dataset"
        return
    for name in _OF_EML:
        element = dataset.find(name)
        if element is None or not "".join(element.itertext()).strip():
            yield f"eml.xml: {name} is missing or empty"
    names = {row["datasetName"] for row in archive.of(EVENT)}
    title = dataset.findtext("title", "")
    if names - {title}:
        yield f"eml.xml: the title {title!r} is not the events' datasetName"
    link = dataset.find("intellectualRights/para/ulink")
    if link is None or licence_of(link.get("url", "")) is None:
        yield "eml.xml: intellectualRights has no link to a licence that OBIS and GBIF take"
    citation = archive.eml.findtext("additionalMetadata/metadata/gbif/citation", "")
    if not citation.strip():
        yield "eml.xml: the citation is missing or empty"
