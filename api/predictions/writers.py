"""Writes a prediction's answer: one writer for each content type."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pi10_classifier.api.predictions.densities import of_record
from pi10_classifier.api.predictions.inference import PredictionResult
from pi10_classifier.errors import Code, Failure
from pi10_classifier.model.package import Package
from pi10_classifier.results.columns import Row, columns, schema
from pi10_classifier.results.run_folder import PREDICTIONS

JSON, CSV, HTML = "application/json", "text/csv", "text/html"
PARQUET, PNG, ZIP = "application/vnd.apache.parquet", "image/png", "application/zip"
# other names of two types: AI4OS's page (deepaas_ui) fails at start if a type begins with text/
ALIASES = {"application/csv": CSV, "application/html": HTML}
# the types that the API's description lists; the first is the default
OFFERED = (JSON, *ALIASES, PARQUET, PNG, ZIP)
ACCEPTED = (*OFFERED, CSV, HTML)
FORMAT = 1
_DIGITS = 6


def as_json(outcome: PredictionResult, top_k: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The answer as JSON, with the ``top_k`` best classes of each image."""
    package = outcome.package
    predictions = [_prediction(row, package, top_k) for row in outcome.rows]
    answer: dict[str, Any] = {
        "format": FORMAT,
        "status": _status(outcome),
        "totals": outcome.totals,
        **of_record(outcome.record, package.classes),
        "results_by_class": by_class(outcome),
        **chart(outcome),
        "predictions": predictions,
        "failures": [failed(failure) for failure in outcome.failures],
        "model": {
            "name": package.name,
            "version": package.version,
            "sha256": package.sha256,
            "classes": list(package.classes),
        },
        "settings": dict(settings),
    }
    problem = refusal(outcome)
    return answer if problem is None else answer | {"error": problem}


def by_class(outcome: PredictionResult) -> dict[str, int]:
    """Images by label: the model's classes, and other labels such as ``no_particle``."""
    return {label: outcome.labels[label] for label in (*outcome.package.classes, *outcome.labels)}


def chart(outcome: PredictionResult) -> dict[str, list[Any]]:
    """``labels`` and ``probabilities``, from which AI4OS's page (deepaas_ui) draws its chart.

    For one image its scores; for several the share of the images with each label.
    """
    counts, classes = by_class(outcome), outcome.package.classes
    shares: dict[str, float] = {}
    if len(outcome.rows) == 1:
        (row,) = outcome.rows
        # the scores of an image without a particle have no meaning
        blank = row.label not in classes
        shares = {row.label: 1.0} if blank else dict(zip(classes, row.scores, strict=True))
    elif outcome.rows:
        shares = {label: count / len(outcome.rows) for label, count in counts.items()}
    return {
        "labels": list(shares),
        "probabilities": [round(share, _DIGITS) for share in shares.values()],
    }


def refusal(outcome: PredictionResult) -> dict[str, str] | None:
    """Why there is no result at all, as an object of code and message; None if there is one."""
    if outcome.rows:
        return None
    if outcome.failures:
        first = outcome.failures[0]
        return {
            "code": first.code.value,
            "message": f"{first.member or first.source}: {first.message}",
        }
    problem = "holds no image" if outcome.record.inputs else "is empty"
    return {"code": Code.EMPTY_OBJECT.value, "message": f"the upload {problem}; send images"}


def failed(failure: Failure) -> dict[str, Any]:
    return {
        "source": failure.source,
        "member": failure.member,
        "code": failure.code.value,
        "message": failure.message,
        "retryable": failure.retryable,
    }


def _status(outcome: PredictionResult) -> str:
    if not outcome.rows:
        return "failed"
    return "some_failed" if outcome.failures else "ok"


def _prediction(row: Row, package: Package, top_k: int) -> dict[str, Any]:
    classes = package.classes
    names = columns((), novelty=package.novelty is not None)
    fields = {name: _plain(getattr(row, name)) for name in names}
    scores = list(zip(map(_plain, row.scores), classes, strict=True))
    # the scores of a blank image have no meaning, so it gets none
    known = scores if fields["label"] in classes else []
    # rounded scores may tie: the predicted label comes first
    best = sorted(known, key=lambda pair: (-pair[0], pair[1] != fields["label"]))[:top_k]
    fields["top"] = [{"label": label, "score": score} for score, label in best]
    fields["flags"] = fields["flags"].split(";") if fields["flags"] else []
    del fields["model"], fields["model_sha256"]  # the answer has them once, for all images
    return fields


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, datetime):
        return f"{value.replace(tzinfo=None).isoformat(timespec='seconds')}Z"
    return value


def table_as_csv(folder: Path) -> bytes:
    """A run's predictions table as CSV, with the columns that the run has."""
    import pyarrow.dataset as ds

    table = ds.dataset(folder / PREDICTIONS).to_table()
    cells = (column.to_pylist() for column in table.columns)
    return _csv(table.column_names, zip(*cells, strict=True))


def as_csv(package: Package, rows: Iterable[Sequence[Any]]) -> bytes:
    """The rows of an answer as CSV, without failures."""
    return _csv(columns(package.classes, novelty=package.novelty is not None), rows)


def _csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if cell is None else _plain(cell) for cell in row])
    return out.getvalue().encode("utf-8", "backslashreplace")


def as_parquet(package: Package, rows: Sequence[Sequence[Any]]) -> bytes:
    """The predictions table as Parquet, as ``pi10 classify`` writes it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = schema(package.classes, novelty=package.novelty is not None)
    cells = zip(*rows, strict=True) if rows else [()] * len(kind)
    arrays = [pa.array(list(c), f.type) for c, f in zip(cells, kind, strict=True)]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=kind), out, compression="zstd")
    return out.getvalue()


def as_zip(folder: Path, more: Mapping[str, bytes]) -> bytes:
    """A run's folder without its journal, and ``more`` files by name, as one zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and name.parts[0] != "journal" and not name.name.startswith("."):
                archive.write(path, name.as_posix())
        for title, data in more.items():
            archive.writestr(title, data)
    return out.getvalue()
