"""The record types of labelled images, and the list of files left out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.errors import Code, ExitCode, InputError

# codes of files that are left out without a loss: the label map asks for it, the label is not a
# class, or the same bytes are used once already
_MEANT = frozenset({Code.LABEL_LEFT_OUT.value, Code.NO_CLASS.value, Code.DUPLICATE.value})


@dataclass(frozen=True, slots=True)
class Entry:
    """One labelled file: its bytes, or the error from reading it. ``member`` uses ``/``.

    cells: the row of a table that names it, by ``taxa.columns.named``; None without a table.
    """

    source: str
    member: str
    label: str
    bin: str = ""
    split: str = ""
    data: bytes | None = None
    error: InputError | None = None
    cells: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    source: name of the data set it comes from. member: its path in the source, with ``/``.
    label: the source's own label, the folder path above the file. group: the class.
    bin: the Pi-10 bin, if the name or a table gives it. split: one of ``SPLITS``, or empty.
    sha256: hash of the file's bytes. width, height: px. cluster: the same for exact and near
    duplicates, empty for an image without duplicates.
    """

    source: str
    member: str
    label: str
    group: str
    bin: str = ""
    split: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not used, and why: ``code`` is one of ``errors.Code``."""

    source: str
    member: str
    code: str
    message: str

    @property
    def failed(self) -> bool:
        """Whether a label is lost that the user did not ask to leave out."""
        return self.code not in _MEANT


@dataclass(frozen=True, slots=True)
class LabelUse:
    """What a label map by taxon made of one label of a source.

    group: the class, ``-`` where the label is left out, empty where it has none. files: how many
    have the label. rule: what gave the class, and why. note: what was not taken as it came, or why
    there is no class.
    """

    source: str
    label: str
    group: str
    files: int
    rule: str
    note: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The samples of the inputs, and the files left out.

    origins: each source's file or folder. unused_rules: labels of the label map that no
    file has, most likely misspelt. taxa: the labels, where the label map goes by taxon.
    """

    samples: tuple[Sample, ...]
    left_out: tuple[LeftOut, ...]
    classes: tuple[str, ...]
    origins: Mapping[str, Path]
    unused_rules: tuple[str, ...] = ()
    taxa: tuple[LabelUse, ...] = ()


def left_out_csv(left_out: Iterable[LeftOut]) -> str:
    """The files left out as CSV text: source, member, code, message."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("source", "member", "code", "message"))
    writer.writerows((x.source, x.member, x.code, x.message) for x in left_out)
    return text.getvalue()


def exit_code(left_out: Iterable[LeftOut]) -> ExitCode:
    """The exit code of a command that is complete except for these files."""
    return ExitCode.SOME_FAILED if any(x.failed for x in left_out) else ExitCode.OK
