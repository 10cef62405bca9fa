"""Inputs that changed after they were done leave the part that holds what they were.

What a part holds is computed from its remaining rows and the ledger, not subtracted, so
that doing it twice, as after a kill, changes nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pi10_classifier.errors import output_error
from pi10_classifier.instrument import Kind, bin_folder, kind_of
from pi10_classifier.results import RunFolder, write_atomically
from pi10_classifier.watch.ledger import Counts, Ledger, minute_text
from pi10_classifier.watch.parts import remove_part


def amend(folder: RunFolder, ledger: Ledger) -> None:
    """Take superseded inputs out of their old parts. Raises OutputError."""
    query = "select s.part, p.stem from superseded s join parts p on p.id = s.part group by s.part"
    for part, stem in ledger.ask(query):
        gone = dict(ledger.ask("select name, outcome from superseded where part = ?", (part,)))
        query = "select outcome, count(*) from inputs where part = ? group by outcome"
        left = dict(ledger.ask(query, (part,)))
        counts = _rewrite(folder, stem, gone, left) if left else None
        if counts is None:  # an archive, the last input of a part, or a part that is no more
            remove_part(folder, stem)
            ledger.forget(part)
        else:
            ledger.recount(part, counts)


def _rewrite(
    folder: RunFolder, stem: str, gone: dict[str, str], left: dict[str, int]
) -> Counts | None:
    """Publish the part without ``gone``; None where its journal entry cannot be read."""
    entry = folder.journal / f"{stem}.json"
    try:
        said: dict[str, Any] = json.loads(entry.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    part = folder.parts / f"{stem}.parquet"
    temporary = part.with_name(f".{part.stem}.{os.getpid()}.tmp")
    counts = {(b, minute, label): n for b, minute, label, n in said["counts"]}
    results = said["totals"]["results"]
    rows = {name for name, outcome in gone.items() if outcome == "r"}
    try:
        if rows:
            counts, results = _without(part, rows, temporary)
            said["part_bytes"] = temporary.stat().st_size
        said["failures"] = [failure for failure in said["failures"] if failure[1] not in gone]
        said["totals"] = {
            "inputs": results + len(said["failures"]) + left.get("s", 0),
            "results": results,
            "failures": len(said["failures"]),
            "skipped": left.get("s", 0),
        }
        said["counts"] = sorted([*key, n] for key, n in counts.items())
        sidecars = {bin_folder(name) for name in gone if kind_of(name) is Kind.HITS_MISSES}
        said["hits_misses"] = {
            key: table
            for key, table in said["hits_misses"].items()
            if key.rpartition("|")[2] not in sidecars
        }
        write_atomically(entry, json.dumps(said, sort_keys=True).encode() + b"\n")
        if rows:
            temporary.replace(part)
    except OSError as error:
        raise output_error(error, part) from error
    finally:
        temporary.unlink(missing_ok=True)
    return counts


def _without(part: Path, gone: set[str], temporary: Path) -> tuple[Counts, int]:
    """Write the part's other rows; returns what they count, and how many they are."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(part)
    other = pc.invert(pc.is_in(table["member"], value_set=pa.array(sorted(gone), pa.string())))
    table = table.filter(other)
    pq.write_table(table, temporary, compression="zstd")
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())
    counts: Counts = {}
    columns = (table[name].to_pylist() for name in ("bin", "datetime", "label"))
    for bin_id, when, label in zip(*columns, strict=True):
        key = (bin_id or "", minute_text(when) if when else "", label)
        counts[key] = counts.get(key, 0) + 1
    return counts, table.num_rows
