"""``pi10 export crate``: a run as a Process Run Crate, in a folder or zip, or for Zenodo."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.export.crate.coverage import coverage_of
from pi10_classifier.export.crate.document import check_installed, documents
from pi10_classifier.export.crate.entities import Facts
from pi10_classifier.export.crate.run_files import RunFiles, files_of
from pi10_classifier.export.crate.stores import (
    METADATA,
    PREVIEW,
    FolderStore,
    Store,
    Stored,
    ZipStore,
    check_out,
    new_folder,
    new_zip,
    packed,
)
from pi10_classifier.export.crate.zenodo import (
    CONTENTS,
    DEPOSIT,
    MOST_BYTES,
    MOST_FILES,
    PACK_BYTES,
    RECORD,
    deposit,
    record,
)
from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.run_tables import read_tables
from pi10_classifier.labelling.sample import FOLDER as VALIDATION
from pi10_classifier.results.run_folder import PREDICTIONS
from pi10_classifier.results.run_info import read_run


@dataclass(frozen=True, slots=True)
class Crate:
    """What was written. files: of the run. written: files of the crate. left_out: name -> why."""

    path: Path
    files: int
    written: int
    bytes: int
    left_out: Mapping[str, str]
    warnings: tuple[str, ...]


def write_crate(
    run: Path,
    out: Path,
    facts: DatasetFacts,
    published: date,
    *,
    zenodo: bool = False,
    overwrite: bool = False,
    pack_bytes: int = PACK_BYTES,
) -> Crate:
    """Write the crate of a finished run; files are copied one after another.

    zenodo: pack what lies in folders, so that the record has at most 100 files, all side by side.
    pack_bytes: the size of a pack, made larger where there would be too many.
    Raises SettingError where the run or ``out`` cannot be used, OutputError where the disk fails;
    then nothing bears the name ``out`` that did not before.
    """
    check_installed()
    check_out(out, zenodo=zenodo, overwrite=overwrite)
    info = read_run(run)
    tables = read_tables(run)
    files = files_of(run, info)
    about = Facts(facts, tables, info, files, coverage_of(tables), published)
    store: AbstractContextManager[FolderStore | ZipStore] = (
        new_zip(out) if out.suffix.lower() == ".zip" else new_folder(out)
    )
    try:
        with store as place:
            if zenodo and isinstance(place, FolderStore):
                stored = _record_files(place, about, pack_bytes)
            else:
                stored = [place.add(file) for file in files.files]
            _describe(place, about, stored)
    except KeyError as error:
        raise SettingError(
            f"{run / 'run.json'} is of another version of this program ({error!r}); classify again"
        ) from error
    size = sum(file.bytes for file in stored)
    return Crate(
        out,
        len(files.files),
        len(stored) + 2,
        size,
        files.left_out,
        tuple(_warnings(files, size, zenodo=zenodo)),
    )


def _describe(place: Store, about: Facts, stored: Sequence[Stored]) -> None:
    for name, data in zip((METADATA, PREVIEW), documents(about, stored), strict=True):
        place.write(name, data)


def _record_files(store: FolderStore, about: Facts, pack_bytes: int) -> list[Stored]:
    """The files of a record, all in one folder."""
    files = about.files
    plain = files.inside("")
    written = [store.add(file) for file in plain]
    members: list[Stored] = []
    for folder in (VALIDATION, PREDICTIONS):
        inside = files.inside(folder)
        if not inside:
            continue
        # five files are still to come; two packs in a row hold more than one may, so that there are
        # at most 2 × total / most + 1
        room = MOST_FILES - 5 - len(written) - 1
        total = sum(file.path.stat().st_size for file in inside)
        packs, held = packed(store, inside, folder, max(pack_bytes, 2 * -(-total // room)))
        written += packs
        members += held
    listed = [*(file for file in written if not file.name.endswith(".zip")), *members]
    written.append(store.write(CONTENTS, _contents(listed)))
    written += [
        store.write(name, _json(value))
        for name, value in ((DEPOSIT, deposit(about)), (RECORD, record(about)))
    ]
    if len(written) + 2 > MOST_FILES:
        raise SettingError(
            f"the record would have {len(written) + 2} files, and Zenodo takes {MOST_FILES}"
        )
    return written


def _contents(files: Iterable[Stored]) -> bytes:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("file", "member", "bytes", "sha256"))
    for file in files:
        rows.writerow((file.pack or file.name, file.name, file.bytes, file.sha256))
    return text.getvalue().encode("utf-8", "backslashreplace")


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _warnings(files: RunFiles, size: int, *, zenodo: bool) -> Iterable[str]:
    if any(file.name == f"{VALIDATION}/labels.csv" for file in files.files):
        yield f"{VALIDATION}/labels.csv holds the names that the labellers gave themselves"
    if zenodo and size > MOST_BYTES:
        yield (
            f"the record has {size / 1e9:,.1f} GB, and Zenodo takes {MOST_BYTES / 1e9:.0f} without "
            "a larger quota: ask for one, or split the run by cruise"
        )
