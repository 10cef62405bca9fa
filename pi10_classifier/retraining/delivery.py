"""Reads one delivery of labels: sorted pictures in an archive, or labels of another tool.

Nothing of a delivery is trusted: archives are streamed with caps and never extracted, every picture
passes the decoder, and pictures are stored under the hash of their bytes. What is not taken is
told with a code, a reason and examples.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pi10_classifier.errors import Code, InputError, Pi10Error, SettingError
from pi10_classifier.imaging.decode import decode, looks_like_image
from pi10_classifier.instrument.names import Particle, split_member
from pi10_classifier.labelling.formats.categories import LEFT_OUT, Categories
from pi10_classifier.labelling.formats.crop_folders import UNSORTED
from pi10_classifier.labelling.formats.given import Given
from pi10_classifier.labelling.formats.intake import read_labels
from pi10_classifier.labelling.labels import BESIDE, Label, tidy_name
from pi10_classifier.sources.archives import looks_like_archive, members
from pi10_classifier.sources.base import LIMITS, Limits, Member, printable
from pi10_classifier.sources.input_rules import skip_reason

_HEAD = 512
_EXAMPLES, _LONGEST = 5, 120
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,5}$")
_FORMATS = {b"\x89P": "png", b"\xff\xd8": "jpg"}
_TABLES = (".tsv",)  # an export of EcoTaxa has one beside its pictures


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture. name: of its file, without folders and extension. bin: "" if unknown."""

    name: str
    sha256: str
    path: Path
    bin: str


@dataclass(slots=True)
class Untaken:
    """Why something was not taken: how often, and the first few names."""

    code: str
    reason: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Delivery:
    """What one object brought. pictures: by key. labels: with the names that the delivery gives.

    untaken: in the order in which they were met. refused: why nothing was taken; None otherwise.
    """

    key: str
    form: str = ""
    pictures: dict[str, Picture] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    untaken: list[Untaken] = field(default_factory=list)
    refused: Pi10Error | None = None

    def leave(self, code: Code, reason: str, name: str) -> None:
        """Count what was not taken, by its reason."""
        same = (x for x in self.untaken if (x.code, x.reason) == (code.value, reason))
        entry = next(same, None)
        if entry is None:
            entry = Untaken(code.value, reason)
            self.untaken.append(entry)
        entry.count += 1
        if len(entry.examples) < _EXAMPLES:
            entry.examples.append(shown(name))

    def to_dict(self) -> dict[str, Any]:
        """The answer to the one who delivered it."""
        counts: dict[str, int] = {}
        for label in self.labels:
            counts[label.label] = counts.get(label.label, 0) + 1
        fields: dict[str, Any] = {
            "status": "refused" if self.refused else "accepted",
            "format": self.form,
            "pictures": len(self.pictures),
            "labels": dict(sorted(counts.items())),
            "not_taken": [
                {"code": x.code, "reason": x.reason, "count": x.count, "examples": x.examples}
                for x in self.untaken
            ],
        }
        if self.refused:
            code = self.refused.code
            fields["refused"] = {
                "code": code.value, "message": shown(self.refused.message, 600),
                "meaning": code.meaning, "retryable": code.retryable,
            }  # fmt: skip
        return fields


def shown(text: str, most: int = _LONGEST) -> str:
    """A text from outside for an answer: printable, and not longer than ``most`` characters."""
    clean = "".join(char if char.isprintable() else "�" for char in printable(text))
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"


def key_of(name: str) -> str:
    """What pictures and labels are matched by: the name without folders, extension and case.

    A file manager names copies "name (1)" or "name - Copy", and instruments use no spaces.
    """
    base = split_member(name)[1]
    return _EXTENSION.sub("", base).split(" ", 1)[0].casefold()


def bin_of(name: str) -> str:
    """The bin of a picture that is named as its particle; "" for any other name.

    Pictures for labelling are PNG, while the instrument's names end in ``.tif``.
    """
    stem = _EXTENSION.sub("", split_member(name)[1]).split(" ", 1)[0]
    particle = Particle.parse(f"{stem}.tif")
    return str(particle.bin) if particle else ""


def read_delivery(
    path: Path,
    key: str,
    classes: Sequence[str],
    store: Path,
    *,
    labeller: str = "",
    time: str = "",
    limits: Limits = LIMITS,
) -> Delivery:
    """Read the file of object ``key``; its pictures go to ``store``.

    classes: of the model; a label that is none of them, and none of those beside the classes, is
    not taken. labeller: who gave the labels that name nobody. Raises OSError if ``store`` cannot
    be written; all that is wrong with the delivery itself is in the answer.
    """
    delivery = Delivery(key)
    categories = Categories((*classes, *(name for name in BESIDE if name not in classes)))
    try:
        for given in _given(path, delivery, store, limits):
            _take(delivery, given, categories, tidy_name(labeller), time)
        _drop_contradicting(delivery)
        if not delivery.pictures and not delivery.labels:
            what = delivery.untaken[0].reason if delivery.untaken else "it is empty"
            raise InputError(
                Code.UNSUPPORTED_FORMAT,
                f"there is no picture and no label to take: {what}; deliver a tar or zip of "
                "CLASS/picture files, a CSV of particle_id,label, or an export of EcoTaxa or "
                "Label Studio",
            )
    except Pi10Error as error:
        delivery.pictures.clear()
        delivery.labels.clear()
        delivery.refused = _without_path(error, path)
    return delivery


