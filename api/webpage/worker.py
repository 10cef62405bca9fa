"""The page's work in a worker: it classifies an upload, then writes what the page shows.

``upload/`` holds the files by number, ``out/`` is a run's folder as `pi10 classify` writes
it, so that a sample of it can be drawn and labelled; beside it lie ``progress.json``, and in
the end ``page.json`` and ``pictures.bin`` with the previews that it points into.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from pi10_classifier.api.predictions import densities
from pi10_classifier.api.predictions.handler import default_model
from pi10_classifier.api.predictions.uploads import Upload, UploadedFiles
from pi10_classifier.api.request_stats import note, stage
from pi10_classifier.api.settings import Service
from pi10_classifier.classify import classify_units
from pi10_classifier.errors import InputError
from pi10_classifier.foundation.files import atomic_path, write_atomically
from pi10_classifier.imaging.decode import Caps, decode
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.inference.pipeline import Progress
from pi10_classifier.inference.settings import Settings
from pi10_classifier.labelling.sample import FOLDER
from pi10_classifier.results.columns import columns, schema
from pi10_classifier.results.run_folder import JOURNAL, PREDICTIONS, UNLIKE

SHOWN = 1000
DENSITIES = 60  # most rows in the page's first table; bins.csv holds all
PREVIEW_PX = 240
UPLOAD, OUT = "upload", "out"
MODEL = "model"
PROGRESS, PAGE, PICTURES, CANCEL = "progress.json", "page.json", "pictures.bin", "cancel"
ZIP = "results.zip"
_BESIDE, _OF_RUN, _OF_SAMPLE = "", OUT, f"{OUT}/{FOLDER}"
# name -> its folder in that of the page's run, and what it is
DOWNLOADS = {
    "report.html": (_OF_RUN, "text/html"),
    "predictions.csv": (_BESIDE, "text/csv"),
    "predictions.parquet": (_BESIDE, "application/vnd.apache.parquet"),
    "counts.csv": (_OF_RUN, "text/csv"),
    "bins.csv": (_OF_RUN, "text/csv"),
    "failures.csv": (_OF_RUN, "text/csv"),
    "corrected.csv": (_OF_SAMPLE, "text/csv"),
    "corrected_bins.csv": (_OF_SAMPLE, "text/csv"),
    "labels.csv": (_OF_SAMPLE, "text/csv"),
    "sample.csv": (_OF_SAMPLE, "text/csv"),
    ZIP: (_BESIDE, "application/zip"),
}
# of the zip alone: what the tables were made of
_RECORDS = {"run.json": _OF_RUN, "design.json": _OF_SAMPLE, "estimate.json": _OF_SAMPLE}
_EVERY_S = 0.3


class Cancelled(Exception):  # noqa: N818
    """The page asked to stop."""


@dataclass(slots=True)
class _ProgressFile:
    """Writes the run's progress to a file, and stops the run if the parent asks for it."""

    folder: Path
    next_s: float = 0.0

    def __call__(self, reached: Progress) -> None:
        now = monotonic()
        if now < self.next_s:
            return
        self.next_s = now + _EVERY_S
        if (self.folder / CANCEL).exists():
            raise Cancelled
        self.write("classifying", reached.inputs, reached.failures)

    def write(self, step: str, inputs: int = 0, failures: int = 0) -> None:
        fields = {"step": step, "inputs": inputs, "failures": failures}
        write_atomically(self.folder / PROGRESS, json.dumps(fields).encode())


def run_page(folder: str, uploads: tuple[Upload, ...]) -> None:
    """Classify ``uploads``, and write all files that the page needs to ``folder``.

    Raises Cancelled, and what ``classify`` raises.
    """
    from pi10_classifier.report.page import write_report

    home = Path(folder)
    progress = _ProgressFile(home)
    progress.write("classifying")
    service = Service.from_environ()
    files = UploadedFiles(uploads, service.limits)
    model = default_model()
    settings = Settings(
        model=model.package.folder, jobs=service.jobs, device=service.device, caps=service.caps,
        limits=service.limits,
    )  # fmt: skip
    # for its report after labelling, when another model may be in service
    write_atomically(home / MODEL, os.fsencode(model.package.folder))
    with stage("classify"):
        names = [upload.name for upload in uploads]
        run = classify_units(iter([files]), names, home / OUT, settings, model, progress=progress)
    note(run.tally.totals, run.tally.failures_by_code, run.tally.drift)
    progress.write("drawing", run.tally.totals["inputs"], run.tally.totals["failures"])
    with stage("write"):
        write_report(home / OUT, settings.model)
        record = json.loads((home / OUT / "run.json").read_text("utf-8"))
        _write_downloads(home, record)
        _write_page(home, files, record, service.caps)


