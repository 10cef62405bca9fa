"""The output folder of a run: the predictions dataset, its journal and the summary tables.

A unit (an archive or a block of loose files) is published in two renames: first its journal
entry, then its Parquet part. A unit is done if its part exists and its entry has the unit's
fingerprint; otherwise it is done again. Tables are rebuilt from the journal.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pi10_classifier.abundance.track import Fixes
from pi10_classifier.drift.reference import Reference
from pi10_classifier.drift.sums import Minutes, to_json
from pi10_classifier.errors import Code, Failure, SettingError, output_error
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.instrument.names import Rows
from pi10_classifier.results.factor_column import Factors
from pi10_classifier.results.feature_part import FEATURES
from pi10_classifier.sources.base import printable

TABLE_VERSION = 3
PREDICTIONS = "predictions.parquet"
JOURNAL = "journal"
UNLIKE = "unlike_training"
"""The flag of images unlike the model's training images, and the column and field that count it."""
GROUPS = "groups"
DRIFT = "drift"
SETTINGS = "settings.json"
_LITTER = re.compile(r"\..+\.[0-9]+\.tmp")
_ENTRY = {
    "unit", "group", "totals", "failures", "counts", "folders", "hits_misses", "backgrounds",
    "fixes", "factors",
}  # fmt: skip
SUMMARIES = ("counts.csv", "bins.csv", "failures.csv", "run.json", "report.html", "drift.csv")
# what other commands make of a finished run: of no use to the next one in the folder
DERIVED = (
    "sizes.csv", "size_spectrum.csv", "size_slopes.csv", "underway.csv", "underway_bins.csv",
)  # fmt: skip

"""Unit (UDUNITS; empty for text) and meaning of each column."""


@dataclass(slots=True)
class UnitRecord:
    """The journal entry of one unit, with all data for the summary tables.

    counts: (bin, minute ISO 8601 or "", label) -> images. folders: bin folder -> bins in it.
    hits_misses: bin folder -> rows; sidecars: bin folder -> the member of these rows.
    backgrounds: bin folder -> mean grey of Background.tif's edge. fixes: (bin, minute) -> first
    and last position. gallery: label -> rank -> pictures. factors: of the minutes, if known.
    unlike_training: as counts, of the flagged images; None where the model package cannot tell.
    groups: group -> images; None where groups were not asked for. drift: None without a reference.
    """

    unit: str
    group: str
    fingerprint: str
    inputs: int = 0
    results: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    folders: dict[str, set[str]] = field(default_factory=dict)
    hits_misses: dict[str, Rows] = field(default_factory=dict)
    sidecars: dict[str, str] = field(default_factory=dict)
    backgrounds: dict[str, float] = field(default_factory=dict)
    fixes: dict[tuple[str, str], Fixes] = field(default_factory=dict)
    factors: Factors = field(default_factory=list)
    unlike_training: dict[tuple[str, str, str], int] | None = None
    groups: dict[str, int] | None = None
    drift: Minutes | None = None
    part_bytes: int = 0
    gallery: dict[str, Any] = field(default_factory=dict)

    @property
    def totals(self) -> dict[str, int]:
        return {
            "inputs": self.inputs,
            "results": self.results,
            "failures": len(self.failures),
            "skipped": self.skipped,
        }

    def to_json(self) -> dict[str, Any]:
        unlike = self.unlike_training
        return {
            "unit": self.unit,
            "group": self.group,
            "fingerprint": self.fingerprint,
            "part_bytes": self.part_bytes,
            "totals": self.totals,
            "failures": [[f.source, f.member, f.code.value, f.message] for f in self.failures],
            "counts": sorted([*key, count] for key, count in self.counts.items()),
            "folders": {key: sorted(bins) for key, bins in sorted(self.folders.items())},
            "hits_misses": dict(sorted(self.hits_misses.items())),
            "sidecars": dict(sorted(self.sidecars.items())),
            "backgrounds": dict(sorted(self.backgrounds.items())),
            "fixes": [[*key, *first, *last] for key, (first, last) in sorted(self.fixes.items())],
            "factors": self.factors,
            "gallery": self.gallery,
            # absent without a model that tells: entries of older runs have the same bytes
            **({} if unlike is None else {UNLIKE: sorted([*k, n] for k, n in unlike.items())}),
            **({} if self.groups is None else {GROUPS: dict(sorted(self.groups.items()))}),
            **({} if self.drift is None else {DRIFT: to_json(self.drift)}),
        }


