"""The frozen test: pictures on which champion and candidates are compared, and nothing is trained.

The first round draws it, as `pi10 dataset` splits, and stores pictures and labels as one tar of
``CLASS/picture``. Later labels never enter it, and later pictures of its bins, or near duplicates
of its pictures, are held back from training.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.scan import scan
from pi10_classifier.datasets.split import SPLITS, manifest, split
from pi10_classifier.errors import InputError, SettingError
from pi10_classifier.foundation.files import atomic_path, write_atomically
from pi10_classifier.instrument.names import split_member
from pi10_classifier.labelling.formats.crop_folders import folder_name
from pi10_classifier.labelling.formats.given import picture_stem
from pi10_classifier.retraining.delivery import bin_of
from pi10_classifier.retraining.pool import Labelled
from pi10_classifier.sources.archives import members

TABLE = "labelled.csv"
PICTURES = "pictures"
_TRAIN, _VALIDATION, _TEST = SPLITS
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,119}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Division:
    """All samples with their splits. scan: of the whole table.

    held_back: pictures of bins of the test, or like one of its pictures. relabelled: pictures of
    the test that have another label by now. fresh: whether the test was drawn just now.
    """

    scan: Scan
    samples: tuple[Sample, ...]
    held_back: tuple[Sample, ...]
    relabelled: int
    fresh: bool

    def of(self, part: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.split == part]

    def to_manifest(self) -> str:
        """The manifest of a training: all three splits."""
        return manifest(self.samples)


def divide(
    work: Path, labelled: Sequence[Labelled], classes: Sequence[str], stored: Path | None
) -> Division:
    """Scan the labelled pictures and give each its split.

    work: its folder ``pictures`` holds the pictures, and gets those of the test; the table of all
    is written beside it. stored: the tar of the frozen test; None draws a new one.
    Raises SettingError if a class cannot have a picture in each split, or the stored test is not
    usable.
    """
    frozen = _read(stored, work, classes) if stored else {}
    known = {sha: row[1] for sha, row in frozen.items()}
    rows = [[*row, "test"] for row in frozen.values()]
    relabelled = 0
    for entry in labelled:
        if entry.picture.sha256 in known:
            relabelled += entry.label != known[entry.picture.sha256]
            continue
        path = f"{PICTURES}/{entry.picture.path.name}"
        rows.append([path, entry.label, entry.picture.bin, ""])
    table = work / TABLE
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "bin", "split"))
    writer.writerows(rows)
    write_atomically(table, text.getvalue().encode("utf-8"))
    scanned = scan([table])
    lacking = [name for name in classes if name not in scanned.classes]
    if lacking:
        raise SettingError(f"no picture of the class {', '.join(lacking)} could be read")
    if not stored:
        samples = split(scanned.samples)
        return Division(scanned, tuple(samples), (), 0, True)
    test = [sample for sample in scanned.samples if sample.split == _TEST]
    if len(test) < len(frozen):
        raise SettingError(
            f"the frozen test holds {len(frozen) - len(test)} pictures that cannot be read any "
            "more; restore its file, or delete it to draw another"
        )
    groups = {(kind, name) for s in test for kind, name in (("b", s.bin), ("c", s.cluster)) if name}
    free: list[Sample] = []
    held_back: list[Sample] = []
    for sample in scanned.samples:
        if sample.split != _TEST:
            touches = {("b", sample.bin), ("c", sample.cluster)} & groups
            (held_back if touches else free).append(sample)
    rest = [replace(s, split=_TRAIN if s.split == _TEST else s.split) for s in split(free)]
    samples = sorted([*rest, *test], key=lambda s: (s.source, s.member))
    return Division(scanned, tuple(samples), tuple(held_back), relabelled, False)


def write_test(path: Path, division: Division, work: Path, names: Mapping[str, str]) -> None:
    """Write the test's pictures as a tar. names: SHA-256 -> the name of the picture's file."""
    used: set[str] = set()
    with (
        atomic_path(path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for sample in division.of(_TEST):
            stem = names.get(sample.sha256, sample.sha256)
            if not _PLAIN.fullmatch(stem):
                stem = picture_stem(stem)
            if stem.casefold() in used:
                stem = f"{stem}-{sample.sha256[:12]}"
            used.add(stem.casefold())
            data = (work / sample.member).read_bytes()
            suffix = Path(sample.member).suffix
            info = tarfile.TarInfo(f"{folder_name(sample.group)}/{stem}{suffix}")
            info.size = len(data)  # no time and no owner: the same test gives the same bytes
            tar.addfile(info, io.BytesIO(data))


def _read(path: Path, work: Path, classes: Sequence[str]) -> dict[str, list[str]]:
    """SHA-256 -> path below ``work``, label and bin; the pictures are written there."""
    remedy = "restore the file, or delete it to draw another test"
    rows: dict[str, list[str]] = {}
    try:
        with path.open("rb") as stream:
            for member in members(stream, path.stat().st_size):
                if member.error:
                    raise member.error
                if member.data is None:
                    continue
                folder, base = split_member(member.name)
                digest = hashlib.sha256(member.data).hexdigest()
                target = work / PICTURES / f"{digest}{Path(base).suffix[:5].lower()}"
                target.write_bytes(member.data)
                rows[digest] = [f"{PICTURES}/{target.name}", unquote(folder), bin_of(base)]
    except InputError as error:
        raise SettingError(f"the frozen test cannot be read: {error.message}; {remedy}") from error
    strange = sorted({row[1] for row in rows.values()} ^ set(classes))
    if strange:
        raise SettingError(
            f"the frozen test and the model differ in the class {', '.join(strange)}; delete the "
            "test to draw one of the model's classes, or take the model that it was drawn for"
        )
    return rows


def uses(division: Division, over: Iterable[Labelled]) -> list[tuple[str, str, str]]:
    """SHA-256, label and use of every labelled picture, for the list of what a round knew."""
    rows = [(s.sha256, s.group, s.split) for s in division.samples]
    rows += [(s.sha256, s.group, "held back") for s in division.held_back]
    rows += [(x.picture.sha256, x.label, "over the limit") for x in over]
    return sorted(rows)