def _write_downloads(home: Path, run: dict[str, Any]) -> None:
    """The predictions as one file of each kind, and everything as a zip."""
    # imported here: the parent imports this module too, and does not need them
    import pyarrow.csv as pa_csv
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    camera = bool(run["parameters"].get("camera"))  # of a package with a reference
    kind = schema(run["model"]["classes"], novelty=UNLIKE in run, camera=camera)
    data = ds.dataset(home / OUT / PREDICTIONS, schema=kind, format="parquet")
    with (
        pa_csv.CSVWriter(home / "predictions.csv", data.schema) as text,
        pq.ParquetWriter(home / "predictions.parquet", data.schema) as table,
    ):
        for batch in data.to_batches(batch_readahead=1, fragment_readahead=1):
            text.write_batch(batch)
            table.write_batch(batch)
    write_zip(home)


def write_zip(home: Path) -> None:
    """The run as the folder that `pi10 classify` writes, so that its commands take it, with the
    predictions as CSV.
    """
    apart = (ZIP, PREDICTIONS)  # as one file, which no command takes for a run's
    named = {name: folder for name, (folder, _) in DOWNLOADS.items() if name not in apart}
    folders = named | _RECORDS
    with (
        atomic_path(home / ZIP) as path,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        out = home / OUT
        for file in sorted([*(out / PREDICTIONS).iterdir(), *(out / JOURNAL).iterdir()]):
            if file.is_file():
                archive.write(file, file.relative_to(out))
        for name, folder in sorted(folders.items()):
            file = home / folder / name
            if file.is_file():
                archive.write(file, f"{FOLDER}/{name}" if folder == _OF_SAMPLE else name)


def _write_page(home: Path, files: UploadedFiles, run: dict[str, Any], caps: Caps) -> None:
    import pyarrow.dataset as ds

    classes = run["model"]["classes"]
    shown = [name for name in columns(classes) if name not in ("model", "model_sha256")]
    table = ds.dataset(home / "predictions.parquet")
    rows = table.head(SHOWN, columns=shown).to_pylist()
    places = _write_pictures(home / PICTURES, files, rows, caps)
    particles = [
        {
            "id": row["particle_id"],
            "source": row["source"],
            "member": row["member"],
            "label": row["label"],
            # a blank image has no scores
            "scores": [round(row[f"score_{label}"], 4) for label in classes]
            if row["score"] is not None
            else [],
            "width_px": row["width_px"],
            "height_px": row["height_px"],
            "esd_um": _rounded(row["esd_um"]),
            "major_um": _rounded(row["major_um"]),
            "minor_um": _rounded(row["minor_um"]),
            "feret_um": _rounded(row["feret_um"]),
            "area_um2": _rounded(row["area_um2"]),
            "datetime": row["datetime"].isoformat() if row["datetime"] else None,
            "flags": [flag for flag in row["flags"].split(";") if flag],
            "picture": place,
        }
        for row, place in zip(rows, places, strict=True)
    ]
    known = densities.of_table(
        home / OUT / densities.BINS, classes, bad_sidecar="bad_sidecar" in run["failures_by_code"]
    )
    page = {
        "densities": known["densities"][:DENSITIES],
        "densities_all": len(known["densities"]),
        "densities_note": known["densities_note"],
        "uploads": [files.files[0].name, len(files.files)],
        "totals": run["totals"],
        "classes": classes,
        "counts": run["results_by_class"],
        "failures_by_code": run["failures_by_code"],
        "failures": _failures(home / OUT / "failures.csv"),
        "warnings": run["warnings"],
        "never_seen": run["model"]["never_seen"],
        "model": {key: run["model"][key] for key in ("name", "version", "sha256")},
        "seconds": run["seconds"],
        "images_per_second": run["images_per_second"],
        "particles": particles,
        "corrected": None,
    }
    write_atomically(home / PAGE, json.dumps(page, ensure_ascii=False).encode())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _failures(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        return [row for row, _ in zip(rows, range(SHOWN), strict=False)]


def _write_pictures(
    path: Path, files: UploadedFiles, rows: list[dict[str, Any]], caps: Caps
) -> list[Any]:
    """Write the previews of ``rows`` to one file; returns [start, bytes] for each, or None."""
    wanted: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        wanted.setdefault((row["source"], row["member"]), []).append(number)
    places: list[Any] = [None] * len(rows)
    start = 0
    with path.open("wb") as stream:
        for item in files.items():
            numbers = wanted.get((item.source, item.member))
            if not numbers or not item.data:
                continue
            with contextlib.suppress(InputError):
                png = preview(decode(item.data, caps).rgb)
                places[numbers.pop(0)] = [start, len(png)]
                start += stream.write(png)
            if not numbers:
                del wanted[item.source, item.member]
                if not wanted:
                    break
    return places


def preview(rgb: U8) -> bytes:
    """A PNG of at most ``PREVIEW_PX`` per side, because browsers cannot show TIFF."""
    import cv2

    scale = PREVIEW_PX / max(rgb.shape[:2])
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in rgb.shape[1::-1])
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()
