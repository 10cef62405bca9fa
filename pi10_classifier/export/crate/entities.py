"""The entities of a run's crate: Process Run Crate 0.5, on RO-Crate 1.1.

https://w3id.org/ro/wfrun/process/0.5 builds on RO-Crate 1.1, so that is what the crate declares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import PurePosixPath
from typing import Any

from pi10_classifier.export.crate.coverage import Coverage
from pi10_classifier.export.crate.run_files import RunFiles
from pi10_classifier.export.crate.stores import Stored
from pi10_classifier.export.dataset_facts import DatasetFacts, Person
from pi10_classifier.export.run_tables import RunTables

PROFILE, PROFILE_VERSION = "https://w3id.org/ro/wfrun/process/0.5", "0.5"
SPDX = "https://spdx.org/licenses/"
_COMPLETED = "http://schema.org/CompletedActionStatus"
_FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".zip": "application/zip",
    ".toml": "application/toml",
}
# name in the crate -> what it is called, what it holds
_WORDS = {
    "run.json": ("Record of the run", "Totals, parameters, versions, model and times."),
    "counts.csv": (
        "Counts and densities of minutes",
        "Of each minute and class: images, raised count, individuals per litre with 95 % limits.",
    ),
    "bins.csv": (
        "Counts and densities of bins",
        "Of each ten-minute bin and class: individuals per litre with 95 % limits, position, "
        "quality.",
    ),
    "failures.csv": ("Inputs without a result", "Each with the reason; empty if there are none."),
    "report.html": ("Report", "Tables and figures on one page."),
    "sizes.csv": (
        "Sizes", "Individuals, biovolume and carbon per cubic metre by class and size class.",
    ),
    "size_spectrum.csv": ("Size spectrum", "Normalised biovolume by class and size class."),
    "size_slopes.csv": ("Slopes of size spectra", "Of each class, with 95 % limits."),
    "underway.csv": ("Ship's readings of minutes", "What the ship measured in each minute."),
    "underway_bins.csv": ("Ship's readings of bins", "Means of the minutes of each bin."),
    "predictions.parquet": (
        "Predictions",
        "One row a particle: class, scores, measures, time, position and origin; one part an "
        "archive or block of files, read together as one table.",
    ),
    "validation": ("Validation", "The sample that people labelled, and what follows from it."),
    "validation/sample.csv": ("Sample", "The particles drawn at random to be labelled."),
    "validation/labels.csv": ("Labels", "What people said that the particles of the sample are."),
    "validation/design.json": ("Design of the sample", "Strata, seeds and sizes."),
    "validation/suggestions.csv": (
        "Suggestions", "Particles that were proposed to be labelled, apart from the sample.",
    ),
    "validation/corrected.csv": (
        "Corrected densities", "Densities corrected by the validated sample, with intervals.",
    ),
    "validation/corrected_bins.csv": (
        "Corrected densities of bins", "Densities of bins corrected by the validated sample.",
    ),
    "files.csv": (
        "Contents", "Which file of the run is in which file of this record, with SHA-256.",
    ),
    "zenodo.json": ("Zenodo metadata", "The metadata of the deposit, for Zenodo's deposit API."),
    "invenio-rdm.json": ("Record metadata", "The metadata of the record, for InvenioRDM's API."),
}  # fmt: skip

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the entities are made of. published: the day of publication."""

    dataset: DatasetFacts
    tables: RunTables
    info: Mapping[str, Any]
    files: RunFiles
    coverage: Coverage
    published: date


def home() -> str:
    """The address of the program."""
    return metadata.metadata("pi10-classifier")["Home-page"]


def file_entities(stored: Iterable[Stored]) -> list[Entity]:
    """The files of the crate and the folders that hold them; a folder comes before its files."""
    folders: dict[str, Entity] = {}
    files: list[Entity] = []
    for file in stored:
        path = PurePosixPath(file.name)
        title, about = words(file.name)
        files.append(
            given(
                {
                    "@id": file.name,
                    "@type": "File",
                    "name": title,
                    "description": about,
                    "encodingFormat": _FORMATS.get(path.suffix, "application/octet-stream"),
                    "contentSize": str(file.bytes),
                    "sha256": file.sha256,
                }
            )
        )
        folder = str(path.parent)
        if folder != ".":
            title, about = words(folder)
            entity = folders.setdefault(
                folder,
                {"@id": f"{folder}/", "@type": "Dataset", "name": title, "description": about,
                 "hasPart": []},
            )  # fmt: skip
            entity["hasPart"].append({"@id": file.name})
    return [*folders.values(), *files]


