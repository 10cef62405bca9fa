"""Identifiers that others resolve: licences, ORCID iDs, WoRMS LSIDs, NERC vocabulary terms."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ORCID = re.compile(r"(?:https?://(?:www\.)?orcid\.org/)?(\d{4}-?\d{4}-?\d{4}-?\d{3}[\dXx])/?")


@dataclass(frozen=True, slots=True)
class Licence:
    """spdx: its SPDX identifier; url: the address of its text, as GBIF and OBIS write it."""

    spdx: str
    name: str
    url: str


LICENCES = (
    Licence(
        "CC0-1.0",
        "Creative Commons Zero v1.0 Universal",
        "http://creativecommons.org/publicdomain/zero/1.0/legalcode",
    ),
    Licence(
        "CC-BY-4.0",
        "Creative Commons Attribution 4.0 International",
        "http://creativecommons.org/licenses/by/4.0/legalcode",
    ),
    Licence(
        "CC-BY-NC-4.0",
        "Creative Commons Attribution Non Commercial 4.0 International",
        "http://creativecommons.org/licenses/by-nc/4.0/legalcode",
    ),
)
"""The licences that OBIS and GBIF take."""


def licence_of(text: str) -> Licence | None:
    """By SPDX identifier, by a common short name (``CC BY``), or by its address."""
    plain = re.sub(r"[\s_]+", "-", text.strip()).upper()
    address = re.sub(r"^HTTPS?://(WWW\.)?", "", plain).rstrip("/")
    address = re.sub(r"/(LEGALCODE|DEED)(\.[A-Z-]+)?$", "", address)
    for licence in LICENCES:
        short, _, version = licence.spdx.rpartition("-")
        known = licence.url.removeprefix("http://").removesuffix("/legalcode").upper()
        if plain in (licence.spdx, short, f"{short}{version}") or address == known:
            return licence
    return None


def orcid_of(text: str) -> str | None:
    """An ORCID iD as ``0000-0002-1825-0097``; None where it is none.

    The last character is a check digit, ISO/IEC 7064 MOD 11-2
    (https://support.orcid.org/hc/en-us/articles/360006897674).
    """
    match = _ORCID.fullmatch(text.strip())
    if not match:
        return None
    digits = match[1].replace("-", "").upper()
    total = 0
    for digit in digits[:-1]:
        total = (total + int(digit)) * 2
    check = (12 - total % 11) % 11
    if digits[-1] != ("X" if check == 10 else str(check)):
        return None
    return "-".join(digits[i : i + 4] for i in range(0, 16, 4))


def lsid_of(aphia_id: int) -> str:
    """The LSID of a taxon of the World Register of Marine Species."""
    return f"urn:lsid:marinespecies.org:taxname:{aphia_id}"


def nerc(collection: str, code: str) -> str:
    """The address of a NERC vocabulary term, with the slash that Biocheck and OBIS want."""
    return f"http://vocab.nerc.ac.uk/collection/{collection}/current/{code}/"
