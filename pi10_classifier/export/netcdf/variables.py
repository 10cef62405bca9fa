"""Variables of the trajectory: coordinates, taxa and sampling, with what CF 1.12 wants of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.netcdf.track import Point, Track
from pi10_classifier.export.taxa import Taxon

LITRES = 1000.0  # in a cubic metre
EPOCH = "seconds since 1970-01-01T00:00:00Z"
TIME, TAXON = "time", "taxon"
MEASURED, BESIDE, QUALITY, COORDINATE, REFERENCE = (
    "physicalMeasurement", "auxiliaryInformation", "qualityInformation", "coordinate",
    "referenceInformation",
)  # fmt: skip
_FILL = {"f8": -9999.0, "i4": -9999}


@dataclass(frozen=True, slots=True)
class Variable:
    """dimensions: names, () of a scalar. values: shape of the dimensions; NaN or masked unknown."""

    name: str
    kind: str
    dimensions: tuple[str, ...]
    values: NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fill(self) -> float | None:
        """What stands for an unknown value; None where each is known."""
        content = self.attributes.get("coverage_content_type")
        # the ship's readings may be of an unknown unit
        is_number = "units" in self.attributes or content == MEASURED
        measured = is_number and "axis" not in self.attributes
        return _FILL[self.kind] if measured else None


def coordinates(track: Track, facts: DatasetFacts) -> list[Variable]:
    """Time with its bounds, position, depth, and the trajectory's name."""
    starts = np.array([point.start.timestamp() for point in track.points])
    north, east = np.array([point.position for point in track.points]).T
    name = "_".join(filter(None, (facts.cruise, track.instrument)))

    def place(long_name: str, standard_name: str, units: str, axis: str) -> dict[str, Any]:
        return {
            "long_name": long_name, "standard_name": standard_name, "units": units, "axis": axis,
            "coverage_content_type": COORDINATE,
        }  # fmt: skip

    return [
        Variable(
            TIME, "f8", (TIME,), starts + 30.0,
            place("middle of the minute, UTC", TIME, EPOCH, "T")
            | {
                "calendar": "standard", "units_metadata": "leap_seconds: none",
                "bounds": "time_bounds",
            },
        ),
        Variable("time_bounds", "f8", (TIME, "bound"), np.stack([starts, starts + 60.0], axis=1)),
        Variable(
            "latitude", "f8", (TIME,), north,
            place("latitude midway in the minute", "latitude", "degrees_north", "Y"),
        ),
        Variable(
            "longitude", "f8", (TIME,), east,
            place("longitude midway in the minute", "longitude", "degrees_east", "X"),
        ),
        Variable(
            "depth", "f8", (), np.array(facts.intake_depth_m),
            place("depth of the ship's intake", "depth", "m", "Z") | {"positive": "down"},
        ),
        Variable(
            "trajectory", "S1", ("trajectory_length",), characters([name])[0],
            {"long_name": "cruise and instrument", "cf_role": "trajectory_id"},
        ),
        Variable(
            "crs", "i4", (), np.array(0),
            {
                "long_name": "WGS 84", "grid_mapping_name": "latitude_longitude",
                "semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563,
                "longitude_of_prime_meridian": 0.0, "epsg_code": "EPSG:4326",
            },
        ),
    ]  # fmt: skip


def taxa(groups: Mapping[Taxon, tuple[str, ...]]) -> list[Variable]:
    """The taxa after CF 1.12, section 6.1.2."""

    def text(name: str, values: Iterable[str], **attributes: str) -> Variable:
        return Variable(
            name, "S1", (TAXON, f"{name}_length"), characters(list(values)),
            {**attributes, "coverage_content_type": REFERENCE},
        )  # fmt: skip

    return [
        text("taxon_name", (taxon.name for taxon in groups), long_name="name of the taxon in WoRMS",
             standard_name="biological_taxon_name"),
        text("taxon_lsid", (taxon.lsid for taxon in groups), long_name="LSID of the taxon in WoRMS",
             standard_name="biological_taxon_lsid"),
        text("model_class", (" ".join(labels) for labels in groups.values()),
             long_name="classes of the model that are the taxon"),
        text("taxon_remarks", (taxon.remarks for taxon in groups),
             long_name="what the class means, where the taxon does not say it"),
    ]  # fmt: skip


def sampling(points: Sequence[Point]) -> list[Variable]:
    """The bin, volume, hits, misses and raising factor of each minute."""

    def number(name: str, kind: str, get: Callable[[Point], float | None], long_name: str,
               units: str = "1", content: str = BESIDE, **attributes: str) -> Variable:  # fmt: skip
        values = np.array([np.nan if (v := get(point)) is None else v for point in points], "f8")
        about = {"long_name": long_name, "units": units, **attributes,
                "coverage_content_type": content}  # fmt: skip
        return Variable(name, kind, (TIME,), values, about)

    return [
        Variable(
            "bin", "S1", (TIME, "bin_length"), characters([p.minute.bin for p in points]),
            {"long_name": "recording of up to ten minutes that holds the minute"},
        ),
        number("sampled_volume", "f8", lambda p: _cubic_metres(p.minute.litres),
               "volume of sea water sampled in the minute", "m3", MEASURED,
               comment="nominal flow of the pump, 34 litres a minute; nobody measured it"),
        number("hits", "i4", lambda p: p.minute.hits, "particles counted and imaged"),
        number("misses", "i4", lambda p: p.minute.misses, "particles counted and not imaged"),
        number("images", "i4", lambda p: p.minute.images, "images classified",
               standard_name="number_of_observations"),
        number("share_of_hits", "f8", lambda p: p.minute.share_of_hits,
               "images classified over hits"),
        number("raising_factor", "f8", lambda p: p.minute.factor,
               "particles that an image stands for", comment="(hits + misses) / images",
               ancillary_variables="hits misses images"),
        number("sun_elevation", "f8", lambda p: p.minute.sun_elevation,
               "height of the sun above the horizon", "degree", BESIDE,
               standard_name="solar_elevation_angle"),
    ]  # fmt: skip


def _cubic_metres(litres: float | None) -> float | None:
    return None if litres is None else litres / LITRES


def characters(texts: Sequence[str]) -> NDArray[np.bytes_]:
    """Texts in UTF-8, (texts, bytes of the longest)."""
    data = [text.encode("utf-8") for text in texts]
    width = max(1, *map(len, data))
    array: NDArray[np.bytes_] = np.array(data, f"S{width}").view("S1").reshape(len(data), width)
    return array
