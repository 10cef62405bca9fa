"""Variables beside the densities: biovolume of the taxa, and what the ship measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pi10_classifier.export.biovolumes import Biovolumes
from pi10_classifier.export.netcdf.densities import COORDINATES
from pi10_classifier.export.netcdf.track import Point
from pi10_classifier.export.netcdf.variables import MEASURED, QUALITY, TAXON, TIME, Variable
from pi10_classifier.export.run_tables import RunTables
from pi10_classifier.export.ship_readings import Reading
from pi10_classifier.export.taxa import Taxon
from pi10_classifier.underway.table import Underway

_OF_BIN = "of the whole bin that the minute belongs to, and so the same in all its minutes"


def biovolumes(
    run: RunTables,
    points: Sequence[Point],
    groups: Mapping[Taxon, tuple[str, ...]],
    volumes: Biovolumes,
) -> list[Variable]:
    """Biovolume of the taxa by bin; nothing where no image has a size.

    A bin without a density has none. A taxon of which no image has a size, though there are
    images, has none either; one without images has 0.
    """
    if not any(volume.total for volume in volumes.by_class.values()):
        return []
    of_bins = {}
    for name in {point.minute.bin for point in points}:
        litres, amounts = run.bins[name].litres, run.bins[name].amounts
        column = np.full((3, len(groups)), np.nan)
        for row, labels in enumerate(groups.values()):
            volume = volumes.of(name, labels)
            if not litres or not all(label in amounts for label in labels):
                continue
            if volume and volume.total:
                column[:, row] = [np.nan if v is None else v for v in volume.per_m3(litres)]
            elif volume is None and not any(amounts[label].count for label in labels):
                column[0, row] = 0.0
        of_bins[name] = column
    values = np.array([of_bins[point.minute.bin] for point in points])  # (minutes, 3, taxa)
    limit = "95 % limit for the water sampled: Poisson counts"

    def variable(name: str, place: int, long_name: str, content: str, **more: str) -> Variable:
        return Variable(
            name, "f8", (TAXON, TIME), values[:, place].T,
            {
                "long_name": long_name, "units": "mm3 m-3", **more, "coordinates": COORDINATES,
                "grid_mapping": "crs", "coverage_content_type": content,
            },
        )  # fmt: skip

    return [
        variable(
            "bin_biovolume", 0, "biovolume of the taxon in the bin", MEASURED,
            comment=f"{_OF_BIN}; of each image the sphere of its silhouette's area, raised as the "
            "densities are; not corrected for the model's errors",
            ancillary_variables="bin_biovolume_low bin_biovolume_high",
        ),
        variable("bin_biovolume_low", 1, f"lower {limit}", QUALITY, comment=_OF_BIN),
        variable("bin_biovolume_high", 2, f"upper {limit}", QUALITY, comment=_OF_BIN),
    ]  # fmt: skip


def ship(
    points: Sequence[Point], underway: Underway, readings: Sequence[Reading]
) -> list[Variable]:
    """What the ship measured in each minute."""
    rows = [underway.by_minute.get((point.minute.bin, point.start), {}) for point in points]
    return [
        Variable(
            reading.name, "f8", (TIME,),
            np.array([row.get(reading.column, np.nan) for row in rows], "f8"),
            {
                "long_name": reading.long_name,
                **({"standard_name": reading.standard_name} if reading.standard_name else {}),
                **({"units": reading.units} if reading.units else {}),
                **({"units_metadata": "temperature: on_scale"} if _is_on_scale(reading) else {}),
                **_nerc(reading),
                "comment": "instruments of the ship: the reading nearest to the middle of the "
                f"minute; column {reading.column!r} of their file{_unit(reading)}",
                "coordinates": "time latitude longitude depth trajectory", "grid_mapping": "crs",
                "coverage_content_type": MEASURED,
            },
        )
        for reading in readings
    ]  # fmt: skip


def _unit(reading: Reading) -> str:
    """A unit that CF does not know is told in words."""
    told = reading.unit_label and not reading.units
    return f"; unit as it says: {reading.unit_label}" if told else ""


def _is_on_scale(reading: Reading) -> bool:
    """CF wants it said that a temperature is no difference of two."""
    return reading.standard_name.endswith("temperature")


def _nerc(reading: Reading) -> dict[str, str]:
    """Codes at NERC as SeaDataNet puts them into netCDF."""
    attributes = {}
    if reading.p01:
        attributes["sdn_parameter_urn"] = f"SDN:P01::{reading.p01}"
    if reading.p06:
        attributes["sdn_uom_urn"] = f"SDN:P06::{reading.p06}"
    return attributes
