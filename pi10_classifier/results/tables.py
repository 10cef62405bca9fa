"""Writes ``counts.csv``, ``bins.csv``, ``failures.csv`` and ``run.json`` from a run's journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from pi10_classifier.abundance.bins import BinRow, bin_rows, means
from pi10_classifier.abundance.density import Density
from pi10_classifier.abundance.minutes import CountRow, Table, minute_rows
from pi10_classifier.abundance.quality import FLAGS
from pi10_classifier.abundance.track import Fixes, Place, Where, merge
from pi10_classifier.drift.sums import Minutes, add, from_json
from pi10_classifier.errors import Code
from pi10_classifier.foundation.files import write_csv
from pi10_classifier.instrument.hits_misses import note_hits_misses
from pi10_classifier.instrument.names import NO_PARTICLE, Bin, Rows
from pi10_classifier.results.drift_table import FILE, Alarms, cell, warnings_of, write_drift
from pi10_classifier.results.run_folder import DRIFT, GROUPS, UNLIKE, RunFolder

# flags of bins that the user is warned of, and what to do
_REMEDIES = {
    "hits_without_images": "check failures.csv, and whether the images were moved away",
    "clock_outside_bin": "set the instrument's clock, or correct the images' times",
    "images_beyond_hits": "remove copies from the inputs",
    "mostly_blank": "look at the images; lamp, camera or cropping has failed",
    "hits_unseen": "check failures.csv, and whether images were moved away",
    "clock_shifted": "set the instrument's clock, or correct the images' times",
    "hits_misses_unknown": "mend HitsMisses.txt",
    "surplus_rows": "check HitsMisses.txt",
    "no_hits_misses": "put HitsMisses.txt next to the images: without it there is no density",
    "no_flow": "check whether the pump ran",
}


@dataclass(slots=True)
class Tally:
    """The totals of the whole output folder.

    densities: ``abundance.means`` of all minutes. factors: the raising factor of each minute.
    unlike_training: images with this flag by label; empty where the model cannot tell. groups:
    images by group; empty where groups were not asked for. drift: the alarms of each bin; None
    without a reference.
    """

    totals: Counter[str] = field(default_factory=Counter)
    failures_by_code: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    unlike_training: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    bins: int = 0
    densities: dict[str, dict[str, Density | None]] = field(default_factory=dict)
    factors: dict[Place, float] = field(default_factory=dict)
    drift: Alarms | None = None

    @property
    def adds_up(self) -> bool:
        """True if inputs = results + failures + skipped."""
        t = self.totals
        return t["inputs"] == t["results"] + t["failures"] + t["skipped"]


@dataclass(slots=True)
class JournalSums:
    """Sums of the journal's entries over minutes and bin folders."""

    counts: Counter[tuple[str, datetime | None, str]] = field(default_factory=Counter)
    unlike_training: Counter[tuple[str, datetime | None, str]] = field(default_factory=Counter)
    fixes: dict[Place, Fixes] = field(default_factory=dict)
    folders: dict[str, set[str]] = field(default_factory=dict)
    hits_misses: dict[str, Rows] = field(default_factory=dict)
    sidecars: dict[str, str] = field(default_factory=dict)
    backgrounds: dict[str, float] = field(default_factory=dict)

    def take(self, entry: dict[str, Any]) -> None:
        for bin_id, minute, label, count in entry["counts"]:
            self.counts[bin_id, minute_of(minute), label] += count
        for bin_id, minute, label, count in entry.get(UNLIKE, ()):
            self.unlike_training[bin_id, minute_of(minute), label] += count
        for bin_id, minute, *moments in entry["fixes"]:
            place = (bin_id, minute_of(minute))
            first, last = tuple(moments[:3]), tuple(moments[3:])
            self.fixes[place] = merge(self.fixes.get(place), (first, last))
        for key, bins in entry["folders"].items():
            self.folders.setdefault(key, set()).update(bins)
        for key, rows in entry["hits_misses"].items():
            table = tuple((row[0], row[1]) if row else None for row in rows)
            member = entry["sidecars"].get(key, "")
            note_hits_misses(self.hits_misses, self.sidecars, key, member, table)
        self.backgrounds.update(entry["backgrounds"])


