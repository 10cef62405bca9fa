"""Writes and reads the manifest: a CSV text with the split and the SHA-256 of each image."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple, fields

from pi10_classifier.datasets.discovery import SPLITS
from pi10_classifier.datasets.records import Sample
from pi10_classifier.errors import SettingError

_COLUMNS = tuple(field.name for field in fields(Sample))
_NEEDED = frozenset({"source", "member", "label", "group", "split", "sha256"})
_SHA256 = re.compile("[0-9a-f]{64}")


def manifest(samples: Iterable[Sample]) -> str:
    """Write the samples as CSV text, one line each, with the SHA-256 of the file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(astuple(sample) for sample in samples)
    return text.getvalue()


def read_manifest(text: str) -> list[Sample]:
    """Read what ``manifest`` wrote; ``read_rgb`` checks that the files are unchanged.

    Raises SettingError with the line that is incomplete or repeated, or that puts the same bytes
    into two splits.
    """
    rows = csv.DictReader(io.StringIO(text))
    missing = _NEEDED - set(rows.fieldnames or ())
    if missing:
        raise SettingError(
            f"the manifest lacks {', '.join(sorted(missing))}; make it again with `pi10 dataset`"
        )
    samples: list[Sample] = []
    lines: dict[tuple[str, str], int] = {}
    parts: dict[str, str] = {}
    for row in rows:
        sample = _sample(row, rows.line_num)
        before = lines.setdefault((sample.source, sample.member), rows.line_num)
        if before != rows.line_num:
            raise _bad(rows.line_num, f"{sample.member} is already in line {before}")
        if parts.setdefault(sample.sha256, sample.split) != sample.split:
            raise _bad(rows.line_num, f"the bytes of {sample.member} are in another split too")
        samples.append(sample)
    if not samples:
        raise SettingError("the manifest has no lines; make it again with `pi10 dataset`")
    return samples


def _sample(row: Mapping[str, str | None], line: int) -> Sample:
    cells = {name: row.get(name) or "" for name in _COLUMNS}
    empty = [name for name in ("source", "member", "group") if not cells[name]]
    if empty:
        raise _bad(line, f"{empty[0]} is empty")
    if cells["split"] not in SPLITS:
        raise _bad(line, f"split is {cells['split']!r}, not one of {', '.join(SPLITS)}")
    if not _SHA256.fullmatch(cells["sha256"]):
        raise _bad(line, f"sha256 is {cells['sha256'][:70]!r}, not 64 hexadecimal digits")
    for name in ("width", "height"):
        text = cells[name] or "0"
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise _bad(line, f"{name} is {text[:20]!r}, which is not a number of pixels")
    width, height = (int(cells.pop(name) or 0) for name in ("width", "height"))
    return Sample(width=width, height=height, **cells)


def _bad(line: int, problem: str) -> SettingError:
    return SettingError(
        f"manifest, line {line}: {problem}; use the manifest unchanged, or make it again with "
        "`pi10 dataset`"
    )
