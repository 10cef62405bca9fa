"""The plan of a batch: its inputs, its settings, and the paths of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import Package
from pi10_classifier.oscar.batch.units import MOUNT
from pi10_classifier.oscar.bucket_folder import BucketFolder
from pi10_classifier.oscar.records.record import json_bytes

FORMAT = 1
# next to the results: the files that coordinator and workers exchange
WORK = ".pi10-batch/"
PLAN, UNITS = f"{WORK}plan.json", f"{WORK}units.jsonl"
STATE, HEARTBEATS = f"{WORK}state.json", f"{WORK}signs/"
_MOST = 2**62  # larger than any file
PARTS, JOURNAL = "predictions.parquet/", "journal/"


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A complete listing of the inputs, and the settings of the results.

    source, out: folders in the bucket; index: the key of ``index.txt``; table: the SHA-256 (hex)
    of ``units.jsonl``, which is written before the plan.
    """

    bucket: str
    source: str
    out: str
    index: str
    units: int
    lines: int
    size: int
    settings: Mapping[str, Any]
    table: str = ""

    @property
    def identity(self) -> str:
        return identity_of(self.settings)

    @property
    def address(self) -> str:
        """The inputs' address, as for ``pi10 classify``."""
        return f"s3://{self.bucket}/{BucketFolder(self.bucket, self.source).prefix}"

    def mounted(self, name: str) -> str:
        """The path of an output file on the mount."""
        return f"{MOUNT}/{self.bucket}/{BucketFolder(self.bucket, self.out).prefix}{name}"

    def to_json(self) -> bytes:
        return json_bytes({"format": FORMAT, **asdict(self)})

    @classmethod
    def parse(cls, data: bytes, where: str) -> BatchPlan:
        """Read a plan. Raises SettingError if it is not one of this version."""
        try:
            fields = dict(json.loads(data))
            if fields.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT}")
            return cls(**fields)
        except (ValueError, TypeError, LookupError) as error:
            raise SettingError(
                f"{where} is not a plan of this version ({error}); list again with --relist"
            ) from error


def identity_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the settings that affect results; different ones are never merged."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def deciding(settings: Settings, package: Package) -> dict[str, Any]:
    """The settings that affect results, as they look after JSON."""
    fields: dict[str, Any] = json.loads(json.dumps(settings.fingerprint(package)))
    for key in ("runtime", "precision"):
        del fields[key]  # the device tells both, and plans of earlier versions have it alone
    return fields


@dataclass(frozen=True, slots=True)
class Message:
    """The message to a worker: ``{"start", "end"}``, lines of the index, the end exclusive.

    Our coordinator adds ``plan`` (its path on the mount) and ``at`` (the byte of
    ``units.jsonl`` where the range begins). Both are optional.
    """

    start: int
    end: int
    plan: str = ""
    at: int = 0

    @classmethod
    def parse(cls, text: str) -> Message:
        """Read a message. Raises SettingError if it is not a range."""
        try:
            fields = json.loads(text)
            message = cls(
                int(fields["start"]), int(fields["end"]), unquote(str(fields.get("plan", ""))),
                int(fields.get("at", 0)),
            )  # fmt: skip
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise SettingError(
                f'the message is {text[:100]!r}; it must be {{"start": 1, "end": 10}}'
            ) from error
        if not 1 <= message.start < message.end < _MOST or not 0 <= message.at < _MOST:
            lines = f"{message.start} to {message.end}"
            raise SettingError(
                f"the range is {lines[:100]}; lines count from 1, and the end must be larger than "
                "the start"
            )
        return message

    def to_json(self) -> str:
        """One line without double spaces or backslashes: it passes through a shell's echo."""
        fields: dict[str, Any] = {"start": self.start, "end": self.end}
        if self.plan:
            fields |= {"plan": quote(self.plan), "at": self.at}
        return json.dumps(fields)


def on_mount(path: str, environ: Mapping[str, str]) -> Path:
    """The local path for a path on the mount; ``PI10_MOUNT`` replaces ``/mnt``."""
    pure = PurePosixPath(path)
    root = environ.get("PI10_MOUNT") or MOUNT
    if pure.is_relative_to(MOUNT):
        return Path(root) / pure.relative_to(MOUNT)
    return Path(path)