def summarise(folder: RunFolder) -> Tally:
    """Write the summary tables of all published units, and return the totals."""
    tally = Tally(Counter(inputs=0, results=0, failures=0, skipped=0))
    tally.labels.update(dict.fromkeys(folder.classes, 0))
    write_csv(
        folder.path / "failures.csv",
        ("source", "member", "code", "message", "retryable"),
        _failures(folder, tally),
    )
    sums, drift = JournalSums(), Minutes()
    for entry in folder.entries():
        tally.totals.update(entry["totals"])
        for _, _, label, count in entry["counts"]:
            tally.labels[label] += count
        tally.groups.update(entry.get(GROUPS, {}))
        sums.take(entry)
        if folder.reference:
            add(drift, from_json(folder.reference, entry.get(DRIFT, ())))
    if folder.reference:
        tally.drift = write_drift(folder.path / FILE, folder.reference, drift)
    by_minute = rows_of(sums, folder.classes, tally.warnings)
    unlike = sums.unlike_training
    by_bin = bin_rows(by_minute)
    in_bins: Counter[tuple[str, str]] = Counter()
    for (bin_id, _, label), count in unlike.items():
        in_bins[bin_id, label] += count
        tally.unlike_training[label] += count
    in_minutes = [unlike[row.bin, row.minute, row.label] for row in by_minute]
    _write_rows(folder, "counts.csv", CountRow, by_minute, in_minutes, None)
    whole = [in_bins[row.bin, row.label] for row in by_bin]
    _write_rows(folder, "bins.csv", BinRow, by_bin, whole, tally.drift)
    tally.bins = len({row.bin for row in by_bin})
    tally.densities = means(by_minute)
    tally.factors = {
        (row.bin, row.minute): row.raising_factor
        for row in by_minute
        if row.raising_factor is not None
    }
    tally.warnings += _warnings(by_bin) + warnings_of(tally.drift or {})
    return tally


def rows_of(sums: JournalSums, classes: Sequence[str], warnings: list[str]) -> list[CountRow]:
    """The rows of all minutes; warnings for the user are added to ``warnings``."""
    homes: dict[str, list[str]] = {}
    for key, bins_inside in sorted(sums.folders.items()):
        for bin_id in bins_inside:
            homes.setdefault(bin_id, []).append(key)
    hits_misses = _by_bin(homes, sums, warnings)
    several = {bin_id for bin_id, keys in homes.items() if len(keys) > 1}
    bins = {key[0] for key in sums.counts} | set(hits_misses)
    starts: dict[str, datetime | None] = {}
    for bin_id in bins:
        parsed = Bin.parse(bin_id)
        # a bin of the year 9999 may have no next minute
        starts[bin_id] = parsed.start if parsed and parsed.start.year < 9999 else None
    backgrounds = {
        bin_id: sums.backgrounds[key]
        for key, bins_inside in sorted(sums.folders.items())
        if key in sums.backgrounds and len(bins_inside) == 1
        for bin_id in bins_inside
    }
    return minute_rows(sums.counts, hits_misses, starts, classes, backgrounds, sums.fixes, several)


def _warnings(rows: Sequence[BinRow]) -> list[str]:
    bins = {row.bin: row.flags for row in rows if row.label != NO_PARTICLE and row.bin}
    messages = []
    for flag, remedy in _REMEDIES.items():
        some = [bin_id for bin_id, flags in sorted(bins.items()) if flag in flags]
        if some:
            named = ", ".join(some[:3]) + (" and others" if len(some) > 3 else "")
            messages.append(
                f"{len(some):,} of {len(bins):,} bins ({named}): {FLAGS[flag].meaning}; {remedy}"
            )
    return messages


def _failures(folder: RunFolder, tally: Tally) -> Iterator[tuple[Any, ...]]:
    for entry in folder.entries():
        for source, member, code, message in entry["failures"]:
            tally.failures_by_code[code] += 1
            yield source, member, code, message, str(Code(code).retryable).lower()


