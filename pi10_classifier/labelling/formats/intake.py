"""Labels from a file of another tool: what it is, what it says, and what is taken of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.formats.categories import LEFT_OUT, Categories
from pi10_classifier.labelling.formats.crop_folders import read_folders
from pi10_classifier.labelling.formats.ecotaxa import read_ecotaxa
from pi10_classifier.labelling.formats.given import Given, Reading, by_key
from pi10_classifier.labelling.formats.label_studio import read_label_studio
from pi10_classifier.labelling.formats.sheet import read_sheet
from pi10_classifier.labelling.labels import Imported, Known, LabelStore, bring_in, tidy_name

READERS = {
    "csv": read_sheet,
    "ecotaxa": read_ecotaxa,
    "label-studio": read_label_studio,
    "crops": read_folders,
}
_HEAD = 2**16


def read_labels(path: Path, form: str = "") -> Reading:
    """Read a file or folder. form: one of READERS; "" to tell it by the content.

    Raises SettingError for what is in no known form, or not in that named.
    """
    form = form or form_of(path)
    if path.is_dir() != (form == "crops"):
        kind = "a folder" if path.is_dir() else "a file"
        raise SettingError(f"{path} is {kind}; of the formats, only crops is a folder")
    try:
        return READERS[form](path)
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror or error}") from error


def form_of(path: Path) -> str:
    """The form of a file, by its content. Raises SettingError."""
    if path.is_dir():
        return "crops"
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "ecotaxa"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SettingError(f"{path} is text in UTF-16; save it as CSV UTF-8")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text or b"\0" in head:
        raise SettingError(
            f"{path} {'is binary' if text else 'is empty'}; give a CSV of particle_id,label, an "
            "export of EcoTaxa or Label Studio, or a folder of sorted pictures"
        )
    if text.startswith((b"[", b"{")):
        return "label-studio"
    first = text.splitlines()[0].lower()
    return "ecotaxa" if b"object_id" in first and b"\t" in first else "csv"


def take_in(
    store: LabelStore,
    sample: Sequence[Known],
    reading: Reading,
    categories: Categories,
    labeller: str,
) -> Imported:
    """Add what a file says to the labels; what fits nowhere is told.

    labeller: who gave the labels that name nobody.
    """
    known = by_key(sample)
    told = Imported()
    by_labeller: dict[str, list[tuple[str, str]]] = {}
    for given in reading.given:
        particle_id = known.get(given.key)
        if particle_id is None:
            told.unknown_ids.append(given.key)
        elif not given.category:
            told.blank += 1
        else:
            label = categories.label(given.category, given.shown)
            if label is None or label == LEFT_OUT:
                _count(told.unknown_labels if label is None else told.left_out, given)
                continue
            name = tidy_name(given.labeller) or tidy_name(labeller)
            by_labeller.setdefault(name, []).append((particle_id, label))
    for name, pairs in by_labeller.items():
        part = bring_in(store, sample, pairs, name)
        told.taken += part.taken
        told.as_predicted += part.as_predicted
        told.same += part.same
        told.contradicting |= {
            key: tuple(dict.fromkeys((*told.contradicting.get(key, ()), *labels)))
            for key, labels in part.contradicting.items()
        }
    return told


def _count(counts: dict[str, int], given: Given) -> None:
    name = given.shown or given.category[-1]
    counts[name] = counts.get(name, 0) + 1