def _given(path: Path, delivery: Delivery, store: Path, limits: Limits) -> Iterator[Given]:
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if not head:
        raise InputError(Code.EMPTY_OBJECT, "the object has 0 bytes; deliver it again")
    if looks_like_image(head):
        raise InputError(
            Code.UNSUPPORTED_FORMAT,
            "a single picture has no label; deliver a tar or zip of CLASS/picture files",
        )
    if not looks_like_archive(head):
        reading = read_labels(path)
        delivery.form = reading.format
        for why, count in reading.not_taken.items():
            delivery.untaken.append(Untaken(Code.NO_CLASS.value, shown(why), count))
        yield from reading.given
        return
    delivery.form, has_table = "crops", False
    of_folders: list[Given] = []
    with path.open("rb") as stream:
        for member in members(stream, path.stat().st_size, limits):
            has_table = has_table or member.name.lower().endswith(_TABLES)
            of_folders += _of_member(member, delivery, store)
    if not has_table:
        yield from of_folders
        return
    reading = read_labels(path, "ecotaxa")  # whose folders are no categories
    delivery.form = reading.format
    for why, count in reading.not_taken.items():
        delivery.untaken.append(Untaken(Code.NO_CLASS.value, shown(why), count))
    yield from reading.given


def _of_member(member: Member, delivery: Delivery, store: Path) -> Iterator[Given]:
    """Store a picture; yields its label, which is the folder above it."""
    if member.data is None and member.error is None:
        return
    if skip_reason(member.name) or member.name.lower().endswith(_TABLES):
        return
    try:
        if member.error or member.data is None:
            raise member.error or InputError(Code.EMPTY_OBJECT, "it has 0 bytes")
        decode(member.data)
    except InputError as error:
        delivery.leave(error.code, shown(error.message, 300), member.name)
        return
    key = key_of(member.name)
    digest = hashlib.sha256(member.data).hexdigest()
    if key in delivery.pictures:
        if delivery.pictures[key].sha256 != digest:
            reason = "two pictures of the delivery have this name; the first was taken"
            delivery.leave(Code.REPEATED_NAME, reason, member.name)
            return
    else:
        path = store / f"{digest}.{_FORMATS.get(member.data[:2], 'tif')}"
        if not path.exists():
            path.write_bytes(member.data)
        name = _EXTENSION.sub("", split_member(member.name)[1])
        delivery.pictures[key] = Picture(name, digest, path, bin_of(member.name))
    names = [unquote(part) for part in split_member(member.name)[0].split("/") if part]
    if names and names[-1].casefold() != UNSORTED:
        yield Given(key, tuple(names), "/".join(names))


def _take(
    delivery: Delivery, given: Given, categories: Categories, labeller: str, time: str
) -> None:
    if not given.category:
        delivery.leave(Code.UNKNOWN_LABEL, "it has no label yet", given.key)
        return
    label = categories.label(given.category, given.shown)
    if label is None or label == LEFT_OUT:
        name = shown(given.shown or given.category[-1], 60)
        delivery.leave(Code.UNKNOWN_LABEL, f"{name!r} is no class of the model", given.key)
        return
    who = tidy_name(given.labeller) or labeller
    delivery.labels.append(Label(given.key, label, who, time))


def _drop_contradicting(delivery: Delivery) -> None:
    """Of labels that one labeller gave one particle in one delivery, take none if they differ."""
    said: dict[tuple[str, str], set[str]] = {}
    for label in delivery.labels:
        said.setdefault((label.labeller, label.particle_id), set()).add(label.label)
    kept: dict[tuple[str, str], Label] = {}
    for label in delivery.labels:
        key = (label.labeller, label.particle_id)
        if len(said[key]) == 1:
            kept.setdefault(key, label)
    for (_, particle), labels in said.items():
        if len(labels) > 1:
            names = " and ".join(sorted(labels))
            reason = f"one labeller labels it {names} in this delivery"
            delivery.leave(Code.MISLABELLED, reason, particle)
    delivery.labels = list(kept.values())


def _without_path(error: Pi10Error, path: Path) -> Pi10Error:
    """The error with the object's own name in place of the job's temporary file."""
    message = error.message.replace(str(path), "the object")
    if isinstance(error, SettingError):  # a file in no known form is a defect of the delivery
        return InputError(Code.UNSUPPORTED_FORMAT, message)
    return InputError(error.code, message)
