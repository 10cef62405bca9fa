"""``croissant.json``: the data set as MLCommons Croissant 1.0 describes it.

The records are the lines of ``manifest.csv``: images are named by source and member and told by
their SHA-256, and are no files of the description (https://docs.mlcommons.org/croissant/docs/croissant-spec.html).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pi10_classifier.datasets.records import Sample

CROISSANT = "croissant.json"
_CONFORMS = "http://mlcommons.org/croissant/1.0"
_MANIFEST, _IMAGES = "manifest.csv", "images"
# of the specification, appendix 1
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_SPLITS = {"train": "cr:TrainingSplit", "validation": "cr:ValidationSplit", "test": "cr:TestSplit"}
# column of the manifest -> type, meaning
_COLUMNS = {
    "source": ("sc:Text", "The folder, archive, table or run that the image lies in."),
    "member": ("sc:Text", "Its path there; of a run its particle_id."),
    "label": ("sc:Text", "The source's own label."),
    "group": ("sc:Text", "The class."),
    "bin": ("sc:Text", "The ten-minute bin of the Plankton Imager; empty where it is unknown."),
    "split": ("sc:Text", "The split that the image is in."),
    "sha256": ("sc:Text", "SHA-256 of the file's bytes."),
    "width": ("sc:Integer", "Pixels."),
    "height": ("sc:Integer", "Pixels."),
    "cluster": ("sc:Text", "The same for duplicates of one another; empty for others."),
}


@dataclass(frozen=True, slots=True)
class About:
    """What the images do not tell. licence: an address. creators: names, ORCID iDs or ""."""

    name: str
    description: str = ""
    licence: str = ""
    cite_as: str = ""
    url: str = ""
    creators: tuple[tuple[str, str], ...] = ()
    keywords: tuple[str, ...] = ()


def croissant(samples: Sequence[Sample], manifest: str, about: About) -> str:
    """The description of a manifest's text, as JSON-LD."""
    data = manifest.encode("utf-8")
    classes = sorted({sample.group for sample in samples})
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _CONFORMS,
        "name": about.name,
        "description": about.description
        or f"{len(samples):,} labelled images of plankton particles in {len(classes)} classes.",
        "license": about.licence,
        "citeAs": about.cite_as,
        "url": about.url,
        "keywords": list(about.keywords),
        "creator": [_person(name, orcid) for name, orcid in about.creators],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": _MANIFEST,
                "name": _MANIFEST,
                "description": "Each image with its class, split and SHA-256.",
                "contentUrl": _MANIFEST,
                "encodingFormat": "text/csv",
                "contentSize": f"{len(data)} B",
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        ],
        "recordSet": [
            _listed("splits", "cr:Split", "The splits.", _SPLITS.items()),
            _listed("classes", "sc:Enumeration", "The classes.", ((name, "") for name in classes)),
            {
                "@type": "cr:RecordSet",
                "@id": _IMAGES,
                "name": _IMAGES,
                "description": "One record an image.",
                "field": [_field(column) for column in _COLUMNS],
            },
        ],
    }
    given = {key: value for key, value in described.items() if value}
    return json.dumps(given, indent=1, ensure_ascii=False) + "\n"


def _person(name: str, orcid: str) -> dict[str, str]:
    person = {"@type": "sc:Person", "name": name}
    return {**person, "url": f"https://orcid.org/{orcid}"} if orcid else person


def _listed(name: str, kind: str, about: str, rows: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A record set whose records stand in the description itself: names, and their addresses."""
    rows = list(rows)
    columns = ["name", "url"] if any(url for _, url in rows) else ["name"]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": about,
        "dataType": kind,
        "key": {"@id": f"{name}/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/{column}", "name": column,
             "dataType": "sc:Text" if column == "name" else "sc:URL"}
            for column in columns
        ],
        "data": [
            {f"{name}/{column}": value for column, value in zip(columns, row, strict=False)}
            for row in rows
        ],
    }  # fmt: skip


def _field(column: str) -> dict[str, Any]:
    kind, about = _COLUMNS[column]
    field = {
        "@type": "cr:Field",
        "@id": f"{_IMAGES}/{column}",
        "name": column,
        "description": about,
        "dataType": kind,
        "source": {"fileObject": {"@id": _MANIFEST}, "extract": {"column": column}},
    }
    references = {"split": "splits/name", "group": "classes/name"}
    if column in references:
        field["references"] = {"field": {"@id": references[column]}}
    return field
