"""Removes inputs that changed or moved from the parts that hold their old results.

The counts of a part are computed again from its remaining rows and the ledger, not subtracted. So
repeating it after a kill changes nothing.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pi10_classifier.drift.sums import columns_of, count_images, to_json
from pi10_classifier.foundation.files import atomic_path, write_atomically
from pi10_classifier.instrument.names import Kind, bin_folder, kind_of
from pi10_classifier.results.run_folder import DRIFT, RunFolder
from pi10_classifier.watch.ledger import Counts, Ledger, minute_text
from pi10_classifier.watch.publisher import remove_part


def remove_superseded(folder: RunFolder, ledger: Ledger) -> None:
    """Remove superseded inputs from their old parts. Raises OutputError."""
    superseded: dict[tuple[int, str], dict[str, str]] = {}
    query = "select part, stem, name, outcome from superseded join parts on id = part"
    for part, stem, name, outcome in ledger.ask(query):
        superseded.setdefault((part, stem), {})[name] = outcome
    remaining = _remaining(ledger) if superseded else {}
    for (part, stem), names in sorted(superseded.items()):
        counts = _rewrite(folder, stem, names, remaining[part]) if part in remaining else None
        if counts is None:  # an archive, a part without other inputs, or one that is missing
            remove_part(folder, stem)
            ledger.forget(part, empty=part not in remaining)
        else:
            ledger.recount(part, counts, names)


def _remaining(ledger: Ledger) -> dict[int, dict[str, int]]:
    """Part -> outcome -> number of its inputs that are not superseded."""
    remaining: dict[int, dict[str, int]] = {}
    for table in ("inputs", "away"):
        query = (
            f"select part, outcome, count(*) from {table} "  # noqa: S608  # nosec B608
            "where part in (select part from superseded) group by part, outcome"
        )
        for part, outcome, count in ledger.ask(query):
            by_outcome = remaining.setdefault(part, {})
            by_outcome[outcome] = by_outcome.get(outcome, 0) + count
    return remaining


def _rewrite(
    folder: RunFolder, stem: str, superseded: dict[str, str], remaining: dict[str, int]
) -> Counts | None:
    """Publish the part without ``superseded``; None where its journal entry is unreadable."""
    entry = folder.journal / f"{stem}.json"
    try:
        record: dict[str, Any] = json.loads(entry.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    part = folder.parts / f"{stem}.parquet"
    counts = {(b, minute, label): n for b, minute, label, n in record["counts"]}
    reference = folder.reference
    results = record["totals"]["results"]
    rows = {name for name, outcome in superseded.items() if outcome == "r"}
    with atomic_path(part) if rows else nullcontext(part) as temporary:
        if rows:
            counts, record["folders"], table = _write_without(part, rows, temporary)
            results = table.num_rows
            if reference:
                columns = {name: table[name].to_pylist() for name in columns_of(reference)}
                record[DRIFT] = to_json(count_images(reference, columns))
            record["part_bytes"] = temporary.stat().st_size
        record["failures"] = [
            failure for failure in record["failures"] if failure[1] not in superseded
        ]
        record["totals"] = {
            "inputs": results + len(record["failures"]) + remaining.get("s", 0),
            "results": results,
            "failures": len(record["failures"]),
            "skipped": remaining.get("s", 0),
        }
        record["counts"] = sorted([*key, n] for key, n in counts.items())
        sidecars = {bin_folder(name) for name in superseded if kind_of(name) is Kind.HITS_MISSES}
        record["hits_misses"] = {
            key: table
            for key, table in record["hits_misses"].items()
            if key.rpartition("|")[2] not in sidecars
        }
        write_atomically(entry, json.dumps(record, sort_keys=True).encode() + b"\n")
    return counts


def _write_without(
    part: Path, superseded: set[str], temporary: Path
) -> tuple[Counts, dict[str, list[str]], Any]:
    """Write the part's other rows; returns their counts, their folders and their table."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(part)
    other = pc.invert(
        pc.is_in(table["member"], value_set=pa.array(sorted(superseded), pa.string()))
    )
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
    return counts, {key: sorted(bins) for key, bins in folders.items()}, table
