"""Builds the record of one input, and publishes it in OSCAR's output folder.

All files are built in another folder and moved in at the end, the record last. So OSCAR never
finds a partial file, even after a kill. The bytes depend only on object, model and program.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pi10_classifier
from pi10_classifier.errors import Code, output_error
from pi10_classifier.foundation.files import sha256
from pi10_classifier.model.package import Package
from pi10_classifier.oscar.records.naming import Ending, ObjectVersion, ResultName, readable

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ObjectOutcome:
    """The result or failure of one object. ``files``: ending -> table."""

    ending: Ending
    fields: Mapping[str, Any]
    files: Mapping[Ending, Path]

    @classmethod
    def failure(cls, code: Code, message: str, *, member: str = "") -> ObjectOutcome:
        """An input without a result; if its code is retryable, it will be retried."""
        fields: dict[str, Any] = {
            "code": code.value,
            "message": readable(message),
            "meaning": code.meaning,
            "retryable": code.retryable,
        }
        if member:
            fields["member"] = readable(member)
        ending = Ending.RETRY if code.retryable else Ending.FAILURE
        return cls(ending, {"failure": fields}, {})

    @property
    def failed(self) -> bool:
        return self.ending in (Ending.FAILURE, Ending.RETRY)


def record_bytes(
    outcome: ObjectOutcome, version: ObjectVersion, package: Package, identity: str
) -> bytes:
    """The record's JSON in UTF-8; the same input gives the same bytes."""
    tables = {
        str(ending): {
            "name": str(ResultName.of(version, identity, ending)).rpartition("/")[2],
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for ending, path in sorted(outcome.files.items())
    }
    fields: dict[str, Any] = {
        "format": FORMAT,
        "status": "failure" if outcome.failed else "result",
        "bucket": version.bucket,
        "key": readable(version.key),
        "url": address(version),
        "etag": version.etag,
        "bytes": version.size,
        "model": {
            "name": package.name,
            "version": package.version,
            "sha256": package.sha256,
            "identity": identity,
        },
        "program": f"pi10-classifier {pi10_classifier.__version__}",
        **outcome.fields,
    }
    if tables:
        fields["tables"] = tables
    return json_bytes(fields)


def address(version: ObjectVersion) -> str:
    """The object's address, with its key percent-encoded so that it is unambiguous."""
    return f"s3://{version.bucket}/{quote(os.fsencode(version.key))}"


def json_bytes(value: Any) -> bytes:
    """JSON in a fixed layout, without NaN and infinity."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.replace(tzinfo=None).isoformat(timespec='seconds')}Z"
    raise TypeError(f"{type(value).__name__} is not for JSON")


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A folder on the disk of ``out``, to build files that are then moved to ``out``.

    Raises OutputError if it cannot be made.
    """
    beside = out.parent
    try:
        same = beside.stat().st_dev == out.stat().st_dev and os.access(beside, os.W_OK)
        folder = Path(tempfile.mkdtemp(prefix=".pi10-", dir=beside if same else out))
    except OSError as error:
        raise output_error(error, out) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(files: Sequence[tuple[Path, str]], out: Path) -> None:
    """Move each file to its name in ``out``, in this order; the record must be the last.

    Raises OutputError.
    """
    for path, name in files:
        target = out / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        except OSError as error:
            raise output_error(error, target) from error


def write_new(path: Path, data: bytes) -> Path:
    """Write a file in the staging folder. Raises OutputError."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise output_error(error, path) from error
    return path
