"""The journal of a run -> ``counts.csv``, ``bins.csv``, ``failures.csv`` and ``run.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from pi10_classifier.abundance import BinRow, CountRow, bin_rows, minute_rows
from pi10_classifier.errors import Code
from pi10_classifier.instrument import Bin
from pi10_classifier.results import RunFolder, write_csv


@dataclass(slots=True)
class Tally:
    """What the whole output folder holds."""

    totals: Counter[str] = field(default_factory=Counter)
    failures_by_code: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    bins: int = 0

    @property
    def adds_up(self) -> bool:
        """True where inputs = results + failures + skipped."""
        t = self.totals
        return t["inputs"] == t["results"] + t["failures"] + t["skipped"]


def summarise(folder: RunFolder) -> Tally:
    """Write the summary tables of all published units, and return the totals."""
    tally = Tally(Counter(inputs=0, results=0, failures=0, skipped=0))
    tally.labels.update(dict.fromkeys(folder.classes, 0))
    write_csv(
        folder.path / "failures.csv",
        ("source", "member", "code", "message", "retryable"),
        _failures(folder, tally),
    )
    counts: Counter[tuple[str, datetime | None, str]] = Counter()
    folders: dict[str, set[str]] = {}
    found: dict[str, list[tuple[int, int]]] = {}
    for entry in folder.entries():
        tally.totals.update(entry["totals"])
        for bin_id, minute, label, count in entry["counts"]:
            counts[bin_id, _minute(minute), label] += count
            tally.labels[label] += count
        for key, bins in entry["folders"].items():
            folders.setdefault(key, set()).update(bins)
        for key, rows in entry["hits_misses"].items():
            found[key] = [(hits, misses) for hits, misses in rows]
    hits_misses = _by_bin(folders, found, tally)
    starts: dict[str, datetime | None] = {}
    for bin_id in {key[0] for key in counts} | set(hits_misses):
        parsed = Bin.parse(bin_id)
        # a bin of the year 9999 may have no next minute
        starts[bin_id] = parsed.start if parsed and parsed.start.year < 9999 else None
    by_minute = minute_rows(counts, hits_misses, starts, folder.classes)
    _write_rows(folder, "counts.csv", CountRow, by_minute)
    by_bin = bin_rows(by_minute)
    _write_rows(folder, "bins.csv", BinRow, by_bin)
    tally.bins = len({row.bin for row in by_bin})
    return tally


def _failures(folder: RunFolder, tally: Tally) -> Iterator[tuple[Any, ...]]:
    for entry in folder.entries():
        for source, member, code, message in entry["failures"]:
            tally.failures_by_code[code] += 1
            yield source, member, code, message, str(Code(code).retryable).lower()


def _by_bin(
    folders: dict[str, set[str]], found: dict[str, list[tuple[int, int]]], tally: Tally
) -> dict[str, list[tuple[int, int]]]:
    """Give each bin the HitsMisses of its folder; none where it would be a guess."""
    homes: dict[str, list[str]] = {}
    for key, bins in sorted(folders.items()):
        for bin_id in bins:
            homes.setdefault(bin_id, []).append(key)
    given: dict[str, list[tuple[int, int]]] = {}
    for bin_id, keys in sorted(homes.items()):
        if len(keys) > 1:
            places = ", ".join(key.rstrip("|") for key in keys[:3])
            tally.warnings.append(
                f"bin {bin_id} occurs in {len(keys)} places ({places}); if they are copies, its "
                "particles are counted twice: leave one out"
            )
        rows = [found[key] for key in keys if key in found and len(folders[key]) == 1]
        if rows and all(other == rows[0] for other in rows):
            given[bin_id] = rows[0]
    for key, rows_ in sorted(found.items()):
        bins = folders.get(key, set())
        if len(bins) > 1:
            tally.warnings.append(
                f"{key.partition('|')[0]}: one HitsMisses.txt for {len(bins)} bins; "
                "not used, for it is unclear whose it is"
            )
        elif not bins:
            # no particle was saved: the bin is known by its folder alone, and is a zero
            source, _, inner = key.partition("|")
            bin_ = Bin.from_archive(f"{source}/{inner}" if inner else source)
            if bin_ and str(bin_) not in given:
                given[str(bin_)] = rows_
    return given


def _minute(text: str) -> datetime | None:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:00Z").replace(tzinfo=UTC) if text else None


def _write_rows(folder: RunFolder, name: str, kind: type, rows: list[Any]) -> None:
    header = [f.name for f in fields(kind)]
    write_csv(folder.path / name, header, ([_cell(v) for v in astuple(row)] for row in rows))


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.replace(tzinfo=None).isoformat(timespec='seconds')}Z"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return ";".join(value)
    return value
