"""The label map, which gives each label of a source its class, e.g. 121 taxa to 3 groups.

A CSV of ``label,class``, where a label may be a glob and the class ``-`` leaves out::

    label,class
    copepod/*,copepod
    fecal_pellet,detritus
    unknown_*,-

A third column ``group`` gives the finer group within the class, where it is known, and further
columns, such as ``why``, are for the reader. The maps in ``label_maps/`` are known by name.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path

from pi10_classifier.errors import SettingError

LEFT_OUT = "-"
_GLOB = frozenset("*?[")


def shipped() -> dict[str, Path]:
    """The label maps that ship with the program, by name."""
    folder = Path(str(resources.files("pi10_classifier.datasets"))) / "label_maps"
    return {path.stem: path for path in sorted(folder.glob("*.csv"))}


def tidy_label(label: str) -> str:
    """Normalise a label for comparison: NFC, and no spaces around the names of its folders."""
    parts = unicodedata.normalize("NFC", label).split("/")
    return "/".join(part.strip() for part in parts)


def check_twins(classes: Iterable[str]) -> None:
    """Raise SettingError for classes that differ only in case, which are easily confused."""
    seen: dict[str, str] = {}
    for name in sorted(classes):
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise SettingError(
                f"the classes {other!r} and {name!r} differ only in case; rename one, or give "
                "both labels one class in a label map"
            )


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Rules (label or glob, class), in order.

    A rule applies to a whole label (``copepod/calanoid_eggs``) or, if it has no slash, to a
    label's last folder (``calanoid_eggs``). Rules without wildcards come before globs; of several
    globs the first counts. ``*`` also matches slashes.

    groups: rule -> its finer group, for the rules that have one. A group belongs to one class.
    ready_made: the map ships with the program, so it has rules for data that are not here.
    """

    rules: tuple[tuple[str, str], ...]
    groups: Mapping[str, str] = field(default_factory=dict)
    ready_made: bool = False

    def __post_init__(self) -> None:
        if not self.classes:
            raise SettingError("the label map has no class; add lines of label,class")
        seen: dict[str, str] = {}
        for label, group in self.rules:
            if not label or not group:
                raise SettingError(
                    f"label map: label {label!r} has class {group!r}; neither may be empty,"
                    " and the class '-' leaves a label out"
                )
            if seen.setdefault(label, group) != group:
                raise SettingError(
                    f"label map: {label!r} is given to {seen[label]!r} and to {group!r}; keep"
                    " one line"
                )
        check_twins(self.classes)
        self._check_groups(seen)

    def _check_groups(self, class_of: Mapping[str, str]) -> None:
        homes: dict[str, str] = {}
        for label, name in self.groups.items():
            home = class_of[label]
            if home == LEFT_OUT:
                raise SettingError(
                    f"label map: {label!r} is left out, but has the group {name!r}; give it a"
                    " class, or no group"
                )
            if homes.setdefault(name, home) != home:
                raise SettingError(
                    f"label map: the group {name!r} is in the classes {homes[name]!r} and {home!r};"
                    " a group belongs to one class, so give one of the two another name"
                )
            if name in self.classes and name != home:
                raise SettingError(
                    f"label map: the group {name!r} of {home!r} has the name of another class;"
                    " give it another name"
                )
        check_twins(homes)

    @classmethod
    def of(cls, classes: Mapping[str, str]) -> LabelMap:
        """Make a label map from a dict of label or glob -> class."""
        return cls(tuple(classes.items()))

    @classmethod
    def read(cls, path: Path) -> LabelMap:
        """Read a label map from CSV, or the one that ships with the program under this name.

        Raises SettingError that names the unusable line.
        """
        ready_made = not path.exists() and str(path) in shipped()
        if ready_made:
            path = shipped()[str(path)]
        try:
            text = path.read_text("utf-8-sig")
        except OSError as error:
            raise SettingError(
                f"label map {path} cannot be read: {error.strerror}; give a CSV file, or the name"
                f" of one that ships with the program: {', '.join(shipped())}, taxa"
            ) from error
        except UnicodeDecodeError as error:
            raise SettingError(f"label map {path} is not UTF-8; save it as CSV UTF-8") from error
        rows = csv.DictReader(io.StringIO(text))
        if not {"label", "class"} <= set(rows.fieldnames or ()):
            raise SettingError(
                f"label map {path} has the columns {', '.join(rows.fieldnames or ()) or 'none'};"
                f" its first line must be: label,class"
            )
        rules = []
        groups: dict[str, str] = {}
        for row in rows:
            label, group = (tidy_label(row[name] or "") for name in ("label", "class"))
            if not label or not group:
                raise SettingError(
                    f"label map {path}, line {rows.line_num}: label {label!r}, class {group!r};"
                    f" give both, or '-' as the class to leave the label out"
                )
            rules.append((label, group))
            finer = (row.get("group") or "").strip()
            if groups.setdefault(label, finer) != finer:
                raise SettingError(
                    f"label map {path}, line {rows.line_num}: {label!r} has the group {finer!r},"
                    f" and {groups[label]!r} above; keep one line"
                )
        return cls(tuple(rules), {k: name for k, name in groups.items() if name}, ready_made)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes the map can give, in alphabetical order."""
        return tuple(sorted({group for _, group in self.rules} - {LEFT_OUT}))

    def group(self, label: str) -> str | None:
        """The class of a label: ``-`` if the label is left out, None if no rule matches it."""
        rule = self._rule(label)
        return rule[1] if rule else None

    def finer_group(self, label: str) -> str:
        """The group of a label within its class; empty if the map does not say."""
        rule = self._rule(label)
        return self.groups.get(rule[0], "") if rule else ""

    def unused(self, labels: Iterable[str]) -> tuple[str, ...]:
        """The rules that match none of the labels, in order; they are most likely misspelt.

        None of a map that ships with the program: it has the labels of several sources.
        """
        if self.ready_made:
            return ()
        used = {rule for label in labels if (rule := self._rule(label))}
        return tuple(dict.fromkeys(rule[0] for rule in self.rules if rule not in used))

    def _rule(self, label: str) -> tuple[str, str] | None:
        last = label.rpartition("/")[2]
        for rule in self.rules:
            if not _GLOB & set(rule[0]) and rule[0] in (label, last):
                return rule
        for rule in self.rules:
            glob = rule[0]
            if fnmatchcase(label, glob) or ("/" not in glob and fnmatchcase(last, glob)):
                return rule
        return None
