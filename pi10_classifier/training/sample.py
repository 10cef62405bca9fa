"""The record types of labelled images, and the list of files left out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    source: name of the dataset it came from. member: its path within, with ``/``.
    label: the source's own label, the folder path above the file. group: the class.
    bin: the Pi-10 bin, where the name or a table tells it. split: one of ``SPLITS``
    or empty. sha256: of the file's bytes. width, height: px. cluster: the same for
    exact and near duplicates of one another, empty for an image without any.
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
    """A file that is not trained on, and why: ``code`` is one of ``errors.Code``."""

    source: str
    member: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What the inputs hold; ``origins`` gives each source's file or folder."""

    samples: tuple[Sample, ...]
    left_out: tuple[LeftOut, ...]
    classes: tuple[str, ...]
    origins: Mapping[str, Path]


def left_out_csv(left_out: Iterable[LeftOut]) -> str:
    """The files left out as CSV text: source, member, code, message."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("source", "member", "code", "message"))
    writer.writerows((x.source, x.member, x.code, x.message) for x in left_out)
    return text.getvalue()
