"""Names results by the object's key, its version and the model.

The record of ``in/cruise/a b.tif`` is ``in/cruise/a b.tif.pi10.<model>.<version>.json`` in the
output folder. ``<model>`` is eight hex digits of the model's identity, ``<version>`` sixteen of
bucket, key, etag and model. So inputs and records can be paired by their names alone, in the
order of the keys.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from enum import StrEnum

from pi10_classifier.instrument.names import Kind, kind_of
from pi10_classifier.sources.input_rules import skip_reason as left_out

SEGMENT_BYTES = 255
KEY_BYTES = 1024
# bytes of a key that are reserved for the output folder
FOLDER_BYTES = 120
MODEL_DIGITS, VERSION_DIGITS = 8, 16
LONG = "~long"


class Ending(StrEnum):
    """What kind of file it is; of the first four, an input has exactly one in the end."""

    RESULT = "json"
    TABLES_RESULT = "tables.json"
    FAILURE = "failure.json"
    RETRY = "retry.json"
    PREDICTIONS = "predictions.parquet"
    COUNTS = "counts.csv"
    BINS = "bins.csv"
    FAILURES = "failures.csv"


TABLES = (Ending.PREDICTIONS, Ending.COUNTS, Ending.BINS, Ending.FAILURES)
RECORDS = (Ending.RESULT, Ending.TABLES_RESULT, Ending.FAILURE, Ending.RETRY)
# "attempt-2": submitted for the second time; "attempt-2.begun": a job has begun since then
ATTEMPT, BEGUN = "attempt-", ".begun"
MAX_ATTEMPTS = 9

_SUFFIX = re.compile(
    rf"\.pi10\.(?P<model>[0-9a-f]{{{MODEL_DIGITS}}})\.(?P<version>[0-9a-f]{{{VERSION_DIGITS}}})"
    rf"\.(?P<ending>{'|'.join(re.escape(ending) for ending in Ending)}"
    rf"|{ATTEMPT}[1-9]|{ATTEMPT}[0-9]{re.escape(BEGUN)})"
)
_SUFFIX_BYTES = len(".pi10...") + MODEL_DIGITS + VERSION_DIGITS + max(map(len, Ending))
_BASE_BYTES = SEGMENT_BYTES - _SUFFIX_BYTES
_STEM_BYTES = KEY_BYTES - FOLDER_BYTES - _SUFFIX_BYTES


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of one object; a result belongs to exactly one."""

    bucket: str
    key: str
    etag: str
    size: int

    def digest(self, model: str) -> str:
        """Sixteen hex digits of this version under the model of identity ``model``."""
        text = "\0".join((self.bucket, self.key, self.etag, model))
        return hashlib.sha256(_bytes(text)).hexdigest()[:VERSION_DIGITS]


@dataclass(frozen=True, slots=True)
class ResultName:
    """The name of one of our files, relative to the output folder."""

    stem: str
    model: str
    version: str
    ending: str

    def __str__(self) -> str:
        return f"{self.stem}.pi10.{self.model}.{self.version}.{self.ending}"

    @classmethod
    def of(cls, version: ObjectVersion, model: str, ending: str) -> ResultName:
        """The name of ``version``'s file under the model of identity ``model`` (hex)."""
        return cls(stem_of(version.key), model[:MODEL_DIGITS], version.digest(model), ending)

    @classmethod
    def parse(cls, name: str) -> ResultName | None:
        """The inverse of ``str``; None if it is not one of our files."""
        at = name.rfind(".pi10.")
        match = _SUFFIX.fullmatch(name, at) if at > 0 else None
        if not match:
            return None
        return cls(name[:at], match["model"], match["version"], match["ending"])


def stem_of(key: str) -> str:
    """The key itself, or a short form if file names would be too long or invalid.

    A key that a file system cannot hold (``..``, ``//``, more than 255 bytes per segment) becomes
    ``~long/<hash>-<beginning of its base name>``.
    """
    raw = _bytes(key)
    segments = raw.split(b"/")
    if (
        len(raw) <= _STEM_BYTES
        and len(segments[-1]) <= _BASE_BYTES
        and b"\0" not in raw
        and all(0 < len(s) <= SEGMENT_BYTES and s not in (b".", b"..") for s in segments)
    ):
        return key
    base = segments[-1].replace(b"\0", b"_")[:100].decode("utf-8", "ignore")
    return f"{LONG}/{hashlib.sha256(raw).hexdigest()[:32]}-{base}"


def skip_reason(key: str) -> str:
    """Why an object is not an input, judged by its key alone; empty if it is one."""
    if not key or key.endswith("/"):
        return "a folder marker"
    if ResultName.parse(key):
        return "a result of ours"
    if kind_of(key) in (Kind.HITS_MISSES, Kind.SIDECAR):
        return "a sidecar of the instrument"
    return left_out(key)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def readable(text: str) -> str:
    """Text that can be written as UTF-8, even if the name holds other bytes."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
