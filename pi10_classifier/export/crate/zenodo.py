"""The metadata of a Zenodo record, for its deposit API and for that of InvenioRDM.

Fields as in https://developers.zenodo.org/#deposit-metadata and
https://inveniordm.docs.cern.ch/reference/metadata/.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

from pi10_classifier.export.crate.entities import Facts, home
from pi10_classifier.export.dataset_facts import Person

DEPOSIT, RECORD, CONTENTS = "zenodo.json", "invenio-rdm.json", "files.csv"
MOST_FILES, MOST_BYTES = 100, 50 * 10**9
"""The limits of a record (https://help.zenodo.org/docs/deposit/manage-files/)."""

PACK_BYTES = 2 * 10**9


def deposit(facts: Facts) -> dict[str, Any]:
    """The body of ``PUT /api/deposit/depositions/ID``."""
    dataset = facts.dataset
    fields: dict[str, Any] = {
        "upload_type": "dataset",
        "publication_date": facts.published.isoformat(),
        "title": dataset.title,
        "creators": [_named(person) for person in dataset.having("creator")],
        "contributors": [{**_named(person), "type": kind} for person, kind in _contributors(facts)],
        "description": _description(facts),
        "access_right": "open",
        "license": dataset.licence.spdx.lower(),
        "keywords": list(dataset.keywords),
        "language": "eng",
        "related_identifiers": [
            {"identifier": identifier, "relation": relation, "resource_type": kind}
            for identifier, relation, kind in _related(facts)
        ],
        "notes": _notes(facts),
    }
    if facts.coverage.begin and facts.coverage.end:
        begin, end = (f"{day:%Y-%m-%d}" for day in (facts.coverage.begin, facts.coverage.end))
        fields["dates"] = [{"type": "Collected", "start": begin, "end": end}]
    return {"metadata": {name: value for name, value in fields.items() if value}}


def record(facts: Facts) -> dict[str, Any]:
    """The body of ``POST /api/records``."""
    dataset = facts.dataset
    fields: dict[str, Any] = {
        "resource_type": {"id": "dataset"},
        "publication_date": facts.published.isoformat(),
        "title": dataset.title,
        "publisher": "Zenodo",
        "creators": [_agent(person, facts) for person in dataset.having("creator")],
        "contributors": [
            {**_agent(person, facts), "role": {"id": kind.lower()}}
            for person, kind in _contributors(facts)
        ],
        "description": _description(facts),
        "rights": [{"id": dataset.licence.spdx.lower()}],
        "subjects": [{"subject": word} for word in dataset.keywords],
        "languages": [{"id": "eng"}],
        "related_identifiers": [
            {
                "identifier": identifier,
                "scheme": "doi" if identifier.startswith("10.") else "url",
                "relation_type": {"id": relation.lower()},
                "resource_type": {"id": kind},
            }
            for identifier, relation, kind in _related(facts)
        ],
        "funding": [
            {
                "funder": {"name": grant.funder},
                **(
                    {"award": {"number": grant.award, "title": {"en": grant.award}}}
                    if grant.award
                    else {}
                ),
            }
            for grant in dataset.funding
        ],
    }
    if facts.coverage.begin and facts.coverage.end:
        days = f"{facts.coverage.begin:%Y-%m-%d}/{facts.coverage.end:%Y-%m-%d}"
        fields["dates"] = [{"date": days, "type": {"id": "collected"}}]
    return {
        "access": {"record": "public", "files": "public"},
        "files": {"enabled": True},
        "metadata": {name: value for name, value in fields.items() if value},
    }


def _named(person: Person) -> dict[str, str]:
    fields = {
        "name": f"{person.family}, {person.given}",
        "affiliation": person.organisation,
        "orcid": person.orcid,
    }
    return {name: value for name, value in fields.items() if value}


def _agent(person: Person, facts: Facts) -> dict[str, Any]:
    identifiers = [{"scheme": "orcid", "identifier": person.orcid}] if person.orcid else []
    return {
        "person_or_org": {
            "type": "personal",
            "given_name": person.given,
            "family_name": person.family,
            "identifiers": identifiers,
        },
        "affiliations": [{"name": person.organisation or facts.dataset.institution}],
    }


def _contributors(facts: Facts) -> Iterator[tuple[Person, str]]:
    """Who is no author: the contact, and those who labelled."""
    creators = facts.dataset.having("creator")
    for person in facts.dataset.having("contact"):
        yield person, "ContactPerson"
    for person in facts.dataset.having("verifier"):
        if person not in creators:
            yield person, "DataCurator"


def _related(facts: Facts) -> Iterator[tuple[str, str, str]]:
    yield home(), "isCompiledBy", "software"
    identifier = facts.dataset.identifier
    if identifier:
        doi = identifier.rpartition("doi.org/")[2]
        yield doi if doi.startswith("10.") else identifier, "isIdenticalTo", "dataset"


def _description(facts: Facts) -> str:
    """HTML: the abstract, and what the files are."""
    dataset, totals = facts.dataset, facts.info["totals"]
    paragraphs = [
        dataset.abstract,
        f"Cruise {dataset.cruise}, {dataset.ship}; the Plankton Imager took water from "
        f"{dataset.intake_depth_m:g} m below the surface. {totals['results']:,} images of "
        f"{facts.coverage.bins:,} bins were sorted into {', '.join(facts.tables.classes)} by model "
        f"{facts.tables.model} {facts.tables.model_version} of pi10-classifier "
        f"{facts.tables.software}.",
        "The record is a Process Run Crate (ro-crate-metadata.json). bins.csv and counts.csv hold "
        "densities per litre with 95 % intervals; the predictions of single particles are Parquet "
        "files, packed as zip. files.csv tells which file is in which zip, with SHA-256.",
    ]
    if facts.info.get("classification", {}).get("validated") is True:
        paragraphs.append(
            f"People labelled {facts.info['classification']['labelled']:,} particles of a random "
            "sample. The densities corrected by it, whose intervals cover the model's errors, are "
            "corrected.csv and corrected_bins.csv in validation.zip; those of bins.csv are not "
            "corrected."
        )
    else:
        paragraphs.append("No sample was validated: errors of the model are in all densities.")
    return "".join(f"<p>{html.escape(text, quote=False)}</p>" for text in paragraphs)


def _notes(facts: Facts) -> str:
    """HTML: grants. The deposit API takes them only by numbers that the facts do not hold."""
    grants = "; ".join(str(grant) for grant in facts.dataset.funding)
    return f"<p>Funding: {html.escape(grants, quote=False)}.</p>" if grants else ""
