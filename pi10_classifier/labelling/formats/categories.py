"""From the category of another tool to a label: by its name, or by the names it lies below.

A table gives names their labels. The nearest name counts, from the category itself up to the root
of its hierarchy; of one name, first the user's table, then the labels of the run themselves, then
``categories.csv`` beside this module. ``name<parent`` is a name below that parent alone, as
EcoTaxa writes it.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from pi10_classifier.errors import SettingError

LEFT_OUT = "-"
TABLE = "categories.csv"


class Categories:
    """The label of a category, for one set of allowed labels."""

    def __init__(self, allowed: Sequence[str], own: Path | None = None) -> None:
        """own: the user's table, a CSV of ``label,class``. Raises SettingError."""
        self._allowed = {_tidy(label): label for label in allowed}
        shipped = (files(__package__) / TABLE).read_text("utf-8")
        self._shipped = {_tidy(name): label for name, label in _rows(TABLE, shipped)}
        self._own = self._read(own) if own else {}

    def label(self, category: Sequence[str], shown: str = "") -> str | None:
        """The label of a category; ``-`` where the user's table leaves it out; None for none.

        category: names from the root to the leaf. shown: the category as its tool shows it.
        """
        if shown and (label := self._own.get(_tidy(shown))):
            return label
        names = [_tidy(name) for name in category]
        for place in reversed(range(len(names))):
            name, parent = names[place], names[place - 1] if place else ""
            for table in (self._own, self._allowed, self._shipped):
                label = table.get(f"{name}<{parent}") or table.get(name)
                if label == LEFT_OUT:
                    return LEFT_OUT
                if label:
                    # a name without its class here ends the search: a nauplius is no copepod
                    return self._allowed.get(_tidy(label))
        return None

    def _read(self, path: Path) -> dict[str, str]:
        try:
            text = path.read_text("utf-8-sig")
        except OSError as error:
            raise SettingError(f"--map {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SettingError(f"--map {path} is not UTF-8; save it as CSV UTF-8") from error
        table: dict[str, str] = {}
        for name, wanted in _rows(f"--map {path}", text):
            label = LEFT_OUT if wanted == LEFT_OUT else self._allowed.get(_tidy(wanted))
            if label is None:
                raise SettingError(
                    f"--map {path} gives {name[:60]!r} the class {wanted[:60]!r}; give one of "
                    f"{', '.join(self._allowed.values())}, or - to leave it out"
                )
            if table.setdefault(_tidy(name), label) != label:
                raise SettingError(
                    f"--map {path} gives {name[:60]!r} to {table[_tidy(name)]!r} and to {label!r}; "
                    "keep one line"
                )
        return table


def _rows(title: str, text: str) -> Iterable[tuple[str, str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if not {"label", "class"} <= set(reader.fieldnames or ()):
            raise SettingError(
                f"{title} has the columns {', '.join(reader.fieldnames or ()) or 'none'}; its "
                "first line must be: label,class"
            )
        for row in reader:
            name, label = ((row[column] or "").strip() for column in ("label", "class"))
            if not name or not label:
                raise SettingError(
                    f"{title}, line {reader.line_num}: label {name!r}, class {label!r}; give both, "
                    "or - as the class to leave the label out"
                )
            yield name, label
    except csv.Error as error:
        raise SettingError(f"{title} is no CSV: {error}") from error


def _tidy(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()
