"""What a run writes: the predictions dataset, its journal, and the summary tables.

A unit (an archive or a block of loose files) is published in two renames: first its
journal entry, then its Parquet part. A part whose entry carries the unit's fingerprint
is done; anything else is work to do again. Tables are rebuilt from the journal.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pi10_classifier.abundance.track import Fixes
from pi10_classifier.errors import Code, Failure, SettingError, output_error
from pi10_classifier.instrument.names import Rows
from pi10_classifier.results.factor_column import COLUMN, Factors, fill

TABLE_VERSION = 2
ROW_GROUP = 16_384
PREDICTIONS = "predictions.parquet"
JOURNAL = "journal"
SETTINGS = "settings.json"
_LITTER = re.compile(r"\..+\.[0-9]+\.tmp")
_ENTRY = {
    "unit", "group", "totals", "failures", "counts", "folders", "hits_misses", "backgrounds",
    "fixes", "factors",
}  # fmt: skip
SUMMARIES = ("counts.csv", "bins.csv", "failures.csv", "run.json", "report.html")

_TEXT_BEFORE = ("particle_id", "source", "member", "instrument", "bin")
_SIZES = (
    "area_um2",
    "esd_um",
    "major_um",
    "minor_um",
    "feret_um",
    "perimeter_um",
    "solidity",
    "mean_grey",
)


def columns(classes: Sequence[str]) -> list[str]:
    """The columns of the predictions table, in order."""
    return [
        *_TEXT_BEFORE,
        "datetime",
        "latitude",
        "longitude",
        "width_px",
        "height_px",
        "label",
        "score",
        *(f"score_{label}" for label in classes),
        *_SIZES,
        COLUMN,
        "flags",
        "model",
        "model_sha256",
    ]


_MEANINGS: dict[str, tuple[str, str]] = {
    "particle_id": ("", "instrument, bin and number; unique over cruises"),
    "source": ("", "the archive, folder or bucket prefix it came from"),
    "member": ("", "its name inside the source"),
    "instrument": ("", "from the name"),
    "bin": ("", "instrument and start (UTC) of the recording of up to ten minutes"),
    "datetime": ("UTC", "moment of capture, to a second"),
    "latitude": ("degrees_north", "WGS 84; empty without a fix"),
    "longitude": ("degrees_east", "WGS 84; empty without a fix"),
    "width_px": ("px", "width of the image"),
    "height_px": ("px", "height of the image"),
    "label": ("", "the class of the highest score; no_particle: the image shows none"),
    "score": ("1", "the label's score; empty for no_particle"),
    "area_um2": ("um2", "area of the silhouette"),
    "esd_um": ("um", "diameter of a circle of the silhouette's area"),
    "major_um": ("um", "major axis of the ellipse with the silhouette's second moments"),
    "minor_um": ("um", "minor axis of that ellipse"),
    "feret_um": ("um", "longest distance between two points of the silhouette"),
    "perimeter_um": ("um", "length of the outline"),
    "solidity": ("1", "area over the area of the convex hull"),
    "mean_grey": ("1", "mean luma inside, 0 to 255"),
    "raising_factor": (
        "1",
        "(hits + misses) / images of its minute: the particles in the water that the image stands "
        "for; empty where unknown",
    ),
    "flags": ("", "names of flags, ';' between"),
    "model": ("", "name of the model package"),
    "model_sha256": ("", "SHA-256 of the model package"),
}
"""Unit (UDUNITS; empty for text) and meaning of each column."""


def schema(classes: Sequence[str]) -> Any:
    """The Arrow schema of the predictions table; each field's metadata has unit and meaning."""
    import pyarrow as pa

    kinds: dict[str, Any] = {
        "datetime": pa.timestamp("s", tz="UTC"),
        "latitude": pa.float64(),
        "longitude": pa.float64(),
        "width_px": pa.int32(),
        "height_px": pa.int32(),
        "raising_factor": pa.float64(),
    }
    for name in ("score", *(f"score_{label}" for label in classes), *_SIZES):
        kinds[name] = pa.float32()
    fields = []
    for name in columns(classes):
        unit, meaning = _MEANINGS.get(name, ("1", f"the model's score of {name[6:]}, 0 to 1"))
        about = {"meaning": meaning} | ({"unit": unit} if unit else {})
        fields.append(pa.field(name, kinds.get(name, pa.string()), metadata=about))
    return pa.schema(fields)