def _by_bin(
    homes: dict[str, list[str]], sums: JournalSums, warnings: list[str]
) -> dict[str, Table]:
    """Give each bin the HitsMisses of its folder; none if that would be a guess.

    homes: bin -> its folders.
    """
    folders, tables = sums.folders, sums.hits_misses
    given: dict[str, Table] = {}
    for bin_id, keys in sorted(homes.items()):
        if len(keys) > 1:
            places = ", ".join(key.rstrip("|") for key in keys[:3])
            warnings.append(
                f"bin {bin_id} occurs in {len(keys)} places ({places}); if they are copies, leave "
                "one out: their particles are in the tables twice"
            )
        rows = [tables[key] for key in keys if key in tables and len(folders[key]) == 1]
        if rows and all(other == rows[0] for other in rows):
            given[bin_id] = rows[0]
    known: dict[datetime, list[str]] = {}
    for bin_id in homes:
        if parsed := Bin.parse(bin_id):
            known.setdefault(parsed.start, []).append(bin_id)
    for key, rows_ in sorted(tables.items()):
        bins = folders.get(key, set())
        if not rows_:
            warnings.append(
                f"{key.rstrip('|').replace('|', '/')}: HitsMisses.txt is not used, because it is "
                "empty or there are two different ones; keep the right one"
            )
        elif len(bins) > 1:
            warnings.append(
                f"{key.partition('|')[0]}: HitsMisses.txt is not used, because there are "
                f"{len(bins)} bins and it is unclear to which one it belongs; put each bin in "
                "its own folder"
            )
        elif not bins:
            # no particle was saved, or they are elsewhere: only the folder names the bin
            source, _, inner = key.partition("|")
            place = f"{source}/{inner}" if inner else source
            bin_ = Bin.from_archive(place)
            twins = known.get(bin_.start, []) if bin_ else []
            lacking = sorted(set(twins) - set(given))
            if lacking or any(list(given[twin]) == list(rows_) for twin in twins):
                if lacking:
                    warnings.append(
                        f"{place} holds HitsMisses.txt without images, and images of "
                        f"{', '.join(lacking)} are elsewhere without it, so they have no density; "
                        "put them together and classify again"
                    )
            elif bin_ and str(bin_) not in given:
                given[str(bin_)] = rows_
    return given


def minute_of(text: str) -> datetime | None:
    """The time of a minute in the journal."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:00Z").replace(tzinfo=UTC) if text else None


def _write_rows(
    folder: RunFolder, name: str, kind: type, rows: Sequence[Any], unlike: Sequence[int],
    drift: Alarms | None,
) -> None:  # fmt: skip
    """unlike: images of each row that are unlike training; a column if the model tells them.

    drift: a column unless None.
    """
    header = _columns(kind)
    header += [UNLIKE] if folder.novelty else []
    header += [DRIFT] if drift is not None else []

    def cells() -> Iterator[list[Any]]:
        for row, number in zip(rows, unlike, strict=True):
            yield [
                *as_cells(row).values(),
                *([number] if folder.novelty else []),
                *([cell(drift, row.bin)] if drift is not None else []),
            ]

    write_csv(folder.path / name, header, cells())


def as_cells(row: CountRow | BinRow) -> dict[str, Any]:
    """Column -> cell of the tables; the field ``where`` is replaced by its own columns."""
    cells: dict[str, Any] = {}
    for name in row.__slots__:
        value = getattr(row, name)
        cells |= value._asdict() if isinstance(value, Where) else {name: value}
    return {name: _cell(value, name.endswith("itude")) for name, value in cells.items()}


def _columns(kind: type) -> list[str]:
    names = [[f.name] if f.name != "where" else Where._fields for f in fields(kind)]
    return [name for some in names for name in some]


def bins_of(entries: Iterable[dict[str, Any]], classes: Sequence[str]) -> list[BinRow]:
    """The rows of ``bins.csv`` from journal entries alone."""
    sums = JournalSums()
    for entry in entries:
        sums.take(entry)
    return bin_rows(rows_of(sums, classes, []))


def _cell(value: Any, degrees: bool) -> Any:
    if degrees and value is not None:
        return f"{value:.5f}"  # a metre
    if isinstance(value, datetime):
        return f"{value.replace(tzinfo=None).isoformat(timespec='seconds')}Z"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return ";".join(value)
    return value
