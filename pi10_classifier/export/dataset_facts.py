"""``dataset.toml``: facts of a dataset that no image tells, checked, for all exports."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.export.fact_checks import Checks
from pi10_classifier.export.identifiers import LICENCES, Licence
from pi10_classifier.foundation.files import atomic_path

NAME = "dataset.toml"
ROLES = ("creator", "contact", "verifier")
_KEYS = {
    "": (
        "title", "abstract", "licence", "citation", "keywords", "identifier", "institution",
        "cruise", "people", "funding", "identification", "underway",
    ),
    "institution": ("name", "code", "url"),
    "cruise": ("id", "ship", "ship_code", "intake_depth_m", "area"),
    "people": ("given", "family", "email", "orcid", "organisation", "roles"),
    "funding": ("funder", "award"),
    "identification": ("machine",),
    "underway": ("column", "long_name", "standard_name", "units", "P01", "P06"),
}  # fmt: skip
_KEYWORDS = ("plankton", "zooplankton", "imaging", "Plankton Imager", "abundance")


@dataclass(frozen=True, slots=True)
class Person:
    """Someone named in ``[[people]]``; orcid: 16 digits in groups of four, "" unknown."""

    given: str
    family: str
    email: str
    orcid: str
    organisation: str
    roles: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.given} {self.family}"


@dataclass(frozen=True, slots=True)
class Funding:
    """A grant: who gave it, and its number ("" unknown)."""

    funder: str
    award: str

    def __str__(self) -> str:
        return f"{self.funder} ({self.award})" if self.award else self.funder


@dataclass(frozen=True, slots=True)
class ReadingFacts:
    """What a column of ``underway.csv`` holds, as ``[underway.NAME]`` says it; "" unknown.

    units: as UDUNITS writes them. p01, p06: codes of the quantity and its unit at NERC.
    """

    name: str
    column: str
    long_name: str
    standard_name: str
    units: str
    p01: str
    p06: str


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """All of ``dataset.toml``; a text that was not given is empty. intake_depth_m: metres."""

    title: str
    abstract: str
    licence: Licence
    citation: str
    keywords: tuple[str, ...]
    identifier: str
    institution: str
    institution_code: str
    institution_url: str
    cruise: str
    ship: str
    ship_code: str
    intake_depth_m: float
    area: str
    people: tuple[Person, ...]
    funding: tuple[Funding, ...]
    machine: str
    readings: tuple[ReadingFacts, ...] = ()

    def having(self, role: str) -> tuple[Person, ...]:
        """The people of a role, in the file's order."""
        return tuple(person for person in self.people if role in person.roles)


def template() -> str:
    """The commented file that ``pi10 export init`` writes."""
    return files("pi10_classifier.export").joinpath(NAME).read_text("utf-8")


def write_template(path: Path) -> Path:
    """Write it to a file, or to a folder as ``dataset.toml``; returns where.

    Raises SettingError where there is a file already, OutputError where none can be written.
    """
    if path.is_dir():
        path /= NAME
    if path.exists():
        raise SettingError(f"{path} is there already and is kept; name another file, or edit it")
    with atomic_path(path) as temporary:
        temporary.write_bytes(template().encode())
    return path


