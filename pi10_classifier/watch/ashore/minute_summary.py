"""Composes one short JSON line per minute: what was published, queued and sampled.

A line counts the parts that no earlier line has counted, and never changes. So the lines add up to
the dataset, even if the process was killed in between. Densities are those of ``abundance``, over
the instrument's complete minutes, each of which is in one line only.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pi10_classifier.abundance.density import Density, Sums, densities, total_of
from pi10_classifier.abundance.minutes import CountRow, MinuteKey, Table, minute_rows
from pi10_classifier.abundance.quality import FLAGS, ONE_MINUTE, in_order
from pi10_classifier.drift.chart import Monitors
from pi10_classifier.drift.reference import Reference
from pi10_classifier.drift.sums import Minutes, add, from_json
from pi10_classifier.instrument.names import NO_PARTICLE, Bin
from pi10_classifier.watch.ledger import KEPT_LINES, POSITION, Ledger

LINE_BYTES = 500
_REST = "_rest"
_SHORTEST = 4  # numbers of a class's density
_TOLD = "position told"
_AHEAD_MINUTES = 60  # by which a fix may be ahead of its line; shore refuses more
CHARTS = "drift"  # the fact with the state of the charts


@dataclass(frozen=True, slots=True)
class LinkState:
    """What a line has besides counts.

    backlog: inputs that were seen and are not done. more: the backlog may be longer, as the queue
    is full. trouble: failure code that pauses the work, or "".
    """

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
    reference: Reference | None = None,
) -> str:
    """Make the line of ``minute`` and store it for sending; returns it, without its line feed.

    is_quiet: called with a bin and a minute ("" for all minutes of the bin); True where no image
    has come for so long that no more are expected. reference: what drift is told by, of the parts
    that no earlier line has counted. Raises OutputError.
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
            **_position(db, minute),
            **(_drift(db, reference) if reference else {}),
            **sampled,
        }
        line = fitted(fields)
        db.execute("update parts set line = ?, drift = null where line is null", (seq,))
        db.executemany(
            "update sampled set line = ? where bin = ? and minute = ?",
            ((seq, bin_id, when) for bin_id, when in closed),
        )
        db.execute("insert into lines values (?, ?, ?)", (seq, fields["minute"], line))
    return line


def _drift(db: Any, reference: Reference) -> dict[str, Any]:
    """What differs from the reference now: quantity -> height of its chart over the limit."""
    facts = dict(db.execute("select name, value from facts where name = ?", (CHARTS,)))
    monitors = Monitors(reference, json.loads(facts[CHARTS]) if facts else None)
    minutes: Minutes = {}
    query = "select drift from parts where line is null and drift is not null order by id"
    for (counts,) in db.execute(query):
        add(minutes, from_json(reference, json.loads(counts)))
    for bin_id, minute in sorted(minutes, key=lambda key: (key[1], key[0])):
        if minute:
            monitors.take(bin_id, minutes[bin_id, minute])
    db.execute("insert or replace into facts values (?, ?)", (CHARTS, json.dumps(monitors.state)))
    return {"drift": {name: round(height, 1) for name, height in monitors.alarms.items()}}


def _position(db: Any, minute: datetime) -> dict[str, Any]:
    """The newest fix, where no earlier line has told it: latitude, longitude, minutes ago."""
    facts = dict(db.execute("select name, value from facts where name like 'position%'"))
    fix = facts.get(POSITION)
    if fix is None or fix == facts.get(_TOLD):
        return {}
    when, north, east = json.loads(fix)
    ago = (minute - _time(f"{when[:16]}:00Z")) // ONE_MINUTE
    if ago < -_AHEAD_MINUTES:  # of a wrong clock: ashore the whole line would be refused
        return {}
    db.execute("insert or replace into facts values (?, ?)", (_TOLD, fix))
    return {"at": [round(north, 4), round(east, 4), ago]}


def _prune(db: Any, seq: int) -> int:
    """Delete the oldest lines; returns the total number of lines deleted before being sent."""
    facts = dict(db.execute("select name, value from facts").fetchall())
    sent, dropped = int(facts.get("sent", 0)), int(facts.get("dropped", 0))
    oldest = db.execute("select min(seq) from lines").fetchone()[0] or seq
    keep_from = seq - KEPT_LINES + 1
    if oldest < keep_from:
        unsent = max(0, keep_from - max(oldest, sent + 1))
        # without a receiver, no line is lost
        dropped += unsent if facts.get("sending") else 0
        db.execute("delete from lines where seq < ?", (keep_from,))
        db.execute("insert or replace into facts values ('dropped', ?)", (str(dropped),))
    return dropped


def _closed(ledger: Ledger, is_quiet: Callable[[str, str], bool]) -> list[tuple[str, str]]:
    """(bin, minute) whose images are all published, or of which no more are expected."""
    waiting = ledger.ask("select bin, minute, hits from sampled where line is null")
    last = dict(ledger.ask("select bin, max(minute) from sampled group by bin")) if waiting else {}
    closed = []
    for bin_id, minute, hits in waiting:
        if minute == last[bin_id]:
            is_complete = is_quiet(
                bin_id, ""
            )  # the last row of a bin that is being recorded may grow
        else:
            # broken images are hits too, so a minute may never have as many results as hits
            is_complete = _images(ledger, bin_id, minute).total() >= hits or is_quiet(
                bin_id, minute
            )
        if is_complete:
            closed.append((bin_id, minute))
    return closed


def _images(ledger: Ledger, bin_id: str, minute: str) -> Counter[str]:
    query = "select label, count from images where bin = ? and minute = ?"
    return Counter(dict(ledger.ask(query, (bin_id, minute))))


