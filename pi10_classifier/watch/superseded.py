"""Removes inputs that changed or moved from the parts that hold their old results.

What a part holds is computed from its remaining rows and the ledger, not subtracted, so
that doing it twice, as after a kill, changes nothing.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pi10_classifier.foundation.files import atomic_path, write_atomically
from pi10_classifier.instrument.names import Kind, bin_folder, kind_of
from pi10_classifier.results.run_folder import RunFolder
from pi10_classifier.watch.ledger import Counts, Ledger, minute_text
from pi10_classifier.watch.publisher import remove_part


def remove_superseded(folder: RunFolder, ledger: Ledger) -> None:
    """Take superseded inputs out of their old parts. Raises OutputError."""
    gone: dict[tuple[int, str], dict[str, str]] = {}
    query = "select part, stem, name, outcome from superseded join parts on id = part"
    for part, stem, name, outcome in ledger.ask(query):
        gone.setdefault((part, stem), {})[name] = outcome
    left = _left(ledger) if gone else {}
    for (part, stem), names in sorted(gone.items()):
        counts = _rewrite(folder, stem, names, left[part]) if part in left else None
        if counts is None:  # an archive, the last input of a part, or a part that is no more
            remove_part(folder, stem)
            ledger.forget(part, empty=part not in left)
        else:
            ledger.recount(part, counts, names)


def _left(ledger: Ledger) -> dict[int, dict[str, int]]:
    """Part -> outcome -> how many inputs it holds besides those that are to leave."""
    left: dict[int, dict[str, int]] = {}
    for table in ("inputs", "away"):
        query = (
            f"select part, outcome, count(*) from {table} "  # noqa: S608  # nosec B608
            "where part in (select part from superseded) group by part, outcome"
        )
        for part, outcome, count in ledger.ask(query):
            by_outcome = left.setdefault(part, {})
            by_outcome[outcome] = by_outcome.get(outcome, 0) + count
    return left


def _rewrite(
    folder: RunFolder, stem: str, gone: dict[str, str], left: dict[str, int]
) -> Counts | None:
    """Publish the part without ``gone``; None where its journal entry cannot be read."""
    entry = folder.journal / f"{stem}.json"
    try:
        record: dict[str, Any] = json.loads(entry.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    part = folder.parts / f"{stem}.parquet"
    counts = {(b, minute, label): n for b, minute, label, n in record["counts"]}
    results = record["totals"]["results"]
    rows = {name for name, outcome in gone.items() if outcome == "r"}
    with atomic_path(part) if rows else nullcontext(part) as temporary:
        if rows:
            counts, record["folders"], results = _without(part, rows, temporary)
            record["part_bytes"] = temporary.stat().st_size
        record["failures"] = [failure for failure in record["failures"] if failure[1] not in gone]
        record["totals"] = {
            "inputs": results + len(record["failures"]) + left.get("s", 0),
            "results": results,
            "failures": len(record["failures"]),
            "skipped": left.get("s", 0),
        }
        record["counts"] = sorted([*key, n] for key, n in counts.items())
        sidecars = {bin_folder(name) for name in gone if kind_of(name) is Kind.HITS_MISSES}
        record["hits_misses"] = {
            key: table
            for key, table in record["hits_misses"].items()
            if key.rpartition("|")[2] not in sidecars
        }
        write_atomically(entry, json.dumps(record, sort_keys=True).encode() + b"\n")
    return counts


def _without(
    part: Path, gone: set[str], temporary: Path
) -> tuple[Counts, dict[str, list[str]], int]:
    """Write the part's other rows; returns what they count, their folders, how many they are."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(part)
    other = pc.invert(pc.is_in(table["member"], value_set=pa.array(sorted(gone), pa.string())))
    table = table.filter(other)
    pq.write_table(table, temporary, compression="zstd")
    counts: Counts = {}
    columns = (table[name].to_pylist() for name in ("bin", "datetime", "label"))
    for bin_id, when, label in zip(*columns, strict=True):
        key = (bin_id or "", minute_text(when) if when else "", label)
        counts[key] = counts.get(key, 0) + 1
    folders: dict[str, set[str]] = {}
    columns = (table[name].to_pylist() for name in ("source", "member", "bin"))
    for source, member, bin_id in zip(*columns, strict=True):
        if bin_id:
            folders.setdefault(f"{source}|{bin_folder(member)}", set()).add(bin_id)
    return counts, {key: sorted(bins) for key, bins in folders.items()}, table.num_rows
