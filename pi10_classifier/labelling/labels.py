"""Labels that people gave: one line each in ``validation/labels.csv``, on the disk at once.

Lines are only ever added. A later line of the same labeller takes the place of an earlier one, and
an empty label takes it back, so nothing that was ever said is lost.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.foundation.files import drop_torn_line, write_atomically
from pi10_classifier.labelling.sample import FOLDER

LABELS = "labels.csv"
COLUMNS = ("time", "labeller", "particle_id", "label", "taxon", "how")
_REQUIRED = COLUMNS[:4]  # files of before have no taxon, or not how
SORTED = "sorted"  # how a label was given: to a whole cluster of `pi10 sort`
# what a particle may be besides the classes of the model
BESIDE = {
    "unknown": "cannot be told, even by eye",
    "artefact": "bubble, reflection, or nothing of the sea",
    "several": "several particles of different classes in one image",
    "no_particle": "the image shows no particle",
}
# of the classes of the models that come along, in Cefas' scheme
MEANINGS = {
    "copepod": "adult copepods and copepodites, also in pieces that can be told",
    "noncopepod": "everything else that lives or lived as a whole: nauplii, larvae, other animals, "
    "protists, phytoplankton",
    "detritus": "marine snow, faecal pellets, fibres, moults, specks",
    **BESIDE,
}
MOST_NAME = 80
_HEADER, *_HEADERS_BEFORE = (
    f"{','.join(names)}\n".encode() for names in (COLUMNS, COLUMNS[:5], _REQUIRED)
)


@dataclass(frozen=True, slots=True)
class Label:
    """What one labeller said of one particle. taxon: a finer name within the label, or "".

    how: ``SORTED`` where a whole cluster was named at once, which is no judgement of this particle
    alone and no random choice; "" otherwise.
    """

    particle_id: str
    label: str
    labeller: str
    time: str
    taxon: str = ""
    how: str = ""


@dataclass(slots=True)
class Imported:
    """What became of labels that were brought in: none is dropped without a word.

    same: known already, or there twice. contradicting: particle -> the labels that one labeller
    gave it in one file; none of them is taken. left_out: label -> how often a map leaves it out.
    as_predicted: of those taken, how many are the predicted class.
    """

    taken: int = 0
    as_predicted: int = 0
    same: int = 0
    blank: int = 0
    unknown_ids: list[str] = field(default_factory=list)
    unknown_labels: dict[str, int] = field(default_factory=dict)
    contradicting: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


def tidy_name(name: str) -> str:
    """A name as it is kept: UTF-8, single spaces, at most ``MOST_NAME`` characters."""
    text = name.replace("\0", " ").encode("utf-8", "replace").decode()
    return " ".join(text.split())[:MOST_NAME].rstrip()


class LabelStore:
    """The labels of one run; several processes may write to it at once."""

    def __init__(self, run: Path, classes: Sequence[str]) -> None:
        self.path = run / FOLDER / LABELS
        self.allowed = (*classes, *(name for name in BESIDE if name not in classes))

    def add(
        self,
        labels: Iterable[tuple[str, str] | tuple[str, str, str]],
        labeller: str,
        how: str = "",
    ) -> list[Label]:
        """Append (particle_id, label) or (particle_id, label, taxon) and have it on the disk.

        how: as of ``Label``. The label "" takes a label back. Raises SettingError for a label that
        is not allowed, OutputError where the disk refuses.
        """
        from filelock import FileLock

        name = tidy_name(labeller)
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        given = [
            Label(row[0], row[1], name, now, tidy_name("".join(row[2:])), how) for row in labels
        ]
        for one in given:
            if one.label and one.label not in self.allowed:
                raise SettingError(f"label {one.label!r} is none of {', '.join(self.allowed)}")
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        for one in given:
            writer.writerow(
                (one.time, one.labeller, one.particle_id, one.label, one.taxon, one.how)
            )
        try:
            self.path.parent.mkdir(exist_ok=True)
            with FileLock(self.path.with_name(f".{LABELS}.lock")):
                _add_columns(self.path)
                with self.path.open("a+b") as stream:
                    drop_torn_line(stream)
                    if stream.tell() == 0:
                        stream.write(_HEADER)
                    stream.write(text.getvalue().encode("utf-8"))
                    stream.flush()
                    os.fsync(stream.fileno())
        except OSError as error:
            raise output_error(error, self.path, "") from error
        return given

    def read(self) -> list[Label]:
        """The last word of each labeller on each particle, in the order it was given.

        A last line that was cut short by a power failure is left out.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SettingError(f"{self.path} cannot be read: {error}") from error
        whole = data[: data.rfind(b"\n") + 1].decode("utf-8", "replace")
        if whole and not whole.startswith(f"{','.join(_REQUIRED)}"):
            raise SettingError(
                f"{self.path} does not begin with {','.join(_REQUIRED)}: another program has "
                "rewritten it. Save it under another name, delete it, and bring the labels in: "
                "pi10 validate import RESULTS FILE"
            )
        last: dict[tuple[str, str], Label] = {}
        for row in csv.DictReader(io.StringIO(whole, newline="")):
            if any(row.get(name) is None for name in _REQUIRED):
                continue
            key = (row["labeller"], row["particle_id"])
            last.pop(key, None)
            last[key] = Label(
                row["particle_id"], row["label"], row["labeller"], row["time"],
                row.get("taxon") or "", row.get("how") or "",
            )  # fmt: skip
        return [one for one in last.values() if one.label]


