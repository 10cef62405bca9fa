"""The units of a batch, as lines of the index and of the plan.

``index.txt`` has one path per line, as on the mount. ``units.jsonl`` has one unit per line: an
archive, or a block of consecutive loose images, with its line numbers in the index. Both are
written and read as streams, so their length does not matter.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.oscar.bucket_folder import BucketFolder
from pi10_classifier.results.run_folder import part_stem
from pi10_classifier.sources.s3 import S3Archive, S3Block

MOUNT = "/mnt"
INDEX = "index.txt"
# replaces a line break in a key, which a line of the index cannot hold
BROKEN = "\ufffd"
# Hive's name for a partition without a value
NO_DAY = "__HIVE_DEFAULT_PARTITION__"
_DAY = re.compile(r"(?:(?P<cruise>[^/]+)/)?(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})/")


@dataclass(frozen=True)
class PlannedUnit:
    """One unit of a plan. ``name``, ``group`` and ``fingerprint`` come from the engine.

    start, end: its lines in the index, 1-based, the end exclusive; ``at``: the byte offset of
    these lines; ``sha256`` (16 digits): their hash. size: bytes of all its objects.
    """

    name: str
    group: str
    fingerprint: str
    cruise: str
    day: str
    start: int
    end: int
    at: int
    length: int
    sha256: str
    size: int

    @property
    def partition(self) -> str:
        """The folder of its part in the data set."""
        return f"cruise={quote(self.cruise, safe='')}/date={self.day}"

    def stem(self, identity: str) -> str:
        """The name of its part: from unit, content, and the settings' ``identity``."""
        version = hashlib.sha256(f"{self.fingerprint}\0{identity}".encode()).hexdigest()[:16]
        return f"{part_stem(self.name)}-{version}"

    def path(self, identity: str) -> str:
        """The path of its part and journal entry in their folders, without an extension."""
        return f"{self.partition}/{self.stem(identity)}"

    def to_line(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> PlannedUnit:
        return cls(**json.loads(line))

    @cached_property
    def is_archive(self) -> bool:
        return not self.group


@dataclass(slots=True)
class Listing:
    """The totals of a listing."""

    units: int = 0
    lines: int = 0
    size: int = 0


def partition_of(key: str, default: str) -> tuple[str, str]:
    """Cruise and day from the key's folders: ``CRUISE/2024-06-24/1450.tar``."""
    matches = list(_DAY.finditer(key))
    if not matches:
        return default, NO_DAY
    return matches[-1]["cruise"] or default, matches[-1]["day"]


def write_units(
    units: Iterable[S3Archive | S3Block],
    source: BucketFolder,
    index: BinaryIO,
    table: BinaryIO,
    cruise: str = "",
) -> Listing:
    """Write both files while the listing goes on; only one unit is in memory.

    cruise: the cruise of all units; empty takes it from their folders.
    """
    listing = Listing()
    at = 0
    default = cruise or source.folder.rpartition("/")[2] or source.bucket
    for unit in units:
        lines = b"".join(_line(source.bucket, key) for key in unit.keys)
        try:
            index.write(lines)
        except OSError as error:
            raise output_error(error, INDEX) from error
        named, day = partition_of(unit.keys[0], default)
        planned = PlannedUnit(
            name=unit.name,
            group=unit.group,
            fingerprint=unit.fingerprint,
            cruise=cruise or named,
            day=day,
            start=listing.lines + 1,
            end=listing.lines + 1 + len(unit.keys),
            at=at,
            length=len(lines),
            sha256=digest(lines),
            size=unit.size,
        )
        table.write(planned.to_line())
        at += len(lines)
        listing.units += 1
        listing.lines += len(unit.keys)
        listing.size += unit.size
    return listing


def digest(lines: bytes) -> str:
    """The first sixteen hex digits of the SHA-256 of some lines of the index."""
    return hashlib.sha256(lines).hexdigest()[:16]


def _line(bucket: str, key: str) -> bytes:
    text = f"{MOUNT}/{bucket}/{key}".replace("\n", BROKEN).replace("\r", BROKEN)
    return text.encode("utf-8", "surrogateescape") + b"\n"


def is_index(beginning: bytes) -> bool:
    """True for the first bytes of an index: a path on the mount, unlike any image."""
    return beginning.startswith(f"{MOUNT}/".encode())


def units_at(table: Path, places: Iterable[int]) -> Iterator[PlannedUnit]:
    """The units whose lines begin at these byte offsets."""
    with table.open("rb") as stream:
        for at in places:
            stream.seek(at)
            yield PlannedUnit.from_line(stream.readline())


def read_units(table: Path, at: int = 0) -> Iterator[tuple[int, PlannedUnit]]:
    """The units from byte ``at`` on, each with the byte offset of its line.

    Raises SettingError if the table is damaged.
    """
    try:
        with table.open("rb") as stream:
            stream.seek(at)
            while line := stream.readline():
                yield at, PlannedUnit.from_line(line)
                at += len(line)
    except (OSError, ValueError, TypeError) as error:
        raise SettingError(
            f"{table} cannot be read at byte {at}: {error}; list again with --relist"
        ) from error
