"""Finds the units of a batch that are done: their part and journal entry are published.

A unit needs eight bytes of memory, so that millions of them fit.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import Code, Failure
from pi10_classifier.model.package import Package
from pi10_classifier.oscar.batch.mounted import paths_of
from pi10_classifier.oscar.batch.plan import JOURNAL, PARTS, BatchPlan
from pi10_classifier.oscar.batch.units import MOUNT, PlannedUnit
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.bucket_folder import BucketFolder
from pi10_classifier.results.part_writer import PartWriter
from pi10_classifier.results.run_folder import RunFolder, UnitRecord, part_stem

_OURS = re.compile(
    r"cruise=[^/]*/date=[^/]*/(?:[^/]+-[0-9a-f]{16}-[0-9a-f]{16}|\..+\.[0-9a-f]{16}\.tmp)"
)


class Marks:
    """A fixed set of texts, stored as 64 bits of their SHA-256."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._marks: NDArray[np.uint64] = np.unique(
            np.fromiter((_mark(text) for text in texts), np.uint64)
        )

    def __len__(self) -> int:
        return len(self._marks)

    def __contains__(self, text: str) -> bool:
        mark = np.uint64(_mark(text))
        at = int(np.searchsorted(self._marks, mark))
        return at < len(self._marks) and bool(self._marks[at] == mark)

    def both(self, other: Marks) -> Marks:
        """The texts that are in both sets."""
        common = Marks(())
        common._marks = np.intersect1d(self._marks, other._marks, assume_unique=True)
        return common


def _mark(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8])


def published(out: Bucket, partition: str = "") -> Marks:
    """The units, by ``PlannedUnit.path``, that have both a part and a journal entry."""
    folder = f"{partition}/" if partition else ""
    parts = Marks(_names(out, PARTS + folder, PARTS, ".parquet"))
    return parts.both(Marks(_names(out, JOURNAL + folder, JOURNAL, ".json")))


def _names(out: Bucket, begins: str, above: str, ending: str) -> Iterator[str]:
    for output in out.outputs(begins):
        if output.name.endswith(ending):
            yield output.name.removeprefix(above).removesuffix(ending)


def remove_part(out: Bucket, path: str) -> None:
    """Remove a unit's result; the part first, because it marks the unit as done."""
    out.delete(f"{PARTS}{path}.parquet")
    out.delete(f"{JOURNAL}{path}.json")


def remove_others(out: Bucket, kept: Marks) -> int:
    """Delete our parts of all other units, and the temporary files of killed workers."""
    removed = 0
    for above, ending in ((PARTS, ".parquet"), (JOURNAL, ".json")):
        for output in out.outputs(above):
            path = output.name.removeprefix(above).removesuffix(ending)
            if path not in kept and _OURS.fullmatch(path):
                out.delete(output.name)
                removed += 1
    return removed


def publish_failure(
    out: Bucket, unit: PlannedUnit, plan: BatchPlan, package: Package, message: str
) -> None:
    """Publish a part without rows for a unit that is set aside: all its inputs are failures."""
    inputs = [(unit.name, "")]
    if not unit.is_archive:
        index = Bucket(out.store, BucketFolder(plan.bucket, ""))
        lines = index.get(plan.index, unit.length, unit.at)
        above = f"{MOUNT}/{plan.address.removeprefix('s3://')}"
        inputs = [(plan.address, path.removeprefix(above)) for path in paths_of(lines)]
    failures = [Failure(source, member, Code.SET_ASIDE, message) for source, member in inputs]
    record = UnitRecord(
        unit.name, unit.group, unit.fingerprint, inputs=len(failures), failures=failures
    )
    with tempfile.TemporaryDirectory(prefix="pi10-") as scratch:
        told = package.novelty is not None
        folder = RunFolder(Path(scratch), package.classes, novelty=told)
        folder.parts.mkdir()
        folder.journal.mkdir()
        PartWriter(folder, unit.name).publish(record)
        stem, path = part_stem(unit.name), unit.path(plan.identity)
        out.upload(folder.journal / f"{stem}.json", f"{JOURNAL}{path}.json")
        out.upload(folder.parts / f"{stem}.parquet", f"{PARTS}{path}.parquet")


def whole(entry: dict[str, Any], unit: PlannedUnit, part: Path) -> bool:
    """True if a journal entry belongs to this unit, and its part has the size that it states."""
    return bool(
        entry.get("unit") == unit.name
        and entry.get("fingerprint") == unit.fingerprint
        and entry.get("part_bytes") == part.stat().st_size
    )
