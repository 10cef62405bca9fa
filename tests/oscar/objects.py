"""Support for tests: objects as events tell of them, and what a handler left."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pi10_classifier.oscar.handler import Done
from pi10_classifier.oscar.naming import ObjectVersion

BUCKET = "pi10"


def version_of(key: str, data: bytes, bucket: str = BUCKET) -> ObjectVersion:
    """The object as its event tells of it."""
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return ObjectVersion(bucket, key, etag, len(data))


def files_of(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def record_of(out: Path, done: Done) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((out / done.names[-1]).read_text("utf-8"))
    return said