@dataclass(slots=True)
class UnitRecord:
    """The journal entry of one unit: all that the summary tables need of it.

    counts: (bin, minute ISO 8601 or "", label) -> images. folders: bin folder -> bins
    seen in it. hits_misses: bin folder -> rows; sidecars: -> the member they came from.
    backgrounds: bin folder -> mean grey of Background.tif's edge. fixes: (bin, minute) ->
    first and last position. gallery: label -> rank -> pictures. factors: of the minutes,
    where they are known.
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
        }


def part_stem(unit: str) -> str:
    """A file name for a unit: readable, safe on every system, unique by hash."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", unit.rpartition("/")[2])[:60].strip("._")
    digest = hashlib.sha256(unit.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{readable or 'part'}-{digest}"


def is_published(part: Path, entry: Path, unit: str, fingerprint: str) -> bool:
    """True where a part and its journal entry are whole, and of the unit as it is now."""
    try:
        said = json.loads(entry.read_text("utf-8")) if part.is_file() else {}
        same = said["unit"] == unit and said["fingerprint"] == fingerprint
        same = same and said["part_bytes"] == part.stat().st_size
        # what may succeed on a second try is tried again
        return same and not any(Code(failure[2]).retryable for failure in said["failures"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


def write_atomically(path: Path, data: bytes) -> None:
    """Publish ``data`` at ``path``: written beside, synced, renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise output_error(error, path) from error
        raise


class RunFolder:
    """The output folder of a run: opened new, resumed or overwritten; then written to."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self.path = path
        self.classes = tuple(classes)
        self.parts = path / PREDICTIONS
        self.journal = path / JOURNAL
        self._lock: Any = None

    def close(self) -> None:
        """Let other runs write to the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def open(self, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Make or reopen the folder. ``settings`` is what changes results, nothing else.

        Raises SettingError where the folder holds another run's results.
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
        known = self.journal / SETTINGS
        if not known.is_file():
            ours = (*self.parts.glob("*"), *(self.path / name for name in SUMMARIES))
            for path in ours:
                if path.exists():
                    raise SettingError(
                        f"{path} is there, but no run of this program; choose another --out"
                    )
        elif not (resume or overwrite):
            raise SettingError(
                f"{self.path} already holds a run; add --resume to go on with it, "
                "--overwrite to begin anew, or choose another --out"
            )
        self.parts.mkdir(parents=True, exist_ok=True)
        self.journal.mkdir(exist_ok=True)
        self._take_lock()
        if known.is_file():
            if overwrite:
                self._clear()
            else:
                self._check_same(known, settings)
        for folder in (self.parts, self.journal, self.path):
            for litter in folder.glob(".*.tmp"):
                # of a run that was killed: the lock tells that none is at work
                if _LITTER.fullmatch(litter.name) and litter.is_file():
                    litter.unlink(missing_ok=True)
        (self.path / "run.json").unlink(missing_ok=True)  # it says that a run is complete
        if not known.is_file():
            write_atomically(known, entry_bytes(settings))

    def _clear(self) -> None:
        # settings go last: a clear that is cut short still knows this folder as a run's
        for entry in self.parts.glob("*"):
            entry.unlink()
        for entry in self.journal.glob("*.json"):
            if entry.name != SETTINGS:
                entry.unlink()
        for name in SUMMARIES:
            (self.path / name).unlink(missing_ok=True)
        (self.journal / SETTINGS).unlink()

    @staticmethod
    def _check_same(known: Path, settings: dict[str, Any]) -> None:
        try:
            old = dict(json.loads(known.read_text("utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise SettingError(f"{known} cannot be read: {error}; use --overwrite") from error
        now = json.loads(entry_bytes(settings))
        changed = sorted(k for k in {*old, *now} if old.get(k) != now.get(k))
        if changed:
            what = "; ".join(f"{k} was {old.get(k)!r}, is {now.get(k)!r}" for k in changed)
            raise SettingError(
                f"cannot resume {known.parent.parent}: {what}. Results would not be of one kind: "
                "use the old settings, --overwrite, or another --out"
            )

    def is_done(self, unit: str, fingerprint: str) -> bool:
        """True where the unit's part is published and its content unchanged since."""
        return is_published(*self.paths_of(unit), unit, fingerprint)

    def paths_of(self, unit: str) -> tuple[Path, Path]:
        """Where the unit's part and its journal entry lie."""
        stem = part_stem(unit)
        return self.parts / f"{stem}.parquet", self.journal / f"{stem}.json"

    def part_published(self, stem: str) -> None:
        """Called once a unit's part is there: for folders that pass it on."""

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
        """The stems of all parts that are there."""
        return {path.stem for path in self.parts.glob("*.parquet")}

    def drop_recut_blocks(self, groups: dict[str, int]) -> None:
        """Remove blocks of a folder that now holds fewer: group -> its number of blocks."""
        for entry in self.entries():
            group = entry["group"]
            if group in groups and int(entry["unit"].rpartition("#")[2]) >= groups[group]:
                stem = part_stem(entry["unit"])
                (self.parts / f"{stem}.parquet").unlink(missing_ok=True)
                (self.journal / f"{stem}.json").unlink(missing_ok=True)


class PartWriter:
    """Writes one unit's rows in bounded memory, and publishes them at once or never."""

    def __init__(self, folder: RunFolder, unit: str) -> None:
        self._folder = folder
        self.classes = folder.classes
        self._stem = part_stem(unit)
        self._rows: list[tuple[Any, ...]] = []
        self._writer: Any = None
        self._temporary = folder.parts / f".{self._stem}.{os.getpid()}.tmp"

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take rows in the order of ``columns``."""
        self._rows.extend(rows)
        while len(self._rows) >= ROW_GROUP:
            self._write(self._rows[:ROW_GROUP])
            del self._rows[:ROW_GROUP]

    def _write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = schema(self._folder.classes)
        columns_ = zip(*rows, strict=True) if rows else [()] * len(kind)
        arrays = [pa.array(list(c), f.type) for c, f in zip(columns_, kind, strict=True)]
        try:
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._temporary, kind, compression="zstd")
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=kind))
        except OSError as error:
            raise output_error(error, self._temporary) from error

    def publish(self, record: UnitRecord) -> None:
        """Make the unit done: its journal entry first, its part last."""
        if self._rows or self._writer is None:
            self._write(self._rows)
            self._rows = []
        try:
            self._writer.close()
            self._writer = None
            if record.factors:
                filled = self._temporary.with_name(f".{self._stem}.filled.{os.getpid()}.tmp")
                fill(self._temporary, filled, record.factors)
                filled.replace(self._temporary)
            with self._temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            record.part_bytes = self._temporary.stat().st_size
            final = self._folder.parts / f"{self._stem}.parquet"
            # a stale part must not meet the new journal entry, were we killed in between
            final.unlink(missing_ok=True)
            write_atomically(
                self._folder.journal / f"{self._stem}.json", entry_bytes(record.to_json())
            )
            self._temporary.replace(final)
        except OSError as error:
            raise output_error(error, self._temporary) from error
        self._folder.part_published(self._stem)

    def abandon(self) -> None:
        """Leave nothing behind."""
        if self._writer is not None:
            with contextlib.suppress(OSError):  # a full disk may refuse even the closing
                self._writer.close()
            self._writer = None
        with contextlib.suppress(OSError):  # the next to open the folder removes it
            self._temporary.unlink(missing_ok=True)


class _LineFeeds:
    """Ends rows in a line feed; Python up to 3.12 would leave a lone CR in a name unquoted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """A CSV with line-feed ends, published atomically; None is an empty cell."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as stream:
            writer = csv.writer(_LineFeeds(stream), lineterminator="\r\n")
            writer.writerow(header)
            for row in rows:
                writer.writerow(["" if cell is None else cell for cell in row])
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise output_error(error, path) from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Publish JSON atomically; bytes of a path that are no UTF-8 become JSON escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def entry_bytes(value: Any) -> bytes:
    """A journal entry, or the settings, as they lie on disk."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True).encode() + b"\n"
