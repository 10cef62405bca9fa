"""The label map: which class each label of a source belongs to, e.g. 121 taxa to 3 groups.

A CSV of ``label,class``, where a label may be a glob and the class ``-`` leaves out::

    label,class
    copepod/*,copepod
    fecal_pellet,detritus
    unknown_*,-
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pi10_classifier.errors import SettingError

LEFT_OUT = "-"
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Rules (label or glob, class) in their order.

    A rule holds for a whole label (``copepod/calanoid_eggs``) or, where it has no slash,
    for a label's last folder (``calanoid_eggs``). A rule without wildcards comes before
    any glob; of several globs the first counts. ``*`` goes over slashes.
    """

    rules: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if not self.classes:
            raise SettingError("the label map names no class; give lines of label,class")
        seen: dict[str, str] = {}
        for label, group in self.rules:
            if not label or not group:
                raise SettingError(
                    f"label map: label {label!r} has class {group!r}; neither may be empty,"
                    f" and '-' leaves a label out"
                )
            if seen.setdefault(label, group) != group:
                raise SettingError(
                    f"label map: {label!r} is given to {seen[label]!r} and to {group!r}; keep one"
                )

    @classmethod
    def of(cls, classes: Mapping[str, str]) -> LabelMap:
        """From a dict of label or glob -> class."""
        return cls(tuple(classes.items()))

    @classmethod
    def read(cls, path: Path) -> LabelMap:
        """From a CSV file; raises SettingError naming the line that cannot be used."""
        try:
            text = path.read_text("utf-8-sig")
        except OSError as error:
            raise SettingError(f"label map {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SettingError(f"label map {path} is not UTF-8; save it as CSV UTF-8") from error
        rows = csv.DictReader(io.StringIO(text))
        if not {"label", "class"} <= set(rows.fieldnames or ()):
            raise SettingError(
                f"label map {path} has the columns {', '.join(rows.fieldnames or ()) or 'none'};"
                f" its first line must be: label,class"
            )
        rules = []
        for row in rows:
            label, group = ((row[name] or "").strip() for name in ("label", "class"))
            if not label or not group:
                raise SettingError(
                    f"label map {path}, line {rows.line_num}: label {label!r}, class {group!r};"
                    f" give both, or '-' as the class to leave the label out"
                )
            rules.append((label, group))
        return cls(tuple(rules))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes the map can give, in alphabetical order."""
        return tuple(sorted({group for _, group in self.rules} - {LEFT_OUT}))

    def group(self, label: str) -> str | None:
        """The class of a label: ``-`` where it is left out, None where no rule holds."""
        last = label.rpartition("/")[2]
        for name, group in self.rules:
            if not _GLOB & set(name) and name in (label, last):
                return group
        for glob, group in self.rules:
            if fnmatchcase(label, glob) or ("/" not in glob and fnmatchcase(last, glob)):
                return group
        return None