def _add_columns(path: Path) -> None:
    """Give a file of before the columns that it lacks; its lines stay as they are."""
    try:
        with path.open("rb") as stream:
            if stream.readline() not in _HEADERS_BEFORE:
                return
            rest = stream.read()
    except FileNotFoundError:
        return
    write_atomically(path, _HEADER + rest, option="")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One label for each particle. contradicting: particles on which labellers differ."""

    label_of: Mapping[str, str]
    contradicting: tuple[str, ...]


def one_by_one(labels: Iterable[Label]) -> list[Label]:
    """The labels that were given to single particles: those that an estimate may rest on."""
    return [label for label in labels if label.how != SORTED]


def verdicts(labels: Sequence[Label], labeller: str = "") -> Verdicts:
    """The label of each particle: of one labeller, or where several agree.

    Where labellers differ the particle has no label until they agree, or one of them is named.
    """
    chosen = [one for one in labels if not labeller or one.labeller == labeller]
    by_particle: dict[str, set[str]] = {}
    for one in chosen:
        by_particle.setdefault(one.particle_id, set()).add(one.label)
    agreed = {name: next(iter(found)) for name, found in by_particle.items() if len(found) == 1}
    return Verdicts(agreed, tuple(sorted(set(by_particle) - set(agreed))))


class Known(Protocol):
    """A particle that may get a label: of the sample, or suggested."""

    @property
    def particle_id(self) -> str: ...
    @property
    def predicted(self) -> str: ...


def bring_in(
    store: LabelStore, sample: Sequence[Known], given: Iterable[tuple[str, str]], labeller: str
) -> Imported:
    """Add labels from elsewhere: (particle_id, label). What fits nowhere is told, not dropped."""
    known = {particle.particle_id: particle.predicted for particle in sample}
    name = tidy_name(labeller)
    there = {(line.particle_id, line.label) for line in store.read() if line.labeller == name}
    told = Imported()
    labels_of: dict[str, list[str]] = {}
    for particle_id, label in given:
        if not label:
            told.blank += 1  # a sheet that is not filled in to its end
        elif particle_id not in known:
            told.unknown_ids.append(particle_id)
        elif label not in store.allowed:
            told.unknown_labels[label] = told.unknown_labels.get(label, 0) + 1
        else:
            labels_of.setdefault(particle_id, []).append(label)
    fresh = []
    for particle_id, labels in labels_of.items():
        different = tuple(dict.fromkeys(labels))
        if len(different) > 1:
            told.contradicting[particle_id] = different
            continue
        told.same += len(labels) - 1
        if (particle_id, labels[0]) in there:
            told.same += 1
        else:
            fresh.append((particle_id, labels[0]))
    if fresh:
        store.add(fresh, name)
    told.taken = len(fresh)
    told.as_predicted = sum(known[particle_id] == label for particle_id, label in fresh)
    return told
