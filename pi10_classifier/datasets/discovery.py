"""Finds labelled files in folder trees, archives, tables and runs, as one stream of entries.

Archives are streamed through ``sources``, never extracted. The stream's order is fixed, and
``wanted`` selects members, so that scanned files can be read again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from pi10_classifier.datasets.formats.table import SPLITS, TABLES, image_file, table_rows
from pi10_classifier.datasets.label_map import tidy_label
from pi10_classifier.datasets.records import Entry
from pi10_classifier.datasets.taxa.columns import folders
from pi10_classifier.datasets.validated import origin_of, run_entries
from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.imaging.decode import looks_like_image
from pi10_classifier.instrument.formats import NAMES
from pi10_classifier.instrument.names import Kind, Particle, kind_of
from pi10_classifier.labelling.labelled import run_of
from pi10_classifier.sources.base import LIMITS, Item, printable
from pi10_classifier.sources.discovery import check_inputs, discover
from pi10_classifier.sources.input_rules import skip_reason
from pi10_classifier.sources.local import FileBlock, LocalArchive
from pi10_classifier.sources.repeats import (
    RepeatedFile,
    file_key,
    keep_last_copies,
    raise_on_repeat,
)

__all__ = ["SPLITS", "TABLES", "entries", "find_origins"]

_ROWS_TOGETHER = 2048
_NO_IMAGE = InputError(
    Code.UNSUPPORTED_FORMAT,
    "neither its name nor its content is an image's; correct the table",
)
_FOREIGN_FORMAT = InputError(
    Code.UNSUPPORTED_FORMAT, f"not a {NAMES}; convert it, preferably to PNG"
)
# image formats that the decoder does not read: their files are reported, not ignored
_FOREIGN = (".bmp", ".gif", ".webp", ".heic", ".avif", ".jp2", ".jxl", ".ppm", ".pgm", ".tga")
_SUFFIX = re.compile(r"(\.tar)?\.[^.]+$", re.IGNORECASE)


def find_origins(inputs: Sequence[Path]) -> dict[str, Path]:
    """Map the name of each source, the stem of its path, to its file or folder.

    An archive inside a folder is a separate source, named by its path in the folder.
    Raises SettingError if an input is missing or of another kind, or if two have the same name.
    """
    check_inputs([str(path) for path in inputs])
    origins: dict[str, Path] = {}

    def add(name: str, path: Path) -> None:
        name = printable(name)
        if origins.setdefault(name, path) != path:
            raise SettingError(
                f"{path} and {origins[name]} would both be the source {name!r}; rename one"
            )

    for path in inputs:
        if run := run_of(path):
            add(origin_of(run), path)
            continue
        if path.suffix.lower() in TABLES and path.is_file():
            for name in dict.fromkeys(row.source for row in table_rows(path)):
                add(name, path)
            continue
        archives, loose = _contents(path)
        if path.is_file() and not archives:
            raise SettingError(
                f"{path} is neither a folder, a tar or zip, nor a .csv, .tsv or .parquet table"
            )
        if not path.is_dir():
            add(_stem(path.name), path)
            continue
        name = path.name or path.resolve().name
        if loose:
            add(name, path)
        for archive in archives:
            inside = archive.relative_to(path)
            add("/".join((name, *inside.parts[:-1], _stem(inside.name))), archive)
        if not loose and not archives:
            raise SettingError(f"{path} holds no file; name a folder of label/image files")
    return origins


def _contents(path: Path) -> tuple[list[Path], bool]:
    """The archives under a path, and whether there are loose files too."""
    units = list(discover([str(path)], files_once=False))
    archives = [unit.path for unit in units if isinstance(unit, LocalArchive)]
    return archives, len(archives) < len(units)


def _stem(name: str) -> str:
    return _SUFFIX.sub("", name) or name


def entries(source: str, path: Path, wanted: Collection[str] | None = None) -> Iterator[Entry]:
    """Stream the labelled files of one source in a fixed order: all, or only the wanted members.

    The label of a file is the folder path above it. The instrument's sidecars, and files that are
    not images by name and content, are skipped unless a table names them. Files of an image format
    that the decoder does not read are not skipped. A table yields the rows of ``source`` only, and
    a run yields its labelled particles.
    """
    if run := run_of(path):
        yield from run_entries(source, run, wanted)
        return
    if path.suffix.lower() in TABLES and path.is_file():
        yield from _table_entries(source, path, wanted)
        return
    for unit in discover([str(path)], files_once=False):
        if isinstance(unit, FileBlock):
            if wanted is not None:
                files = tuple(file for file in unit.files if _tidy(file.member) in wanted)
                unit = replace(unit, files=files)
        elif path.is_dir():
            continue  # an archive inside a folder is a separate source
        elif isinstance(unit, LocalArchive) and _repeats(unit):
            yield from _unit_entries(source, keep_last_copies(unit.items, file_key), wanted)
            continue
        yield from _unit_entries(source, unit.items(), wanted)


@lru_cache(maxsize=1024)  # called each time the same archive is read
def _repeats(archive: LocalArchive) -> bool:
    try:
        for _ in raise_on_repeat(archive.items(), file_key):
            pass
    except RepeatedFile:
        return True
    return False


def _unit_entries(
    source: str, items: Iterable[Item], wanted: Collection[str] | None
) -> Iterator[Entry]:
    for item in items:
        member = _tidy(item.member)
        if (wanted is not None and member not in wanted) or (member and skip_reason(member)):
            continue
        error = item.error
        if wanted is not None and error is not None and error.code is Code.REPEATED_NAME:
            continue  # another file of the same name counts
        if error is None and (item.data is None or not _is_image(member, item.data)):
            if not _is_foreign(member):
                continue
            error = _FOREIGN_FORMAT
        particle = Particle.parse(member)
        yield Entry(
            source,
            member,
            label=tidy_label(member.rpartition("/")[0]),
            bin=str(particle.bin) if particle else "",
            data=item.data,
            error=error,
        )


def _is_foreign(member: str) -> bool:
    base = member.rpartition("/")[2].lower()
    return base.endswith(_FOREIGN) and not base.startswith(".")


def _is_image(member: str, data: bytes) -> bool:
    kind = kind_of(member)
    return kind is Kind.IMAGE or (kind is Kind.OTHER and looks_like_image(data))


def _tidy(member: str) -> str:
    return "/".join(part for part in member.replace("\\", "/").split("/") if part not in ("", "."))


def _table_entries(source: str, path: Path, wanted: Collection[str] | None) -> Iterator[Entry]:
    rows = [
        row
        for row in table_rows(path)
        if row.source == source and (wanted is None or row.path in wanted)
    ]
    places = folders(path)
    for start in range(0, len(rows), _ROWS_TOGETHER):
        some = rows[start : start + _ROWS_TOGETHER]
        files = tuple(image_file(places, row.path) for row in some)
        block = FileBlock(source, str(path), 0, files, LIMITS)
        for row, file, item in zip(some, files, block.items(), strict=True):
            particle = Particle.parse(Path(file.path).name)
            yield Entry(
                source,
                row.path,
                row.label,
                row.bin or (str(particle.bin) if particle else ""),
                row.split,
                item.data,
                item.error or (_NO_IMAGE if item.data is None else None),
                row.cells,
            )
