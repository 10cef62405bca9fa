"""Which files of a run are published, and which inputs they were made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.redaction import redacted
from pi10_classifier.labelling.sample import FOLDER as VALIDATION
from pi10_classifier.results.run_folder import JOURNAL, PREDICTIONS, SETTINGS, SUMMARIES
from pi10_classifier.sizes.tables import TABLES as SIZES
from pi10_classifier.underway.table import BINS, MINUTES

TABLES = tuple(name for name in SUMMARIES if name != "run.json")
# of `pi10 sizes` and `pi10 underway`, where they have been run
LATER_TABLES = (*SIZES, MINUTES, BINS)
VALIDATION_FILES = (
    "sample.csv", "design.json", "labels.csv", "suggestions.csv", "corrected.csv",
    "corrected_bins.csv", "estimate.json",
)  # fmt: skip
# what a run holds for its own use, or what can be made again from the archives
_OWN_USE = {JOURNAL: "the journal of the run", "crops": "pictures, which lie in the archives"}


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file to publish: where it lies, and its name in the crate, with ``/``."""

    path: Path
    name: str

    @property
    def folder(self) -> str:
        """The folder of the crate that holds it; "" for the crate itself."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Origin:
    """An archive or folder that was classified. bytes: of an archive that is still there."""

    name: str
    is_folder: bool
    images: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What is published of a run, in a fixed order. left_out: name -> why it is not."""

    files: tuple[RunFile, ...]
    origins: tuple[Origin, ...]
    left_out: Mapping[str, str]

    def inside(self, folder: str) -> tuple[RunFile, ...]:
        return tuple(file for file in self.files if file.folder == folder)


def files_of(run: Path, info: Mapping[str, Any]) -> RunFiles:
    """Raises SettingError where a file is missing, or a part is not the one that was published.

    info: the content of ``run.json``.
    """
    try:
        there = {path.name: path for path in run.iterdir()}
        missing = [name for name in (*TABLES[:3], PREDICTIONS) if name not in there]
        if missing:
            raise SettingError(
                f"{run} has no {missing[0]}; make the tables again: pi10 classify … --resume"
            )
        files = [
            RunFile(there[name], name)
            for name in ("run.json", *TABLES, *LATER_TABLES)
            if name in there and there[name].is_file()
        ]
        entries = list(_entries(run / JOURNAL))
        files += _parts(run, entries)
        left_out = {
            name: "hidden" if name.startswith(".") else _OWN_USE.get(name, "no file of a run")
            for name in there
            if name not in {"run.json", *TABLES, *LATER_TABLES, PREDICTIONS, VALIDATION}
        }
        if VALIDATION in there:
            for path in sorted(there[VALIDATION].iterdir()):
                name = f"{VALIDATION}/{path.name}"
                if path.name in VALIDATION_FILES and path.is_file():
                    files.append(RunFile(path, name))
                elif not path.name.startswith("."):
                    left_out[name] = _OWN_USE.get(path.name, "no file of a run")
    except OSError as error:
        raise SettingError(f"{error.filename} cannot be read: {error.strerror}") from error
    return RunFiles(tuple(files), _origins(entries, info), dict(sorted(left_out.items())))


def _entries(journal: Path) -> Iterator[dict[str, Any]]:
    """The journal's entries; none where a run was copied without its journal."""
    for path in sorted(journal.glob("*.json")):
        if path.name == SETTINGS:
            continue
        try:
            entry = json.loads(path.read_text("utf-8"))
            yield {
                "part": f"{path.stem}.parquet",
                "unit": str(entry["unit"]),
                "group": str(entry["group"]),
                "bytes": int(entry["part_bytes"]),
                "images": int(entry["totals"]["results"]),
            }
        except (ValueError, LookupError, TypeError) as error:
            raise SettingError(
                f"{path} is damaged ({error!r}); delete it, then: pi10 classify … --resume"
            ) from error


def _parts(run: Path, entries: list[dict[str, Any]]) -> Iterator[RunFile]:
    folder = run / PREDICTIONS
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.parquet"))}
    if not sizes:
        raise SettingError(f"{folder} has no part; classify again: pi10 classify … --resume")
    expected = {entry["part"]: entry["bytes"] for entry in entries}
    for name in sorted({*expected, *sizes}):
        if expected and sizes.get(name) != expected.get(name):
            raise SettingError(
                f"{folder / name} has {sizes.get(name, 'no')} bytes, and the run's journal says "
                f"{expected.get(name, 'nothing of it')}; run again: pi10 classify … --resume"
            )
        yield RunFile(folder / name, f"{PREDICTIONS}/{name}")


def _origins(entries: list[dict[str, Any]], info: Mapping[str, Any]) -> tuple[Origin, ...]:
    if not entries:
        names = (str(name) for name in info["parameters"]["inputs"])
        return tuple(Origin(redacted(name), True, 0, None) for name in sorted(names))
    images: dict[tuple[str, bool], int] = {}
    for entry in entries:
        # the blocks of a folder's loose files are one input
        key = (entry["group"], True) if entry["group"] else (entry["unit"], False)
        images[key] = images.get(key, 0) + entry["images"]
    return tuple(
        Origin(redacted(name), is_folder, count, None if is_folder else _size(name))
        for (name, is_folder), count in sorted(images.items())
    )


def _size(name: str) -> int | None:
    if "://" in name:
        return None
    try:
        path = Path(name)
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None