def _sampled(
    ledger: Ledger, closed: Sequence[tuple[str, str]], classes: Sequence[str]
) -> dict[str, Any]:
    """Hits, misses and densities over closed minutes, and how many have no density."""
    rows: list[CountRow] = []
    flags: set[str] = set()
    unknown = 0
    for bin_id in sorted({bin_id for bin_id, _ in closed}):
        bin_ = Bin.parse(bin_id)
        table = _table(ledger, bin_id, bin_.start if bin_ else None)
        wanted = {_time(minute) for of_bin, minute in closed if of_bin == bin_id}
        counts: dict[MinuteKey, int] = {
            (bin_id, _time(minute), label): count
            for of_bin, minute in closed
            if of_bin == bin_id
            for label, count in _images(ledger, bin_id, minute).items()
        }
        every_row = minute_rows(
            counts, {bin_id: table}, {bin_id: bin_.start if bin_ else None}, classes
        )
        with_density = [
            row for row in every_row if row.minute in wanted and row.raised_count is not None
        ]
        unknown += len(wanted - {row.minute for row in with_density})
        rows += with_density
        # of the sample alone: fixes are not known here
        flags |= {f for row in every_row if row.minute in wanted for f in row.flags if f in FLAGS}
    fields: dict[str, Any] = {"no_density": unknown} if unknown else {}
    if flags := flags - {NO_PARTICLE}:
        fields["flags"] = list(in_order(flags))
    if not rows:
        return fields
    by_minute = {(row.bin, row.minute): row for row in rows}
    minutes = sorted(row.minute for row in by_minute.values() if row.minute)
    totals = [total_of(row.sums for row in rows if row.label == label) for label in classes]
    return fields | {
        "from": f"{minutes[0].replace(tzinfo=None).isoformat(timespec='minutes')}Z",
        "minutes": len(by_minute),
        "hits": sum(row.hits or 0 for row in by_minute.values()),
        "misses": sum(row.misses or 0 for row in by_minute.values()),
        # of the images of any class; with it, densities of lines can be pooled exactly
        "weight": _short(max(total.largest for total in totals)),
        "density": {
            label: [_short(value) for value in _values(density, total)]
            for label, total, density in zip(classes, totals, densities(totals), strict=True)
            if density
        },
    }  # fmt: skip


def _values(density: Density, total: Sums) -> list[float | None]:
    """Raised count, per litre, low, high; of several minutes also the variance and the sd."""
    values: list[float | None]
    values = [density.raised_count, density.per_litre, density.low, density.high]
    return values if total.minutes == 1 else [*values, total.variance, total.sd]


def _table(ledger: Ledger, bin_id: str, start: datetime | None) -> Table:
    """Hits and misses of the bin's minutes, from its start; None where they are unknown."""
    query = "select minute, hits, misses from sampled where bin = ?"
    rows = {_time(minute): (hits, misses) for minute, hits, misses in ledger.ask(query, (bin_id,))}
    if not rows or start is None:
        return []
    minutes = (max(rows) - start) // ONE_MINUTE + 1
    return [rows.get(start + number * ONE_MINUTE) for number in range(minutes)]


def _time(minute: str) -> datetime:
    return datetime.strptime(minute, "%Y-%m-%dT%H:%M:00Z").replace(tzinfo=UTC)


def _short(value: float | None) -> float | int | None:
    """The value to four significant digits."""
    if value is None or not math.isfinite(value):
        return value
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() else rounded


def fitted(fields: dict[str, Any]) -> str:
    """The line as JSON, under 500 bytes with its line feed.

    Where it would be longer, the variances and standard deviations are left out first. Then the
    text of the trouble is cut, flags, all but the highest of drift, and counts of 0 are left out.
    Then rare classes have only their raised count (``raised``), and at last they share one count
    (``n``) and one raised count (``rest``). With ``rest``, every class that is not in the line has
    0 individuals of its own, so that the sums of lines stay right.
    """
    fields = {**fields, "n": dict(fields["n"])}
    if "density" in fields:
        fields["density"] = dict(fields["density"])
    while len(line := _json(fields)) + 1 >= LINE_BYTES and _shortened(fields):
        pass
    return line


def _shortened(fields: dict[str, Any]) -> bool:
    """Make the line shorter by one step; False where nothing more can be left out."""
    density: dict[str, list[float]] = fields.get("density", {})
    counts: dict[str, int] = fields["n"]
    if any(len(values) > _SHORTEST for values in density.values()):
        fields["density"] = {label: values[:_SHORTEST] for label, values in density.items()}
    elif fields.get("trouble"):
        fields["trouble"] = fields["trouble"][: len(fields["trouble"]) // 2]
    elif fields.get("flags"):
        fields["flags"] = fields["flags"][:-1]
    elif len(drift := fields.get("drift", {})) > 1:
        highest = max(drift, key=lambda name: abs(drift[name]))
        fields["drift"] = {highest: drift[highest]}
    elif empty := [label for label, count in counts.items() if not count]:
        del counts[empty[-1]]
    elif density:
        fields.setdefault("rest", 0)
        least = min(density, key=lambda label: density[label][0])
        if raised := density.pop(least)[0]:
            fields.setdefault("raised", {})[least] = raised
    elif len(raised := fields.get("raised", {})) >= len(counts) and raised:
        least = min(raised, key=lambda label: raised[label])
        fields["rest"] = _short(fields["rest"] + raised.pop(least))
    elif labels := [label for label in counts if label != _REST]:
        least = min(labels, key=lambda label: counts[label])
        counts[_REST] = counts.get(_REST, 0) + counts.pop(least)
    else:
        return False
    return True


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))
