"""What the ship measured, as exports name it: a table of what is known, and ``[underway.NAME]``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from pi10_classifier.errors import SettingError
from pi10_classifier.export.dataset_facts import ReadingFacts
from pi10_classifier.underway.table import Underway

# units after UDUNITS -> name and code in NERC's P06
UNITS = {
    "degree_C": ("Degrees Celsius", "UPAA"),
    "1": ("Dimensionless", "UUUU"),
    "mg m-3": ("Milligrams per cubic metre", "UMMC"),
}
_HEADER = re.compile(r"(?P<name>.*?)\s*[(\[](?P<unit>[^()\[\]]*)[)\]]")
_NOT_GIVEN = ""
# units that UDUNITS surely knows: SI symbols with a prefix and a power, joined
_SYMBOL = r"[numkchMµ]?(?:m|s|g|l|L|mol|V|A|K|Pa|bar|Hz|W|S|J|N)"
_FACTOR = rf"(?:(?:{_SYMBOL}|degrees?|degC|degree_C)(?:\^?-?\d)?)"
_UDUNITS = re.compile(rf"1|%|°C|{_FACTOR}(?:[ ./*]{_FACTOR})*")


@dataclass(frozen=True, slots=True)
class _Known:
    """A quantity that is known by its usual headers, in these units, if its values are possible."""

    headers: tuple[str, ...]
    spellings: tuple[str, ...]
    range: tuple[float, float]
    long_name: str
    standard_name: str
    units: str
    p01: str
    label: str


_CHLOROPHYLL_UNITS = ("mg m-3", "mg/m3", "mg/m^3", "mg/m³", "ug/l", "µg/l", "ug l-1", "µg l-1")
_CHLOROPHYLL = (
    (-1.0, 1000.0),
    "chlorophyll a in the sea water",
    "mass_concentration_of_chlorophyll_a_in_sea_water",
    "mg m-3",
    "CPHLPR01",
    "Concentration of chlorophyll-a {chl-a CAS 479-61-8} per unit volume of the water body "
    "[particulate >unknown phase] by in-situ chlorophyll fluorometer",
)
# headers without case, _ for what is between words; names and units of P01 as NERC has them
_KNOWN = (
    _Known(
        ("temperature", "water_temperature", "sea_temperature", "sea_water_temperature",
         "seawater_temperature", "tsg_temperature", "sst", "sea_surface_temperature"),
        (_NOT_GIVEN, "degree_c", "degrees_c", "degc", "deg c", "°c", "c", "celsius",
         "degree_celsius", "degrees celsius"),
        (-3.0, 45.0), "temperature of the sea water", "sea_water_temperature", "degree_C",
        "TEMPPR01", "Temperature of the water body",
    ),
    _Known(
        ("salinity", "sal", "psal", "practical_salinity", "sea_water_salinity",
         "seawater_salinity", "sea_water_practical_salinity", "tsg_salinity"),
        (_NOT_GIVEN, "1", "psu", "pss", "pss-78", "pss78"),
        (0.0, 50.0), "practical salinity of the sea water", "sea_water_practical_salinity", "1",
        "PSLTZZ01", "Practical salinity of the water body",
    ),
    _Known(
        ("chlorophyll", "chlorophyll_a", "chlorophyll-a", "chl", "chl_a", "chl-a", "chla"),
        (_NOT_GIVEN, *_CHLOROPHYLL_UNITS), *_CHLOROPHYLL,
    ),
    # without a unit, a fluorescence may be volts or counts
    _Known(
        ("fluorescence", "fluorometer", "chlorophyll_fluorescence", "chl_fluorescence"),
        _CHLOROPHYLL_UNITS, *_CHLOROPHYLL,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """A variable of the ship. column: its header in ``underway.csv``. "" is unknown.

    name: an identifier, unique. units: after UDUNITS. label, unit_label: what NERC or else the
    user calls the quantity and its unit. p01, p06: codes at NERC.
    """

    column: str
    name: str
    long_name: str
    standard_name: str
    units: str
    label: str
    p01: str
    unit_label: str
    p06: str


def readings_of(
    underway: Underway, told: Sequence[ReadingFacts], taken: Collection[str] = ()
) -> tuple[tuple[Reading, ...], tuple[str, ...]]:
    """The variables in the order of the ship's file, and what the user should know of them.

    told: what ``dataset.toml`` says, which goes first. taken: names that a variable may not have.
    Raises SettingError where ``dataset.toml`` names a variable as another column is named.
    """
    if not underway:
        return (), ()
    lower = {name.lower() for name in taken}
    of_column = {facts.column: facts for facts in told}
    notes = [
        f"[underway.{facts.name}] is of the column {facts.column!r}, which underway.csv has not; "
        f"it has {', '.join(underway.variables)}"
        for facts in told
        if facts.column not in underway.variables
    ]
    names = _Names({*taken, *(facts.name for facts in told)})
    codes = {facts.p01 for facts in told if facts.column in underway.variables} - {""}
    readings = []
    for column in underway.variables:
        if facts := of_column.get(column):
            if facts.name.lower() in lower:
                raise SettingError(
                    f"[underway.{facts.name}] of dataset.toml: the export has another variable "
                    "of this name; call it otherwise"
                )
            readings.append(_told(facts))
            continue
        header, unit = _parts(column)
        known = _known(header, unit)
        name = names.of(header)
        if known and not _possible(underway, column, known):
            notes.append(
                f"{column!r} has values that are no {known.long_name}, unit {known.units}: it is "
                f"written under its own name; say what it is: [underway.{name}] in dataset.toml"
            )
            known = None
        elif known is None:
            notes.append(
                f"{column!r} is not a known quantity"
                f"{'' if unit else ' and names no unit'}: it is written under its own name; say "
                f"what it is: [underway.{name}] in dataset.toml"
            )
        if known is None:
            units = unit if _UDUNITS.fullmatch(unit) else ""
            readings.append(Reading(column, name, column, "", units, column, "", unit, ""))
            continue
        label, code = UNITS[known.units]
        # an event has one value of a quantity
        is_first = known.p01 not in codes
        codes.add(known.p01)
        notes.append(
            f"{column!r} is taken for {known.long_name}, unit {known.units}"
            + ("" if is_first else "; without P01, which another column has")
            + f"; if it is not: [underway.{name}] in dataset.toml"
        )
        readings.append(
            Reading(
                column, name, known.long_name, known.standard_name, known.units,
                known.label if is_first else column, known.p01 if is_first else "", label, code,
            )
        )  # fmt: skip
    return tuple(readings), tuple(notes)


def _told(facts: ReadingFacts) -> Reading:
    quantity = next((known for known in _KNOWN if known.p01 == facts.p01), None)
    label, code = UNITS.get(facts.units, (facts.units, ""))
    words = facts.name.replace("_", " ")
    return Reading(
        column=facts.column,
        name=facts.name,
        long_name=facts.long_name or words,
        standard_name=facts.standard_name,
        units=facts.units,
        label=quantity.label if quantity else facts.long_name or words,
        p01=facts.p01,
        unit_label=label,
        p06=facts.p06 or code,
    )


def _parts(column: str) -> tuple[str, str]:
    """A header as name and unit: ``temperature (degC)``, ``temperature [°C]``."""
    match = _HEADER.fullmatch(unicodedata.normalize("NFC", column.replace("μ", "µ")))
    return (match["name"], match["unit"].strip()) if match and match["name"] else (column, "")


def _known(header: str, unit: str) -> _Known | None:
    words = re.sub(r"[\s_]+", "_", header.strip().lower())
    for known in _KNOWN:
        if words in known.headers:
            return known if unit.lower() in known.spellings else None
    return None


def _possible(underway: Underway, column: str, known: _Known) -> bool:
    low, high = known.range
    return all(low <= row.get(column, low) <= high for row in underway.by_minute.values())


class _Names:
    """Identifiers of letters, digits and underscores, none twice."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {name.lower() for name in taken}

    def of(self, text: str) -> str:
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
        name = re.sub(r"\W+", "_", plain).strip("_")
        if not name[:1].isalpha() or name in self._taken:
            name = f"underway_{name}".strip("_")
        stem, number = name, 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name
