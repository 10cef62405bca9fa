"""Metadata of a Darwin Core Archive: ``eml.xml`` after the GBIF EML profile 1.1.

Order of elements and required ones: http://rs.gbif.org/schema/eml-gbif-profile/1.1/eml.xsd
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from pi10_classifier.export.darwin_core.events import Event, LeftOut
from pi10_classifier.export.dataset_facts import DatasetFacts, Person
from pi10_classifier.export.positions import bounds
from pi10_classifier.export.run_tables import RunTables
from pi10_classifier.export.taxa import Taxon
from pi10_classifier.export.validated import Validated

NAMESPACE = "eml://ecoinformatics.org/eml-2.1.1"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = f"{NAMESPACE} http://rs.gbif.org/schema/eml-gbif-profile/1.1/eml.xsd"
# as GBIF's own tools write them: readers take the licence from the link
_RIGHTS = {
    "CC0-1.0": (
        "To the extent possible under law, the publisher has waived all rights to these data and "
        "has dedicated them to the ",
        "Public Domain (CC0 1.0)",
        ". Users may copy, modify, distribute and use the work, including for commercial "
        "purposes, without restriction.",
    ),
    "CC-BY-4.0": (
        "This work is licensed under a ",
        "Creative Commons Attribution (CC-BY) 4.0 License",
        ".",
    ),
    "CC-BY-NC-4.0": (
        "This work is licensed under a ",
        "Creative Commons Attribution Non Commercial (CC-BY-NC) 4.0 License",
        ".",
    ),
}


def eml_bytes(
    facts: DatasetFacts,
    run: RunTables,
    events: Sequence[Event],
    taxa: Iterable[Taxon],
    left_out: Sequence[LeftOut],
    validated: Validated,
) -> bytes:
    """The document in UTF-8; the same for the same run and facts."""
    ET.register_namespace("eml", NAMESPACE)
    ET.register_namespace("xsi", _XSI)
    root = ET.Element(
        f"{{{NAMESPACE}}}eml",
        {
            f"{{{_XSI}}}schemaLocation": _SCHEMA,
            "packageId": facts.identifier or f"{facts.cruise}/v1",
            "system": "http://gbif.org",
            "scope": "system",
            "{http://www.w3.org/XML/1998/namespace}lang": "eng",
        },
    )
    dataset = ET.SubElement(root, "dataset")
    if facts.identifier:
        _text(dataset, "alternateIdentifier", facts.identifier)
    _text(dataset, "title", facts.title)
    for person in facts.having("creator"):
        _agent(dataset, "creator", person, facts)
    for person in facts.having("contact")[:1]:
        _agent(dataset, "metadataProvider", person, facts)
    for person in facts.having("verifier"):
        _text(_agent(dataset, "associatedParty", person, facts), "role", "contentProvider")
    # of the run, not of the export: the same run gives the same bytes
    _text(dataset, "pubDate", f"{run.finished:%Y-%m-%d}")
    _text(dataset, "language", "eng")
    _para(dataset, "abstract", facts.abstract)
    words = ET.SubElement(dataset, "keywordSet")
    for keyword in facts.keywords:
        _text(words, "keyword", keyword)
    _text(words, "keywordThesaurus", "n/a")
    _rights(dataset, facts)
    _coverage(dataset, facts, events, taxa)
    for person in facts.having("contact"):
        _agent(dataset, "contact", person, facts)
    _methods(dataset, facts, run, left_out, validated)
    _project(dataset, facts)
    gbif = ET.SubElement(
        ET.SubElement(ET.SubElement(root, "additionalMetadata"), "metadata"), "gbif"
    )
    _text(gbif, "dateStamp", f"{run.finished:%Y-%m-%dT%H:%M:%S}")
    _text(gbif, "hierarchyLevel", "dataset")
    _text(gbif, "citation", facts.citation)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return document + b"\n"


def _text(parent: ET.Element, name: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, name)
    element.text = text
    return element


def _para(parent: ET.Element, name: str, text: str) -> None:
    _text(ET.SubElement(parent, name), "para", text)


def _described(parent: ET.Element, name: str, text: str) -> None:
    _para(ET.SubElement(parent, name), "description", text)


def _agent(parent: ET.Element, name: str, person: Person, facts: DatasetFacts) -> ET.Element:
    agent = ET.SubElement(parent, name)
    individual = ET.SubElement(agent, "individualName")
    _text(individual, "givenName", person.given)
    _text(individual, "surName", person.family)
    _text(agent, "organizationName", person.organisation or facts.institution)
    if person.email:
        _text(agent, "electronicMailAddress", person.email)
    if facts.institution_url and not person.organisation:
        _text(agent, "onlineUrl", facts.institution_url)
    if person.orcid:
        _text(agent, "userId", person.orcid).set("directory", "https://orcid.org/")
    return agent


def _rights(dataset: ET.Element, facts: DatasetFacts) -> None:
    before, title, after = _RIGHTS[facts.licence.spdx]
    para = _text(ET.SubElement(dataset, "intellectualRights"), "para", before)
    link = ET.SubElement(para, "ulink", {"url": facts.licence.url})
    _text(link, "citetitle", title)
    link.tail = after


def _coverage(
    dataset: ET.Element, facts: DatasetFacts, events: Sequence[Event], taxa: Iterable[Taxon]
) -> None:
    coverage = ET.SubElement(dataset, "coverage")
    place = ET.SubElement(coverage, "geographicCoverage")
    _text(place, "geographicDescription", facts.area or f"track of {facts.ship}, {facts.cruise}")
    box = ET.SubElement(place, "boundingCoordinates")
    west, east, south, north = bounds([event.position for event in events])
    for name, value in (("west", west), ("east", east), ("north", north), ("south", south)):
        _text(box, f"{name}BoundingCoordinate", f"{value:.5f}")
    time = ET.SubElement(ET.SubElement(coverage, "temporalCoverage"), "rangeOfDates")
    for name, day in (
        ("beginDate", min(event.start for event in events)),
        ("endDate", max(event.end for event in events)),
    ):
        _text(ET.SubElement(time, name), "calendarDate", f"{day:%Y-%m-%d}")
    taxonomic = ET.SubElement(coverage, "taxonomicCoverage")
    for taxon in taxa:
        known = ET.SubElement(taxonomic, "taxonomicClassification")
        _text(known, "taxonRankName", taxon.rank)
        _text(known, "taxonRankValue", taxon.name)


def _methods(
    dataset: ET.Element,
    facts: DatasetFacts,
    run: RunTables,
    left_out: Sequence[LeftOut],
    validated: Validated,
) -> None:
    methods = ET.SubElement(dataset, "methods")
    _described(
        methods,
        "methodStep",
        f"Water from {facts.intake_depth_m:g} m depth was pumped through a Plankton Imager Pi-10 "
        "(nominal flow 34 litres a minute), which counts particles above about 180 µm and saves "
        "images of them (hits) or counts them only (misses).",
    )
    _described(
        methods,
        "methodStep",
        f"Images were classified by the model {run.model} {run.model_version} (SHA-256 "
        f"{run.model_sha256}) with pi10-classifier {run.software}. Each minute's count of a class "
        "was multiplied by (hits + misses) / images classified in that minute, and divided by the "
        "litres. Intervals of 95 % are given for the water sampled (Poisson counts) and for the "
        "water mass (differences between minutes).",
    )
    if validated.by_bin:
        labelled = sum(validated.verified.values())
        _described(
            methods,
            "methodStep",
            f"People labelled {labelled} particles of a probability sample, drawn in proportion to "
            "the raising factors. Densities of bins were corrected by them (post-stratification, "
            "Lohr 2019, Sampling: Design and Analysis); their 95 % intervals cover counting, "
            "errors of the model, and differences between bins.",
        )
    sampling = ET.SubElement(methods, "sampling")
    _described(sampling, "studyExtent", f"Cruise {facts.cruise} of {facts.ship}.")
    _para(
        sampling,
        "samplingDescription",
        "Continuous, under way; a sample is a bin of up to ten minutes.",
    )
    _described(
        methods,
        "qualityControl",
        f"{len(left_out)} bins without a position or density, or with flags of bad quality, are "
        "left out. Other flags stand in eventRemarks with SeaDataNet L20 codes.",
    )


def _project(dataset: ET.Element, facts: DatasetFacts) -> None:
    project = ET.SubElement(dataset, "project")
    _text(project, "title", f"{facts.ship}, cruise {facts.cruise}")
    for person in facts.having("creator"):
        _text(_agent(project, "personnel", person, facts), "role", "author")
    if facts.funding:
        _para(project, "funding", "; ".join(map(str, facts.funding)))
