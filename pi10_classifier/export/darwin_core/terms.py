"""Darwin Core in one place: the tables of the archive, their terms, and the measurements.

A second writer, such as one for the Darwin Core Data Package, takes the same mapping.
"""

from __future__ import annotations

from dataclasses import dataclass

from pi10_classifier.export.identifiers import nerc
from pi10_classifier.export.ship_readings import Reading

DWC = "http://rs.tdwg.org/dwc/terms/"
_DCTERMS = "http://purl.org/dc/terms/"
_OBIS = "http://rs.iobis.org/obis/terms/"
_OF_OBIS = {"measurementTypeID", "measurementValueID", "measurementUnitID"}

PREDICTED, VALIDATED = "PredictedByMachine", "ValidatedByHuman"
PRESENT, ABSENT = "present", "absent"
MACHINE_OBSERVATION = "MachineObservation"
PER_CUBIC_METRE, INDIVIDUALS = "individuals per cubic metre", "individuals"
LITRES = 1000.0  # in a cubic metre


@dataclass(frozen=True, slots=True)
class Table:
    """A file of the archive. The first column links to the core."""

    file: str
    row_type: str
    columns: tuple[str, ...]


def term(column: str) -> str:
    """The address of a column's term."""
    if column == "license":
        return _DCTERMS + column
    return (_OBIS if column in _OF_OBIS else DWC) + column


EVENT = Table(
    "event.txt",
    DWC + "Event",
    (
        "eventID", "parentEventID", "eventType", "eventDate", "samplingProtocol",
        "sampleSizeValue", "sampleSizeUnit", "minimumDepthInMeters", "maximumDepthInMeters",
        "decimalLatitude", "decimalLongitude", "geodeticDatum", "coordinateUncertaintyInMeters",
        "footprintWKT", "footprintSRS", "locality", "datasetName", "institutionCode", "license",
        "eventRemarks",
    ),
)  # fmt: skip
OCCURRENCE = Table(
    "occurrence.txt",
    DWC + "Occurrence",
    (
        "eventID", "occurrenceID", "basisOfRecord", "occurrenceStatus", "scientificName",
        "scientificNameID", "taxonRank", "kingdom", "verbatimIdentification",
        "identificationRemarks", "identifiedBy", "identifiedByID",
        "identificationVerificationStatus", "identificationReferences", "organismQuantity",
        "organismQuantityType", "occurrenceRemarks",
    ),
)  # fmt: skip
EMOF = Table(
    "extendedmeasurementorfact.txt",
    _OBIS + "ExtendedMeasurementOrFact",
    (
        "eventID", "occurrenceID", "measurementType", "measurementTypeID", "measurementValue",
        "measurementValueID", "measurementUnit", "measurementUnitID", "measurementMethod",
        "measurementRemarks",
    ),
)  # fmt: skip
TABLES = (EVENT, OCCURRENCE, EMOF)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A kind of eMoF row: its name and address at NERC, and those of its unit, "" without one.

    least: the smallest value that can be.
    """

    name: str
    type_id: str
    unit: str = ""
    unit_id: str = ""
    least: float = 0.0


INSTRUMENT = Measurement("Name of sampling instrument", nerc("P01", "NMSPINST"))
VOLUME = Measurement(
    "Volume sampled of the water body", nerc("P01", "VOLWBSMP"),
    "Cubic metres", nerc("P06", "MCUB"),
)  # fmt: skip
SUBSAMPLING = Measurement(
    "Sub-sampling coefficient", nerc("P01", "SSAMPC01"), "Dimensionless", nerc("P06", "UUUU")
)
ABUNDANCE = Measurement(
    "Abundance of biological entity specified elsewhere per unit volume of the water body",
    nerc("P01", "SDBIOL01"),
    "Number per cubic metre",
    nerc("P06", "UPMM"),
)
COUNT = Measurement(
    "Count (in assayed sample) of biological entity specified elsewhere", nerc("P01", "OCOUNT01")
)
BIOVOLUME = Measurement(
    "Biovolume of biological entity specified elsewhere per unit volume of the water body",
    nerc("P01", "CVOLUKNB"),
    "Cubic millimetres per cubic metre",
    nerc("P06", "CMCM"),
)
MEASUREMENTS = (INSTRUMENT, VOLUME, SUBSAMPLING, ABUNDANCE, COUNT, BIOVOLUME)
OF_EVENTS = (INSTRUMENT, VOLUME, SUBSAMPLING)
QUANTITIES = (ABUNDANCE, COUNT, BIOVOLUME)
PLANKTON_IMAGER = ("Plankton Imager", nerc("L22", "TOOL1844"))


def of_ship(reading: Reading) -> Measurement:
    """The kind of eMoF row of what the ship measured; its type has no address without a P01."""
    return Measurement(
        reading.label,
        nerc("P01", reading.p01) if reading.p01 else "",
        reading.unit_label,
        nerc("P06", reading.p06) if reading.p06 else "",
        least=-1e12,
    )