def part_stem(unit: str) -> str:
    """A file name for a unit: readable, safe on every system, unique by hash."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", unit.rpartition("/")[2])[:60].strip("._")
    digest = hashlib.sha256(unit.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{readable or 'part'}-{digest}"


def is_published(part: Path, entry: Path, unit: str, fingerprint: str) -> bool:
    """True if part and journal entry are complete, and belong to the current unit."""
    try:
        recorded = json.loads(entry.read_text("utf-8")) if part.is_file() else {}
        same = recorded["unit"] == unit and recorded["fingerprint"] == fingerprint
        same = same and recorded["part_bytes"] == part.stat().st_size
        # retryable failures are retried
        return same and not any(Code(failure[2]).retryable for failure in recorded["failures"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


class RunFolder:
    """The output folder of a run: new, resumed or overwritten."""

    def __init__(
        self,
        path: Path,
        classes: Sequence[str],
        *,
        novelty: bool = False,
        groups: bool = False,
        camera: bool = False,
        reference: Reference | None = None,
        feature_size: int = 0,
    ) -> None:
        """novelty: the model tells what is unlike its training images. groups: rows have them.

        camera: rows have the camera's columns. reference: what drift is told by. feature_size:
        numbers of a particle in ``features.parquet``; 0 for no such table.
        """
        self.path = path
        self.classes = tuple(classes)
        self.novelty = novelty
        self.groups = groups
        self.camera = camera
        self.reference = reference
        self.feature_size = feature_size
        self.parts = path / PREDICTIONS
        self.features = path / FEATURES
        self.journal = path / JOURNAL
        self._lock: Any = None

    def close(self) -> None:
        """Release the lock, so that other runs can write to the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def open(self, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Make or reopen the folder. ``settings``: exactly the settings that affect results.

        Raises SettingError if the folder holds another run's results.
        """
        try:
            self._open(settings, resume, overwrite)
        except (FileExistsError, NotADirectoryError) as error:
            raise SettingError(f"--out {self.path} is a file; name a folder") from error
        except OSError as error:
            raise output_error(error, self.path) from error

    def _take_lock(self) -> None:
        from filelock import FileLock, Timeout

        lock = FileLock(self.journal / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise SettingError(
                f"another run is writing to {self.path}; wait for it, or choose another --out"
            ) from error
        self._lock = lock

    def _open(self, settings: dict[str, Any], resume: bool, overwrite: bool) -> None:
        try:
            str(self.path).encode()
        except UnicodeEncodeError:  # Arrow opens files by names in UTF-8 alone
            raise SettingError(
                f"--out {printable(str(self.path))} is not valid UTF-8; choose another name"
            ) from None
        known = self.journal / SETTINGS
        if not known.is_file():
            ours = (*self.parts.glob("*"), *(self.path / name for name in SUMMARIES))
            for path in ours:
                if path.exists():
                    raise SettingError(
                        f"{path} exists, but is not a run of this program; choose another --out"
                    )
        elif not (resume or overwrite):
            raise SettingError(
                f"{self.path} already holds a run; add --resume to continue it, --overwrite to "
                "start again, or choose another --out"
            )
        self.parts.mkdir(parents=True, exist_ok=True)
        if self.feature_size:
            self.features.mkdir(exist_ok=True)
        self.journal.mkdir(exist_ok=True)
        self._take_lock()
        if known.is_file():
            if overwrite:
                self._clear()
            else:
                self._check_same(known, settings)
        for folder in (self.parts, self.features, self.journal, self.path):
            for litter in folder.glob(".*.tmp"):
                # left by a killed run: the lock shows that no run is active
                if _LITTER.fullmatch(litter.name) and litter.is_file():
                    litter.unlink(missing_ok=True)
        (self.path / "run.json").unlink(missing_ok=True)  # it says that a run is complete
        if not known.is_file():
            write_atomically(known, entry_bytes(settings))

    def _clear(self) -> None:
        # the settings last: if this is interrupted, the folder is still known as a run
        for entry in (*self.parts.glob("*"), *self.features.glob("*")):
            entry.unlink()
        for entry in self.journal.glob("*.json"):
            if entry.name != SETTINGS:
                entry.unlink()
        for name in (*SUMMARIES, *DERIVED):
            (self.path / name).unlink(missing_ok=True)
        (self.journal / SETTINGS).unlink()

    @staticmethod
    def _check_same(known: Path, settings: dict[str, Any]) -> None:
        try:
            old = dict(json.loads(known.read_text("utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise SettingError(f"{known} cannot be read: {error}; use --overwrite") from error
        now = json.loads(entry_bytes(settings))
        if old.get("device") == now.get("device"):
            # older runs tell the device alone, which stood for the same runtime and precision
            old = {key: now[key] for key in ("runtime", "precision") if key in now} | old
        changed = sorted(k for k in {*old, *now} if old.get(k) != now.get(k))
        if changed:
            differences = "; ".join(f"{k} was {old.get(k)!r}, is {now.get(k)!r}" for k in changed)
            told = (x for x in ("device", "batch") if old.get(x) and old[x] != now.get(x))
            options = " ".join(f"--{x} {old[x]}" for x in told)
            remedy = "use the old settings" + f" ({options})" * bool(options)
            raise SettingError(
                f"cannot resume {known.parent.parent}: {differences}. Results would not be "
                f"comparable; {remedy}, --overwrite, or another --out"
            )

    def is_done(self, unit: str, fingerprint: str) -> bool:
        """True if the unit's part is published and the unit has not changed since then."""
        part, entry = self.paths_of(unit)
        features = self.features / part.name
        if self.feature_size and not features.is_file():
            return False
        return is_published(part, entry, unit, fingerprint)

    def paths_of(self, unit: str) -> tuple[Path, Path]:
        """The paths of the unit's part and of its journal entry."""
        stem = part_stem(unit)
        return self.parts / f"{stem}.parquet", self.journal / f"{stem}.json"

    def part_published(self, stem: str) -> None:
        """Called when a unit's part is published; subclasses may move it elsewhere."""

    def entries(self) -> Iterator[dict[str, Any]]:
        """The journal entries of all published units, ordered by file name."""
        for path in sorted(self.journal.glob("*.json")):
            if path.name == SETTINGS or not (self.parts / f"{path.stem}.parquet").is_file():
                continue
            try:
                entry = json.loads(path.read_text("utf-8"))
                whole = set(entry) >= _ENTRY
            except (ValueError, TypeError):
                whole = False
            if not whole:
                raise SettingError(f"{path} is damaged; delete it, then run again with --resume")
            yield entry

    def published(self) -> set[str]:
        """The stems of all published parts."""
        return {path.stem for path in self.parts.glob("*.parquet")}

    def drop_outdated_blocks(self, groups: Mapping[str, int], seen: Collection[str]) -> None:
        """Remove superseded blocks of folders that shrank, and of folders that can be listed now.

        groups: folder -> its number of blocks. seen: the stems of this run's units. A folder that
        could not be listed had one unit, whose only failure was the folder itself. If it can be
        listed now, it has other units, or is empty.
        """
        for entry in self.entries():
            unit, group = entry["unit"], entry["group"]
            is_recut = group in groups and int(unit.rpartition("#")[2]) >= groups[group]
            if is_recut or (part_stem(unit) not in seen and _was_unlisted(entry)):
                self._drop(unit)

    def _drop(self, unit: str) -> None:
        part, entry = self.paths_of(unit)
        for path in (part, entry, self.features / part.name):
            path.unlink(missing_ok=True)


def _was_unlisted(entry: Mapping[str, Any]) -> bool:
    """True for the entry of a folder that could not be listed."""
    codes = [code for _, _, code, _ in entry["failures"]]
    if not entry["group"] or entry["totals"]["inputs"] != 1:
        return False
    if codes != [Code.OBJECT_UNREADABLE.value]:
        return False
    try:
        os.scandir(entry["group"]).close()
    except (OSError, ValueError):
        return False
    return True


def entry_bytes(value: Any) -> bytes:
    """A journal entry, or the settings, as stored on disk."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True).encode() + b"\n"