def words(name: str) -> tuple[str, str]:
    """What a file of the crate is called, and what it holds ("" where nothing is to be said)."""
    if name in _WORDS:
        return _WORDS[name]
    if name.endswith(".zip"):
        packed = next(key for key in _WORDS if name.startswith(f"{key}."))
        return f"{_WORDS[packed][0]}, packed", f"{_WORDS[packed][1]} Unpack to use it."
    return PurePosixPath(name).name, ""


def root_properties(facts: Facts) -> Entity:
    """What the root says of the dataset, but for its parts."""
    dataset, coverage = facts.dataset, facts.coverage
    return given(
        {
            "name": dataset.title,
            "description": dataset.abstract,
            "datePublished": facts.published.isoformat(),
            "license": _link(f"{SPDX}{dataset.licence.spdx}"),
            "conformsTo": _link(PROFILE),
            "author": _links(person_id(person) for person in dataset.having("creator")),
            "contributor": _links(person_id(person) for person in dataset.having("verifier")),
            "contactPoint": _links(
                f"mailto:{person.email}" for person in dataset.having("contact")
            ),
            "publisher": _link(institution_id(dataset)),
            "funder": _links(f"#funder-{i}" for i, _ in enumerate(dataset.funding, 1)),
            "funding": _links(f"#grant-{i}" for i, g in enumerate(dataset.funding, 1) if g.award),
            "keywords": list(dataset.keywords),
            "identifier": dataset.identifier,
            "temporalCoverage": coverage.interval,
            "spatialCoverage": _link("#area") if coverage.box or dataset.area else "",
            "mentions": _link("#run"),
        }
    )


def contextual_entities(facts: Facts, results: Sequence[str]) -> Iterator[Entity]:
    """All entities that are no file. results: ids of the files and folders that the run wrote."""
    dataset = facts.dataset
    yield {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate",
           "version": PROFILE_VERSION}  # fmt: skip
    yield {
        "@id": f"{SPDX}{dataset.licence.spdx}",
        "@type": "CreativeWork",
        "name": dataset.licence.name,
        "description": f"The licence of this dataset, {dataset.licence.spdx}.",
        "identifier": dataset.licence.spdx,
        "url": dataset.licence.url,
    }
    yield given(
        {"@id": institution_id(dataset), "@type": "Organization", "name": dataset.institution,
         "alternateName": dataset.institution_code, "url": dataset.institution_url}
    )  # fmt: skip
    yield from _people(dataset)
    for number, grant in enumerate(dataset.funding, 1):
        yield {"@id": f"#funder-{number}", "@type": "Organization", "name": grant.funder}
        if grant.award:
            yield {"@id": f"#grant-{number}", "@type": "Grant", "name": str(grant),
                   "identifier": grant.award, "funder": _link(f"#funder-{number}")}  # fmt: skip
    yield from _places(facts)
    yield from _software(facts)
    yield from _inputs(facts)
    yield _action(facts, results)


def _people(dataset: DatasetFacts) -> Iterator[Entity]:
    others = dict.fromkeys(person.organisation for person in dataset.people)
    for name in others:
        if name and name != dataset.institution:
            yield {"@id": _slug("organisation", name), "@type": "Organization", "name": name}
    for person in dataset.people:
        is_ours = person.organisation in ("", dataset.institution)
        organisation = (
            institution_id(dataset) if is_ours else _slug("organisation", person.organisation)
        )
        yield {
            "@id": person_id(person),
            "@type": "Person",
            "name": person.name,
            "givenName": person.given,
            "familyName": person.family,
            "affiliation": _link(organisation),
        }
        if "contact" in person.roles:
            yield {
                "@id": f"mailto:{person.email}",
                "@type": "ContactPoint",
                "name": person.name,
                "contactType": "contact for the dataset",
                "email": person.email,
            }


def _places(facts: Facts) -> Iterator[Entity]:
    box, area = facts.coverage.box, facts.dataset.area
    if not box and not area:
        return
    yield given(
        {
            "@id": "#area",
            "@type": "Place",
            "name": area or "Where the images were taken",
            "geo": _link("#box") if box else "",
        }
    )
    if box:
        yield {
            "@id": "#box",
            "@type": "GeoShape",
            "name": "The smallest box about all positions",
            "box": " ".join(f"{degrees:.5f}" for degrees in box),
        }


