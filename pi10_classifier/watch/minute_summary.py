"""Composes one short JSON line per minute: what was published, queued and sampled.

A line is made once, of parts that no earlier line has counted, and never changes: so lines add up
to the dataset, whatever was killed in between. Densities are those of ``abundance``, over the
instrument's minutes that are complete, each told once.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pi10_classifier.abundance.bins import pool
from pi10_classifier.abundance.minutes import CountRow, MinuteKey, Table, minute_rows
from pi10_classifier.abundance.quality import ONE_MINUTE
from pi10_classifier.instrument.names import Bin
from pi10_classifier.watch.ledger import KEPT_LINES, Ledger

LINE_BYTES = 500
_REST = "_rest"


@dataclass(frozen=True, slots=True)
class LinkState:
    """What a line says beside counts. backlog: inputs seen and not done, at least."""

    backlog: int
    more: bool
    trouble: str


def compose(
    ledger: Ledger,
    minute: datetime,
    model_sha256: str,
    classes: Sequence[str],
    state: LinkState,
    is_quiet: Callable[[str, str], bool],
) -> str:
    """Make the line of ``minute`` and keep it for sending; returns it, without its line feed.

    is_quiet: whether nothing has come of a bin's minute ("" any of its minutes) for so long
    that nothing more is expected.
    Raises OutputError.
    """
    closed = _closed(ledger, is_quiet)
    sampled = _sampled(ledger, closed, classes) if closed else {}
    with ledger.transaction() as db:
        rows = db.execute("select counts, failed, skipped from parts where line is null")
        labels: Counter[str] = Counter(dict.fromkeys(classes, 0))
        failed = skipped = 0
        for counts, part_failed, part_skipped in rows:
            for _, _, label, count in json.loads(counts):
                labels[label] += count
            failed, skipped = failed + part_failed, skipped + part_skipped
        seq = (db.execute("select max(seq) from lines").fetchone()[0] or 0) + 1
        dropped = _prune(db, seq)
        fields: dict[str, Any] = {
            "id": ledger.id,
            "seq": seq,
            "minute": f"{minute.replace(tzinfo=None).isoformat(timespec='minutes')}Z",
            "model": model_sha256[:8],
            "n": dict(labels),
            "failed": failed,
            "skipped": skipped,
            "backlog": state.backlog,
            **({"more": True} if state.more else {}),
            **({"trouble": state.trouble} if state.trouble else {}),
            **({"dropped": dropped} if dropped else {}),
            **sampled,
        }
        line = fitted(fields)
        db.execute("update parts set line = ? where line is null", (seq,))
        db.executemany(
            "update sampled set line = ? where bin = ? and minute = ?",
            ((seq, bin_id, when) for bin_id, when in closed),
        )
        db.execute("insert into lines values (?, ?, ?)", (seq, fields["minute"], line))
    return line


def _prune(db: Any, seq: int) -> int:
    """Keep the newest lines; returns how many were dropped in all before they were sent."""
    facts = dict(db.execute("select name, value from facts").fetchall())
    sent, dropped = int(facts.get("sent", 0)), int(facts.get("dropped", 0))
    oldest = db.execute("select min(seq) from lines").fetchone()[0] or seq
    keep_from = seq - KEPT_LINES + 1
    if oldest < keep_from:
        unsent = max(0, keep_from - max(oldest, sent + 1))
        # without anybody to send to, nothing is lost by it
        dropped += unsent if facts.get("sending") else 0
        db.execute("delete from lines where seq < ?", (keep_from,))
        db.execute("insert or replace into facts values ('dropped', ?)", (str(dropped),))
    return dropped


def _closed(ledger: Ledger, is_quiet: Callable[[str, str], bool]) -> list[tuple[str, str]]:
    """(bin, minute) of which all images are in, or no more are to be expected."""
    waiting = ledger.ask("select bin, minute, hits from sampled where line is null")
    last = dict(ledger.ask("select bin, max(minute) from sampled group by bin")) if waiting else {}
    closed = []
    for bin_id, minute, hits in waiting:
        if minute == last[bin_id]:
            over = is_quiet(bin_id, "")  # the last row of a bin at work may still grow
        else:
            # broken images are hits, too: so a minute may never have as many results
            over = _images(ledger, bin_id, minute).total() >= hits or is_quiet(bin_id, minute)
        if over:
            closed.append((bin_id, minute))
    return closed


def _images(ledger: Ledger, bin_id: str, minute: str) -> Counter[str]:
    query = "select label, count from images where bin = ? and minute = ?"
    return Counter(dict(ledger.ask(query, (bin_id, minute))))


def _sampled(
    ledger: Ledger, closed: Sequence[tuple[str, str]], classes: Sequence[str]
) -> dict[str, Any]:
    """Hits, misses and densities over closed minutes of any bins, and how many have none."""
    rows: list[CountRow] = []
    unknown = 0
    for bin_id in sorted({bin_id for bin_id, _ in closed}):
        found = Bin.parse(bin_id)
        table = _table(ledger, bin_id, found.start if found else None)
        wanted = {_time(minute) for of, minute in closed if of == bin_id}
        counts: dict[MinuteKey, int] = {
            (bin_id, _time(minute), label): count
            for of, minute in closed
            if of == bin_id
            for label, count in _images(ledger, bin_id, minute).items()
        }
        made = minute_rows(
            counts, {bin_id: table}, {bin_id: found.start if found else None}, classes
        )
        known = [row for row in made if row.minute in wanted and row.raised_count is not None]
        unknown += len(wanted - {row.minute for row in known})
        rows += known
    fields: dict[str, Any] = {"no_density": unknown} if unknown else {}
    if not rows:
        return fields
    each = {(row.bin, row.minute): row for row in rows}
    minutes = sorted(row.minute for row in each.values() if row.minute)
    pooled = {label: pool(r for r in rows if r.label == label) for label in classes}
    return fields | {
        "from": f"{minutes[0].replace(tzinfo=None).isoformat(timespec='minutes')}Z",
        "minutes": len(each),
        "hits": sum(row.hits or 0 for row in each.values()),
        "misses": sum(row.misses or 0 for row in each.values()),
        # raised count, per litre, low, high
        "density": {
            label: [_short(v) for v in (row.raised_count, row.per_litre, row.low, row.high)]
            for label, row in pooled.items()
            if row
        },
    }  # fmt: skip


def _table(ledger: Ledger, bin_id: str, start: datetime | None) -> Table:
    """The bin's rows by minute; None for those of which nothing is known."""
    query = "select minute, hits, misses from sampled where bin = ?"
    rows = {_time(minute): (hits, misses) for minute, hits, misses in ledger.ask(query, (bin_id,))}
    if not rows or start is None:
        return []
    minutes = (max(rows) - start) // ONE_MINUTE + 1
    return [rows.get(start + number * ONE_MINUTE) for number in range(minutes)]


def _time(minute: str) -> datetime:
    return datetime.strptime(minute, "%Y-%m-%dT%H:%M:00Z").replace(tzinfo=UTC)


def _short(value: float | None) -> float | int | None:
    """Four significant digits."""
    if value is None or not math.isfinite(value):
        return value
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() else rounded


def fitted(fields: dict[str, Any]) -> str:
    """The line as JSON, below 500 bytes with its line feed: rare classes share one count."""
    fields = {**fields, "n": dict(fields["n"])}
    if "density" in fields:
        fields["density"] = dict(fields["density"])
    while len(line := _json(fields)) + 1 >= LINE_BYTES:
        labels = [label for label in fields["n"] if label != _REST]
        if fields.get("trouble"):
            fields["trouble"] = fields["trouble"][: len(fields["trouble"]) // 2]
        elif fields.get("density"):
            least = min(fields["density"], key=lambda label: fields["n"].get(label, 0))
            del fields["density"][least]
        elif labels:
            least = min(labels, key=lambda label: fields["n"][label])
            fields["n"][_REST] = fields["n"].get(_REST, 0) + fields["n"].pop(least)
        else:
            break
    return line


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))