def read_facts(path: Path) -> DatasetFacts:
    """Read and check ``dataset.toml``. Raises SettingError with all that is wrong at once."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        table = tomllib.loads(text)
    except FileNotFoundError:
        raise SettingError(
            f"there is no {path}; write one: pi10 export init {path}, and fill it in"
        ) from None
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingError(
            f'{path} is not TOML: {error}; texts stand between quotes: ship = "Endeavour"'
        ) from error
    checks = Checks(text)
    facts = _facts(table, checks)
    if checks.problems:
        listed = "\n".join(f"  {problem}" for problem in checks.problems)
        raise SettingError(f"{path} is to be mended ({len(checks.problems)}):\n{listed}")
    return facts


def _facts(table: Mapping[str, object], checks: Checks) -> DatasetFacts:
    checks.keys("", table, _KEYS[""])
    institution = checks.table(table, "institution", _KEYS["institution"])
    cruise = checks.table(table, "cruise", _KEYS["cruise"])
    identification = checks.table(table, "identification", _KEYS["identification"])
    people = tuple(
        _person(person, f"people[{place}]", checks)
        for place, person in enumerate(checks.tables(table, "people", _KEYS["people"]), 1)
    )
    _check_people(people, checks)
    title = checks.text(table, "title", required=True)
    name = checks.text(institution, "institution.name", required=True)
    return DatasetFacts(
        title=title,
        abstract=checks.text(table, "abstract", required=True),
        licence=checks.licence(table, "licence") or LICENCES[0],
        citation=checks.text(table, "citation") or _citation(people, title, name),
        keywords=checks.texts(table, "keywords") or _KEYWORDS,
        identifier=checks.text(table, "identifier"),
        institution=name,
        institution_code=checks.text(institution, "institution.code", required=True),
        institution_url=checks.url(institution, "institution.url"),
        cruise=checks.identifier(cruise, "cruise.id"),
        ship=checks.text(cruise, "cruise.ship", required=True),
        ship_code=checks.text(cruise, "cruise.ship_code"),
        intake_depth_m=checks.depth(cruise, "cruise.intake_depth_m"),
        area=checks.text(cruise, "cruise.area"),
        people=people,
        funding=tuple(
            Funding(
                checks.text(grant, f"funding[{place}].funder", required=True),
                checks.text(grant, f"funding[{place}].award"),
            )
            for place, grant in enumerate(checks.tables(table, "funding", _KEYS["funding"]), 1)
        ),
        machine=checks.text(identification, "identification.machine"),
        readings=_readings(table, checks),
    )


def _readings(table: Mapping[str, object], checks: Checks) -> tuple[ReadingFacts, ...]:
    readings: list[ReadingFacts] = []
    for name, part in checks.named_tables(table, "underway", _KEYS["underway"]).items():
        path = f"underway.{name}"
        reading = ReadingFacts(
            name=name,
            column=checks.text(part, f"{path}.column", required=True),
            long_name=checks.text(part, f"{path}.long_name"),
            standard_name=checks.standard_name(part, f"{path}.standard_name"),
            units=checks.text(part, f"{path}.units"),
            p01=checks.nerc_code(part, f"{path}.P01", 8),
            p06=checks.nerc_code(part, f"{path}.P06", 4),
        )
        if (reading.standard_name or reading.p01) and not reading.units:
            checks.problem(
                f"{path}.units", "is missing: standard_name and P01 need the unit of the numbers, "
                'such as "degree_C", and "1" where they have none'
            )  # fmt: skip
        for other in readings:
            if reading.column == other.column:
                checks.problem(
                    path, f"is of the column {reading.column!r}, as underway.{other.name}"
                )
            if reading.name.lower() == other.name.lower():
                checks.problem(path, f"differs from underway.{other.name} in case alone")
            if reading.long_name and reading.long_name == other.long_name:
                checks.problem(f"{path}.long_name", f"is that of underway.{other.name} too")
            if reading.p01 and reading.p01 == other.p01:
                checks.problem(
                    f"{path}.P01", f"is {reading.p01}, as that of underway.{other.name}: an event "
                    "has one value of each; leave one out"
                )  # fmt: skip
        readings.append(reading)
    return tuple(readings)


def _person(person: Mapping[str, object], path: str, checks: Checks) -> Person:
    roles = checks.texts(person, f"{path}.roles")
    for role in roles:
        checks.choice(f"{path}.roles", role, ROLES)
    if not roles:
        checks.problem(f"{path}.roles", f"is empty; give one or more of {', '.join(ROLES)}")
    return Person(
        given=checks.text(person, f"{path}.given", required=True),
        family=checks.text(person, f"{path}.family", required=True),
        email=checks.email(person, f"{path}.email", required="contact" in roles),
        orcid=checks.orcid(person, f"{path}.orcid"),
        organisation=checks.text(person, f"{path}.organisation"),
        roles=roles,
    )


def _check_people(people: Sequence[Person], checks: Checks) -> None:
    for role in ("creator", "contact"):
        if not any(role in person.roles for person in people):
            checks.problem("people", f"nobody has the role {role!r}; give it to one person")
    seen: dict[str, str] = {}
    for person in people:
        if person.orcid and person.orcid in seen:
            checks.problem(
                "people", f"{seen[person.orcid]} and {person.name} have one ORCID, {person.orcid}"
            )
        seen.setdefault(person.orcid, person.name)


def _citation(people: Sequence[Person], title: str, institution: str) -> str:
    names = "; ".join(f"{p.family}, {p.given}" for p in people if "creator" in p.roles)
    return f"{names}: {title}. {institution}."
