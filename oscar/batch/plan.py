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
# beside the results: what coordinator and workers tell each other
WORK = ".pi10-batch/"
PLAN, UNITS = f"{WORK}plan.json", f"{WORK}units.jsonl"
STATE, HEARTBEATS = f"{WORK}state.json", f"{WORK}signs/"
_MOST = 2**62  # no file is longer
PARTS, JOURNAL = "predictions.parquet/", "journal/"


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A listing that is complete, and the settings that its results are to have.

    source, out: bucket and folder; index: the key of ``index.txt``; table: the SHA-256 (hex)
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
        """The inputs, spelled as ``pi10 classify`` takes them."""
        return f"s3://{self.bucket}/{BucketFolder(self.bucket, self.source).prefix}"

    def mounted(self, name: str) -> str:
        """A file of the output folder, as the mount sees it."""
        return f"{MOUNT}/{self.bucket}/{BucketFolder(self.bucket, self.out).prefix}{name}"

    def to_json(self) -> bytes:
        return json_bytes({"format": FORMAT, **asdict(self)})

    @classmethod
    def parse(cls, data: bytes, where: str) -> BatchPlan:
        """Raises SettingError where it is none of ours."""
        try:
            fields = dict(json.loads(data))
            if fields.pop("format") != FORMAT:
                raise ValueError("another format")
            return cls(**fields)
        except (ValueError, TypeError, LookupError) as error:
            raise SettingError(
                f"{where} is not a plan of this version ({error}); list again with --relist"
            ) from error


def identity_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of what decides results; results of two of them are never merged."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def deciding(settings: Settings, package: Package) -> dict[str, Any]:
    """What decides results, as JSON brings it back."""
    found: dict[str, Any] = json.loads(json.dumps(settings.fingerprint(package)))
    return found


@dataclass(frozen=True, slots=True)
class Message:
    """What a worker is sent: ``{"start", "end"}``, lines of the index, the end exclusive.

    Ours adds ``plan`` (its path on the mount) and ``at``, the byte of ``units.jsonl``
    where the range begins; whoever knows neither does without them.
    """

    start: int
    end: int
    plan: str = ""
    at: int = 0

    @classmethod
    def parse(cls, text: str) -> Message:
        """Raises SettingError where it is no range."""
        try:
            fields = json.loads(text)
            found = cls(
                int(fields["start"]), int(fields["end"]), unquote(str(fields.get("plan", ""))),
                int(fields.get("at", 0)),
            )  # fmt: skip
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise SettingError(
                f'the message is {text[:100]!r}; it must be {{"start": 1, "end": 10}}'
            ) from error
        if not 1 <= found.start < found.end < _MOST or not 0 <= found.at < _MOST:
            lines = f"{found.start} to {found.end}"
            raise SettingError(f"the range is {lines[:100]}; lines count from 1, end excluded")
        return found

    def to_json(self) -> str:
        """In one line without runs of spaces or backslashes: it passes through a shell's echo."""
        fields: dict[str, Any] = {"start": self.start, "end": self.end}
        if self.plan:
            fields |= {"plan": quote(self.plan), "at": self.at}
        return json.dumps(fields)


def on_mount(path: str, environ: Mapping[str, str]) -> Path:
    """Where a path of the mount is here: ``PI10_MOUNT`` stands for ``/mnt``."""
    pure = PurePosixPath(path)
    root = environ.get("PI10_MOUNT") or MOUNT
    if pure.is_relative_to(MOUNT):
        return Path(root) / pure.relative_to(MOUNT)
    return Path(path)
