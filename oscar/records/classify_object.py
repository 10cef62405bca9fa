"""Classifies one object: an image, an archive, or a marketplace request.

The model is loaded once, when an object first needs it; threads may share it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pi10_classifier.errors import Code, ExitCode, Failure, InputError, OutputError, Pi10Error
from pi10_classifier.inference.chunk_result import ChunkResult
from pi10_classifier.inference.chunks import chunks
from pi10_classifier.inference.engine import Engine
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.oscar.records.marketplace_request import Request, looks_like_request
from pi10_classifier.oscar.records.naming import Ending, ObjectVersion, readable
from pi10_classifier.oscar.records.record import ObjectOutcome, address
from pi10_classifier.oscar.records.settings import ServiceSettings
from pi10_classifier.results.columns import by_row, columns
from pi10_classifier.results.gallery import Gallery
from pi10_classifier.sources.archives import is_archive, looks_like_archive
from pi10_classifier.sources.base import Item, unreadable
from pi10_classifier.sources.local import LocalArchive
from pi10_classifier.sources.repeats import keep_last_copies

if TYPE_CHECKING:
    from pi10_classifier.inference.pipeline import Progress

_HEAD = 512
_DOUBLES = ("latitude", "longitude")
_TABLES = {
    Ending.COUNTS: "counts.csv",
    Ending.BINS: "bins.csv",
    Ending.FAILURES: "failures.csv",
}


class Contents:
    """Classifies the contents of objects with one model package."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self.package, self._graph = read_package(
            settings.classify.model, settings.classify.runtime.graph
        )

    @cached_property
    def _model(self) -> Model:
        return Model(self.package, self._graph, self._settings.classify.device)

    @cached_property
    def _engine(self) -> Engine:
        return Engine.from_settings(self._model, self._settings.classify)

    def outcome(
        self,
        path: Path | None,
        version: ObjectVersion,
        folder: Path,
        raise_if_cancelled: Callable[[], None],
    ) -> ObjectOutcome:
        """Classify the file at ``path``; the tables of an archive are written below ``folder``.

        ``raise_if_cancelled`` is called between two steps. Raises ModelError and SettingError,
        which are the service's fault; all other errors become an outcome.
        """
        if path is None:
            return ObjectOutcome.failure(
                Code.BAD_SETTING,
                "INPUT_FILE_PATH is not set, so nothing was downloaded; "
                "the service's file_stage_in must be false",
            )
        try:
            if version.size == 0:
                return ObjectOutcome.failure(Code.EMPTY_OBJECT, "0 bytes; upload the object again")
            with path.open("rb") as stream:
                head = stream.read(_HEAD)
            if is_archive(version.key) or looks_like_archive(head):
                return self._archive(path, version, folder, raise_if_cancelled)
            if looks_like_request(head):
                return self._request(path, version)
            return self._image(path, version)
        except InputError as error:
            return ObjectOutcome.failure(error.code, error.message)
        except OutputError as error:
            return ObjectOutcome.failure(error.code, error.message)
        except Pi10Error:  # the service's fault, not the object's
            raise
        except OSError as error:
            problem = unreadable(error)
            return ObjectOutcome.failure(problem.code, problem.message)
        except MemoryError:
            return ObjectOutcome.failure(
                Code.TOO_LARGE, "not enough memory for it; give the service more `memory`"
            )
        except Exception as error:  # a bug of ours becomes a failure of this object
            message = f"{type(error).__name__}: {str(error)[:200]}; please report it"
            return ObjectOutcome.failure(Code.INTERNAL, message)

    def _image(self, path: Path, version: ObjectVersion) -> ObjectOutcome:
        cap = self._settings.classify.limits.member_bytes
        if version.size > cap:
            return ObjectOutcome.failure(
                Code.TOO_LARGE, f"{version.size:,} bytes; the limit is {cap:,}; send an archive"
            )
        item = Item(f"s3://{version.bucket}/", readable(version.key), path.read_bytes())
        chunk = self._engine.process([item], Gallery())
        if chunk.failures:
            return _failed(chunk.failures[0])
        if not chunk.rows:
            return ObjectOutcome.failure(
                Code.UNSUPPORTED_FORMAT,
                f"it begins with {item.data[:8]!r}, so it is no image, archive or request"
                if item.data
                else "it is no image, archive or request",
            )
        [row] = self._rows(chunk)
        return ObjectOutcome(Ending.RESULT, {"kind": "image", "prediction": row}, {})

    def _rows(self, chunk: ChunkResult) -> list[dict[str, Any]]:
        novelty = self.package.novelty is not None
        names = columns(self.package.classes, novelty=novelty)
        cells = by_row(chunk.rows, novelty=novelty)
        rows = [dict(zip(names, row, strict=True)) for row in cells]
        for row in rows:
            del row["model"], row["model_sha256"]  # the record has them once
            for name, value in row.items():
                if isinstance(value, float) and name not in _DOUBLES:
                    row[name] = float(str(np.float32(value)))  # the precision of the table
        return rows

    def _request(self, path: Path, version: ObjectVersion) -> ObjectOutcome:
        request = Request.parse(path.read_bytes())
        total: dict[str, int] = {"inputs": 0, "results": 0, "failures": 0, "skipped": 0}
        rows: list[dict[str, Any]] = []
        failures: list[dict[str, Any]] = []
        limits = self._settings.classify.limits
        for items in chunks(keep_last_copies(lambda: request.items(address(version), limits))):
            chunk = self._engine.process(items, Gallery())
            rows += self._rows(chunk)
            failures += [_member_failure(failure) for failure in chunk.failures]
            total["inputs"] += chunk.inputs
            total["results"] += len(chunk.rows)
            total["failures"] += len(chunk.failures)
            total["skipped"] += chunk.skipped
        fields = {"kind": "request", "totals": total, "predictions": rows, "failures": failures}
        if not rows:
            first = failures[0] if failures else {"code": Code.UNSUPPORTED_FORMAT.value}
            failed = ObjectOutcome.failure(
                Code(first["code"]), first.get("message", "no image in it"),
                member=first.get("member", ""),
            )  # fmt: skip
            return replace(failed, fields={**failed.fields, **fields})
        return ObjectOutcome(Ending.RESULT, fields, {})

    def _archive(
        self,
        path: Path,
        version: ObjectVersion,
        folder: Path,
        raise_if_cancelled: Callable[[], None],
    ) -> ObjectOutcome:
        # late: an image needs none of what makes tables, and its job starts for it alone
        from pi10_classifier.classify import classify_units

        name = f"s3://{version.bucket}/{readable(version.key)}"
        unit = LocalArchive(
            path, version.size, path.stat().st_mtime_ns, self._settings.classify.limits, name
        )

        def progress(_: Progress) -> None:
            raise_if_cancelled()

        run = classify_units(iter([unit]), [name], folder / "run", self._settings.classify,
                             self._model, progress=progress)  # fmt: skip
        tally = run.tally
        fields = {
            "kind": "archive",
            "totals": dict(tally.totals),
            "failures_by_code": dict(sorted(tally.failures_by_code.items())),
            "results_by_class": dict(tally.labels),
            "warnings": tally.warnings,
        }
        if run.exit_code is ExitCode.NOTHING_READ:
            failed = ObjectOutcome.failure(*_why_nothing(run.out))
            return replace(failed, fields={**failed.fields, **fields})
        [part] = (run.out / "predictions.parquet").glob("*.parquet")
        tables = {ending: run.out / name for ending, name in _TABLES.items()}
        return ObjectOutcome(Ending.TABLES_RESULT, fields, {Ending.PREDICTIONS: part, **tables})


def _failed(failure: Failure) -> ObjectOutcome:
    return ObjectOutcome.failure(failure.code, failure.message)


def _member_failure(failure: Failure) -> dict[str, Any]:
    return {
        "member": failure.member,
        "code": failure.code.value,
        "message": readable(failure.message),
        "retryable": failure.retryable,
    }


def _why_nothing(out: Path) -> tuple[Code, str]:
    """Why a run has no results: its first failure, or that it holds no image."""
    with (out / "failures.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            message = f"{row['member']}: {row['message']}" if row["member"] else row["message"]
            return Code(row["code"]), message
    return Code.UNSUPPORTED_FORMAT, "no image in it"
