"""Global attributes of the trajectory: ACDD 1.3, CF 1.12, and what EMODnet Biology asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pi10_classifier.export.dataset_facts import DatasetFacts, Person
from pi10_classifier.export.netcdf.track import Track
from pi10_classifier.export.positions import bounds
from pi10_classifier.export.run_tables import RunTables

_ATTRIBUTION = "World Register of Marine Species (WoRMS), https://www.marinespecies.org"


def attributes_of(run: RunTables, track: Track, facts: DatasetFacts) -> Mapping[str, str | float]:
    """Name -> value; what is not known is left out. The same for the same run and facts."""
    west, east, south, north = bounds([point.position for point in track.points])
    start, end = track.points[0].start, track.points[-1].start + timedelta(minutes=1)
    # of the run, not of the export: the same run gives the same bytes
    made = _date(run.finished)
    contact = facts.having("contact")[0]
    name = "-".join(filter(None, (facts.cruise, track.instrument)))
    model = f"{run.model} {run.model_version} (SHA-256 {run.model_sha256})"
    attributes: dict[str, str | float] = {
        "Conventions": "CF-1.12, ACDD-1.3",
        "featureType": "trajectory",
        "cdm_data_type": "Trajectory",
        "title": facts.title,
        "summary": facts.abstract,
        "keywords": ", ".join(facts.keywords),
        "id": facts.identifier or name,
        "naming_authority": _authority(facts),
        "source": f"Plankton Imager Pi-10 {track.instrument}".strip()
        + f"; images classified by the model {model}",
        "instrument": "Plankton Imager",
        "instrument_vocabulary": "http://vocab.nerc.ac.uk/collection/L22/current/TOOL1844/",
        "platform": facts.ship,
        "platform_id": facts.ship_code,
        "platform_vocabulary": "https://vocab.nerc.ac.uk/collection/C17/current/"
        if facts.ship_code
        else "",
        "processing_level": "individuals per cubic metre by minute, from images classified by a "
        "model and raised by hits and misses",
        "history": f"{made} pi10-classifier {run.software}: classified, raised, exported",
        "references": f"https://github.com/ai4os-hub/pi10-classifier; taxa: {_ATTRIBUTION}",
        "comment": "density: each minute by itself; bin_density and corrected_density: of the bin "
        "that the minute belongs to. Errors of the model are in all but corrected_density.",
        "license": facts.licence.url,
        "standard_name_vocabulary": "CF Standard Name Table v93",
        "acknowledgement": _acknowledgement(facts),
        "project": facts.cruise,
        "institution": facts.institution,
        "area": facts.area,
        "product_version": f"pi10-classifier {run.software}",
        "date_created": made,
        "date_modified": made,
        "date_issued": made,
        "date_metadata_modified": made,
        **_people(facts.having("creator"), "creator", facts),
        **_people((contact,), "publisher", facts),
        "publisher_url": facts.institution_url,
        "creator_url": facts.institution_url,
        "geospatial_lat_min": south,
        "geospatial_lat_max": north,
        "geospatial_lat_units": "degrees_north",
        "geospatial_lon_min": west,
        "geospatial_lon_max": east,
        "geospatial_lon_units": "degrees_east",
        "geospatial_bounds": _polygon(west, east, south, north),
        "geospatial_bounds_crs": "EPSG:4326" if west <= east else "",
        "geospatial_bounds_vertical_crs": "EPSG:5831",
        "geospatial_vertical_min": facts.intake_depth_m,
        "geospatial_vertical_max": facts.intake_depth_m,
        "geospatial_vertical_units": "m",
        "geospatial_vertical_positive": "down",
        "time_coverage_start": _date(start),
        "time_coverage_end": _date(end),
        "time_coverage_duration": _duration(end - start),
        "time_coverage_resolution": "PT1M",
    }
    return {key: value for key, value in attributes.items() if value != ""}


def _date(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _duration(span: timedelta) -> str:
    """ISO 8601, to the minute."""
    hours, rest = divmod(span.seconds, 3600)
    return f"P{span.days}DT{hours}H{rest // 60}M"


def _authority(facts: DatasetFacts) -> str:
    """The institution's name on the net, turned round, or else its code."""
    host = facts.institution_url.split("//")[-1].split("/")[0].split(":")[0]
    return ".".join(reversed(host.removeprefix("www.").split("."))) or facts.institution_code


def _acknowledgement(facts: DatasetFacts) -> str:
    funded = f"Funded by {'; '.join(map(str, facts.funding))}. " if facts.funding else ""
    return f"{funded}Cite as: {facts.citation}"


def _people(people: Sequence[Person], role: str, facts: DatasetFacts) -> dict[str, str]:
    return {
        f"{role}_name": "; ".join(person.name for person in people),
        f"{role}_email": "; ".join(filter(None, (person.email for person in people))),
        f"{role}_type": "person",
        f"{role}_institution": "; ".join(
            dict.fromkeys(person.organisation or facts.institution for person in people)
        ),
        f"{role}_id": "; ".join(
            f"https://orcid.org/{person.orcid}" for person in people if person.orcid
        ),
    }


def _polygon(west: float, east: float, south: float, north: float) -> str:
    """The bounds as WKT, latitude before longitude; "" across the antimeridian: it would lie."""
    if west > east:
        return ""
    corners = ((south, west), (north, west), (north, east), (south, east), (south, west))
    return f"POLYGON (({', '.join(f'{lat:.5f} {lon:.5f}' for lat, lon in corners)}))"
