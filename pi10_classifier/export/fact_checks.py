"""Checks of the values of ``dataset.toml``: each problem is noted with its key and line."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from pi10_classifier.export.identifiers import LICENCES, Licence, licence_of, orcid_of

_TABLE = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]\]?")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_STANDARD_NAME = re.compile(r"[a-z][a-z0-9_]*")
_URL = re.compile(r"https?://[^\s/]+\.\S+")
DEEPEST_INTAKE_M = 50.0


class Checks:
    """Reads values, and gathers what is wrong with them in ``problems``."""

    def __init__(self, text: str) -> None:
        self.problems: list[str] = []
        self._lines = _lines_of(text)

    def problem(self, key: str, message: str) -> None:
        """Note what is wrong with the value of a key, such as ``people[2].orcid``."""
        line = self._lines.get(key) or self._lines.get(key.rpartition(".")[0])
        self.problems.append(f"{key}{f' (line {line})' if line else ''}: {message}")

    def keys(self, path: str, table: Mapping[str, object], known: Sequence[str]) -> None:
        """Note keys that nobody reads, each with the nearest one that is read."""
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1, 0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                self.problem(f"{path}.{key}" if path else key, f"is not a known key; {hint}")

    def table(
        self, table: Mapping[str, object], key: str, known: Sequence[str]
    ) -> Mapping[str, object]:
        """The table ``[key]``, empty where there is none."""
        value = table.get(key, {})
        if not isinstance(value, dict):
            self.problem(key, f"is {value!r}; write a table: [{key}]")
            return {}
        self.keys(key, value, known)
        return value

    def tables(
        self, table: Mapping[str, object], key: str, known: Sequence[str]
    ) -> list[Mapping[str, object]]:
        """The tables ``[[key]]``, none where there is none."""
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
            self.problem(key, f"has the wrong form; write blocks that begin with [[{key}]]")
            return []
        for place, part in enumerate(value, 1):
            self.keys(f"{key}[{place}]", part, known)
        return value

    def named_tables(
        self, table: Mapping[str, object], key: str, known: Sequence[str]
    ) -> dict[str, Mapping[str, object]]:
        """The tables ``[key.NAME]`` by name, none where there is none."""
        value = table.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
            self.problem(key, f"has the wrong form; write tables that begin with [{key}.NAME]")
            return {}
        for name, part in value.items():
            if not _NAME.fullmatch(name):
                self.problem(
                    f"{key}.{name}", "is no name of a variable; use letters, digits and "
                    "underscores, and a letter first"
                )  # fmt: skip
            self.keys(f"{key}.{name}", part, known)
        return value

    def text(self, table: Mapping[str, object], key: str, *, required: bool = False) -> str:
        """A text on one line; "" where there is none. ``key``: with the path of its table."""
        value = table.get(_last(key), "")
        if not isinstance(value, str):
            self.problem(key, f"is {value!r}, not a text; put it between quotes")
            return ""
        value = " ".join(value.split())
        if any(not character.isprintable() for character in value):
            self.problem(key, f"is {value!r}; leave out the characters that cannot be printed")
        if required and not value:
            self.problem(key, "is empty; fill it in" if _last(key) in table else "is missing")
        return value

    def texts(self, table: Mapping[str, object], key: str) -> tuple[str, ...]:
        value = table.get(_last(key), [])
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            self.problem(key, f'is {value!r}; write a list of texts: ["one", "two"]')
            return ()
        return tuple(dict.fromkeys(" ".join(part.split()) for part in value if part.strip()))

    def choice(self, key: str, value: str, known: Sequence[str]) -> None:
        if value not in known:
            near = difflib.get_close_matches(value, known, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            self.problem(key, f"is {value!r}; {hint}")

    def licence(self, table: Mapping[str, object], key: str) -> Licence | None:
        value = self.text(table, key)
        known = ", ".join(licence.spdx for licence in LICENCES)
        if not value:
            self.problem(key, f"is missing: without one nobody may use the data; give {known}")
            return None
        licence = licence_of(value)
        if licence is None:
            self.problem(key, f"is {value!r}; OBIS and GBIF take {known} alone")
        return licence

    def email(self, table: Mapping[str, object], key: str, *, required: bool) -> str:
        value = self.text(table, key)
        if value and not _EMAIL.fullmatch(value):
            self.problem(key, f"is {value!r}, which is no email address")
        if required and not value:
            self.problem(key, "is empty; a contact must have one")
        return value

    def orcid(self, table: Mapping[str, object], key: str) -> str:
        value = self.text(table, key)
        orcid = orcid_of(value)
        if value and orcid is None:
            self.problem(
                key, f"is {value!r}, which is no ORCID iD (its last digit checks the others); "
                "copy it from https://orcid.org"
            )  # fmt: skip
        return orcid or ""

    def standard_name(self, table: Mapping[str, object], key: str) -> str:
        value = self.text(table, key)
        if value and not _STANDARD_NAME.fullmatch(value):
            self.problem(
                key, f"is {value!r}, which is no standard name of CF, such as sea_water_temperature"
            )
        return value

    def nerc_code(self, table: Mapping[str, object], key: str, length: int) -> str:
        """A code of a NERC vocabulary: so many capital letters and digits."""
        value = self.text(table, key)
        if value and not re.fullmatch(f"[A-Z0-9]{{{length}}}", value):
            self.problem(
                key, f"is {value!r}; give the code alone, {length} capital letters and digits "
                f"of https://vocab.nerc.ac.uk/collection/{_last(key)}/current/"
            )  # fmt: skip
        return value

    def url(self, table: Mapping[str, object], key: str) -> str:
        value = self.text(table, key)
        if value and not _URL.fullmatch(value):
            self.problem(key, f"is {value!r}; write an address: https://www.example.org")
        return value

    def identifier(self, table: Mapping[str, object], key: str) -> str:
        value = self.text(table, key, required=True)
        if value and not _IDENTIFIER.fullmatch(value):
            self.problem(
                key, f"is {value!r}; use letters, digits, dots, hyphens and underscores alone"
            )
        return value

    def depth(self, table: Mapping[str, object], key: str) -> float:
        value = table.get(_last(key), "")
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value)
        if value == "":
            self.problem(key, "is missing: give the depth of the ship's intake in metres, like 4.5")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            self.problem(key, f"is {value!r}; give a number in metres, like 4.5")
        elif not math.isfinite(value) or not 0 <= value <= DEEPEST_INTAKE_M:
            self.problem(
                key, f"is {value:g}; give metres below the surface, 0 to {DEEPEST_INTAKE_M:g}"
            )
        else:
            return float(value)
        return 0.0


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _lines_of(text: str) -> dict[str, int]:
    """Key with its path -> line, from 1; tables are counted as ``people[1]``."""
    lines: dict[str, int] = {}
    counts: Counter[str] = Counter()
    path = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line):
            path = header[2]
            if header[1] == "[[":
                counts[path] += 1
                path = f"{path}[{counts[path]}]"
            lines.setdefault(path, number)
        elif key := _KEY.match(line):
            lines.setdefault(f"{path}.{key[1]}" if path else key[1], number)
    return lines
