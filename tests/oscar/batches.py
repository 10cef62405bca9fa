"""Support for tests: a batch's mount as workers see it, planned without a bucket."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minio.datatypes import Object

from pi10_classifier.archives import LIMITS
from pi10_classifier.classify import Settings
from pi10_classifier.model import read_package
from pi10_classifier.oscar.batch_plan import PLAN, UNITS, Message, Plan, deciding
from pi10_classifier.oscar.batch_units import INDEX, PlannedUnit, read_units, write_units
from pi10_classifier.oscar.fdl import Place
from pi10_classifier.stored import stored_units

BUCKET = "pi10"


class Listing:
    """Lists a folder as its bucket would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def objects(self, bucket: str, prefix: str) -> Iterator[Object]:
        files = {p.relative_to(self.folder).as_posix(): p for p in self.folder.rglob("*")}
        for key, path in sorted(files.items(), key=lambda entry: entry[0].encode()):
            if path.is_file() and key.startswith(prefix) and path.name != INDEX:
                data = path.read_bytes()
                etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
                yield Object(bucket, key, etag=etag, size=len(data))


@dataclass
class Mount:
    """A folder that stands for ``/mnt``, with a plan for ``rapid/`` and results in ``out/``."""

    root: Path
    package: Path

    @property
    def bucket(self) -> Path:
        return self.root / BUCKET

    @property
    def out(self) -> Path:
        return self.bucket / "out"

    def plan(self) -> list[tuple[int, PlannedUnit]]:
        """Write index and plan; returns the units, each with its place in the plan."""
        units = stored_units(Listing(self.bucket), BUCKET, "rapid/", LIMITS)  # type: ignore[arg-type]
        place = Place(BUCKET, "rapid")
        table = self.out / UNITS
        for folder in (table.parent, self.bucket / "rapid"):
            folder.mkdir(parents=True, exist_ok=True)
        with (self.bucket / "rapid" / INDEX).open("wb") as index, table.open("wb") as rows:
            found = write_units(units, place, index, rows)
        said = deciding(Settings(model=self.package), read_package(self.package)[0])
        plan = Plan(
            BUCKET, "rapid", "out", f"rapid/{INDEX}", found.units, found.lines, found.size, said
        )
        (self.out / PLAN).write_bytes(plan.to_json())
        return list(read_units(table))

    def message(self, units: list[tuple[int, PlannedUnit]]) -> str:
        """The range of these units."""
        at, first = units[0]
        return Message(first.start, units[-1][1].end, f"/mnt/pi10/out/{PLAN}", at).to_json()

    def environ(self, message: str, **more: str) -> dict[str, str]:
        """What a job has, where faas-supervisor starts it."""
        return {
            "PATH": os.environ["PATH"],
            "PI10_PYTHON": sys.executable,
            "PI10_MODEL": str(self.package),
            "PI10_JOBS": "1",
            "PI10_MOUNT": str(self.root),
            "PI10_BATCH_BEAT_S": "0.2",
            "EVENT": message,
            **more,
        }

    def results(self) -> dict[str, bytes]:
        """Parts and journal entries, by their names."""
        found = {}
        for folder in ("predictions.parquet", "journal"):
            for path in (self.out / folder).rglob("*"):
                if path.is_file():
                    found[path.relative_to(self.out).as_posix()] = path.read_bytes()
        return found

    def signs(self) -> dict[str, Any]:
        """What workers said last, by their ranges."""
        folder = self.out / ".pi10-batch/signs"
        return {path.stem: json.loads(path.read_bytes()) for path in folder.glob("*.json")}


def write(mount: Mount, files: Mapping[str, bytes]) -> None:
    for key, data in files.items():
        path = mount.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