def _software(facts: Facts) -> Iterator[Entity]:
    versions = facts.info["versions"]
    others = [name for name, version in versions.items() if version and name != "pi10-classifier"]
    about = metadata.metadata("pi10-classifier")
    yield {
        "@id": f"{home()}#software",
        "@type": "SoftwareApplication",
        "name": about["Name"],
        "description": about["Summary"],
        "url": home(),
        "version": facts.tables.software,
        "softwareRequirements": _links(_address(name, versions[name]) for name in others),
    }
    for name in others:
        yield {
            "@id": _address(name, versions[name]),
            "@type": "SoftwareApplication",
            "name": name,
            "url": _address(name, versions[name]),
            "version": versions[name],
        }


def _address(name: str, version: str) -> str:
    if name == "python":
        return f"https://www.python.org/downloads/release/python-{version.replace('.', '')}/"
    return f"https://pypi.org/project/{name}/{version}/"


def _inputs(facts: Facts) -> Iterator[Entity]:
    tables = facts.tables
    yield given(
        {
            "@id": "#model",
            "@type": "CreativeWork",
            "name": f"Model {tables.model}, version {tables.model_version}",
            "description": f"Sorts images of particles into {', '.join(tables.classes)}.",
            "abstract": str(facts.info["model"].get("never_seen", "")),
            "version": tables.model_version,
            "identifier": f"sha256:{tables.model_sha256}",
            "sha256": tables.model_sha256,
            "encodingFormat": "application/onnx",
        }
    )
    for number, origin in enumerate(facts.files.origins, 1):
        kind = "A folder" if origin.is_folder else "An archive"
        yield given(
            {
                "@id": f"#input-{number}",
                "@type": "CreativeWork",
                "name": origin.name,
                "description": f"{kind} of images; it is not in this crate."
                + (f" {origin.images:,} images have a result." if origin.images else ""),
                "contentSize": "" if origin.bytes is None else str(origin.bytes),
                "url": origin.name if origin.name.startswith(("https://", "http://", "s3://"))
                else "",
            }
        )  # fmt: skip
    for name, value in _settings(facts.info):
        yield {"@id": f"#setting-{name}", "@type": "PropertyValue", "name": name, "value": value}


def _settings(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What was set; the model and the inputs are entities of their own."""
    for name, value in info["parameters"].items():
        if name not in ("inputs", "model", "model_sha256", "classes"):
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            yield name, text


def _action(facts: Facts, results: Sequence[str]) -> Entity:
    totals, units = facts.info["totals"], facts.info["units"]
    objects = [
        "#model",
        *(f"#input-{number}" for number, _ in enumerate(facts.files.origins, 1)),
        *(f"#setting-{name}" for name, _ in _settings(facts.info)),
    ]
    done = (
        f"{totals['results']:,} images of {facts.coverage.bins:,} bins were classified, measured "
        f"and counted; {totals['failures']:,} inputs have no result (failures.csv)."
    )
    if units["resumed"]:
        done += (
            f" The run was resumed: {units['resumed']:,} of {units['all']:,} units were done "
            "before the start that is given here."
        )
    return {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Classification of cruise {facts.dataset.cruise} by {facts.tables.model} "
        f"{facts.tables.model_version}",
        "description": done,
        "instrument": _link(f"{home()}#software"),
        "agent": _link(institution_id(facts.dataset)),
        "object": _links(objects),
        "result": _links(results),
        "startTime": _moment(facts.info["started"]),
        "endTime": _moment(facts.info["finished"]),
        "actionStatus": _COMPLETED,
    }


def _moment(text: str) -> str:
    """Of run.json, with the offset that the profile's pattern asks for in place of the Z."""
    time = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return time.isoformat()


def person_id(person: Person) -> str:
    return f"https://orcid.org/{person.orcid}" if person.orcid else _slug("person", person.name)


def institution_id(dataset: DatasetFacts) -> str:
    return dataset.institution_url or "#institution"


def _slug(kind: str, name: str) -> str:
    from urllib.parse import quote

    return f"#{kind}-{quote(name.lower().replace(' ', '-'))}"


def _link(target: str) -> Entity:
    return {"@id": target}


def _links(targets: Iterable[str]) -> list[Entity]:
    return [_link(target) for target in dict.fromkeys(targets)]


def given(entity: Entity) -> Entity:
    """Without what is empty; a list of one value as that value, as RO-Crate 1.1 recommends."""
    return {
        key: value[0] if isinstance(value, list) and len(value) == 1 else value
        for key, value in entity.items()
        if value not in ("", [])
    }
