"""Questions to a store: what a ship sampled in a time, its track, its gaps, and its state."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pi10_classifier.abundance.density import Sums
from pi10_classifier.abundance.quality import BAD, FLAGS
from pi10_classifier.shore.receiver.database import Database
from pi10_classifier.shore.receiver.hourly_sums import TRACK_MINUTES, zeros
from pi10_classifier.shore.receiver.lines import LineError, parse, position_of
from pi10_classifier.shore.voyages.series import Fix, Gap, Stretch

DAY = 1440
SHOWN_PICTURES = 24
_BAD = frozenset(name for name, flag in FLAGS.items() if flag.codes == BAD)
_FOREVER = 2**40  # minutes: a stored line was checked against the clock when it came


@dataclass(frozen=True, slots=True)
class ShipState:
    """How a ship does, by the lines that have come. Times are epoch minutes, or None.

    received: when the last line came. minute: that of the newest line. missing: lines that were
    made, have not come, and still may: neither lost aboard (dropped) nor refused here.
    backlog_hours: at the rate of the last hour. lag: by how much the newest line's minute was
    ahead of our clock (negative: late) when it came. drift: of the newest line, as in ``Line``.
    """

    name: str
    received: int | None = None
    minute: int | None = None
    model: str = ""
    backlog: int = 0
    more: bool = False
    trouble: str = ""
    dropped: int = 0
    missing: int = 0
    images_per_minute: float = 0.0
    backlog_hours: float | None = None
    failed_share: float = 0.0
    ahead_minutes: int = 0
    position: Fix | None = None
    refused: int = 0
    refused_reason: str = ""
    drift: Mapping[str, float] = field(default_factory=dict)


class Reader:
    """Reads a store that another thread writes. Its answers raise OutputError."""

    def __init__(self, database: Database) -> None:
        self.ask = database.ask

    def picture(self, number: int) -> bytes | None:
        """The JPEG of a picture; None where there is none, or no more."""
        rows = self.ask("select jpeg from pictures where picture = ?", (number,))
        return bytes(rows[0][0]) if rows else None

    def ships(self) -> list[ShipLines]:
        """Every ship, also one that has sent nothing."""
        rows = self.ask("select name, ship from ships")
        return [ShipLines(self, name, ship) for name, ship in sorted(rows)]


class ShipLines:
    """A ship's lines as a voyage."""

    def __init__(self, reader: Reader, name: str, ship: int) -> None:
        self.name = name
        self._ship = ship
        self._ask = reader.ask

    def extent(self) -> tuple[int, int] | None:
        row = self._ask("select min(hour), max(hour) from hours where ship = ?", (self._ship,))[0]
        return None if row[0] is None else (row[0] * 60, (row[1] + 1) * 60)

    def stretches(self, start: int, end: int, step: int) -> list[Stretch]:
        """From the hourly sums, or for steps below an hour from the lines themselves."""
        if step < 60:
            return self._by_line(start, end)
        span = (self._ship, start // 60, (end + 59) // 60)
        out: dict[int, Stretch] = {}

        def at(hour: int) -> Stretch:
            return out.setdefault(hour, Stretch(hour * 60))

        within = "where ship = ? and hour >= ? and hour < ?"
        for hour, *values in self._ask(
            "select hour, lines, failed, skipped, no_density, minutes, hits, misses "  # noqa: S608  # nosec B608
            f"from hours {within}",
            span,
        ):
            stretch = at(hour)
            (
                stretch.lines, stretch.failed, stretch.skipped, stretch.no_density,
                stretch.minutes, stretch.hits, stretch.misses,
            ) = values  # fmt: skip
        for hour, label, *values, unknown in self._ask(
            "select hour, label, minutes, raised, variance, largest, litres, squares, unknown "  # noqa: S608  # nosec B608
            f"from densities {within}",
            span,
        ):
            at(hour).sums[label] = Sums(*values)
            at(hour).unknown[label] = unknown
        for hour, label, images in self._ask(
            f"select hour, label, images from images {within}",  # noqa: S608  # nosec B608
            span,
        ):
            at(hour).images[label] = images
        for hour, flag, minutes in self._ask(
            f"select hour, flag, minutes from flags {within}",  # noqa: S608  # nosec B608
            span,
        ):
            at(hour).flags[flag] = minutes
        return [out[hour] for hour in sorted(out)]

    def without_bad(self, start: int, end: int) -> Stretch:
        """Of a line of several minutes, which says not which is bad, all minutes are left out."""
        places = ",".join("?" * len(_BAD))
        hours = {
            hour for (hour,) in self._ask(
                "select distinct hour from flags where ship = ? and hour >= ? and hour < ? "  # noqa: S608  # nosec B608
                f"and flag in ({places})",
                (self._ship, start // 60, (end + 59) // 60, *_BAD),
            )
        }  # fmt: skip
        good = Stretch(start)
        for stretch in self.stretches(start, end, 60):
            if stretch.start // 60 not in hours:
                good.add(stretch)
                continue
            for part in self._by_line(stretch.start, stretch.start + 60):
                if not _BAD & part.flags.keys():
                    good.add(part)
        return good

    def _by_line(self, start: int, end: int) -> list[Stretch]:
        out: dict[int, Stretch] = {}

        def at(minute: int) -> Stretch:
            return out.setdefault(minute, Stretch(minute))

        texts: dict[str, None] = {}
        for column in ("minute", "sampled"):
            texts |= dict.fromkeys(
                text for (text,) in self._ask(
                    "select line from lines where source in "  # noqa: S608  # nosec B608
                    f"(select source from sources where ship = ?) and {column} >= ? "
                    f"and {column} < ?",
                    (self._ship, start, end),
                )
            )  # fmt: skip
        classes: dict[str, list[str]] = defaultdict(list)
        for model, label in self._ask(
            "select model, label from classes where ship = ?", (self._ship,)
        ):
            classes[model].append(label)
        for text in texts:
            line = parse(text, _FOREVER)
            if start <= line.minute < end:
                stretch = at(line.minute)
                stretch.lines += 1
                stretch.failed += line.failed
                stretch.skipped += line.skipped
                stretch.images.update(line.counts)
            sampled = line.minute if line.sampled is None else line.sampled
            if not start <= sampled < end:
                continue
            sums = dict(line.sums)
            for label in classes[line.model] if line.complete else ():
                sums.setdefault(label, zeros(line.minutes))
            part = Stretch(
                sampled, sums=sums, minutes=line.minutes, no_density=line.no_density,
                hits=line.hits, misses=line.misses,
            )  # fmt: skip
            for label in line.sums if line.spread_unknown else ():
                part.unknown[label] = line.minutes
            for flag in line.flags:
                part.flags[flag] = max(line.minutes, 1)
            at(sampled).add(part)
        return [out[minute] for minute in sorted(out)]

    def track(self, start: int, end: int, *, fine: bool = False) -> list[Fix]:
        if not fine:
            query = (
                "select minute, latitude, longitude from track where ship = ? and slot >= ? "
                "and slot < ? order by slot"
            )
            slots = start // TRACK_MINUTES, -(-end // TRACK_MINUTES)
            rows = self._ask(query, (self._ship, *slots))
            return [(minute, north, east) for minute, north, east in rows if minute < end]
        rows = self._ask(
            # a fix is a little older than its line
            "select minute, line from lines where source in (select source from sources where "
            "ship = ?) and minute >= ? and minute < ?",
            (self._ship, start, end + 60),
        )
        fixes = (position_of(json.loads(text), minute) for minute, text in rows if '"at"' in text)
        return sorted(fix for fix in fixes if fix and start <= fix[0] < end)

    def pictures(self) -> list[dict[str, Any]]:
        """The newest pictures that have come, without their bytes."""
        rows = self._ask(
            "select picture, received / 60, particle, label, score, esd_um from pictures "
            "where ship = ? order by picture desc limit ?",
            (self._ship, SHOWN_PICTURES),
        )
        names = ("picture", "received", "particle_id", "label", "score", "esd_um")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def gaps(self, start: int, end: int) -> list[Gap]:
        gaps = []
        for since, until in self._incomplete(start, end):
            rows = self._ask(
                "select minute, source, seq from lines where source in (select source from sources "
                "where ship = ?) and minute >= ? and minute < ? order by minute",
                (self._ship, since, until),
            )
            for (before, source, seq), (minute, next_source, next_seq) in pairwise(rows):
                if minute - before > 1:
                    missing = next_seq - seq - 1 if source == next_source else 0
                    gaps.append(Gap(before + 1, minute, max(missing, 0)))
        return gaps

    def _incomplete(self, start: int, end: int) -> list[tuple[int, int]]:
        """Times that may have gaps, each with the minutes beside it, from the hourly sums."""
        senders = self._ask(
            "select count(*) from sources s where ship = ? and exists (select 1 from lines l "
            "where l.source = s.source and l.minute >= ? and l.minute < ?)",
            (self._ship, start, end),
        )[0][0]
        if senders != 1:  # lines of several folders may fill an hour's number twice
            return [(start, end)]
        first, last = start // 60, (end + 59) // 60
        rows = self._ask(
            "select hour, lines from hours where ship = ? and hour >= ? and hour < ? "
            "and lines > 0 order by hour",
            (self._ship, first, last),
        )
        lines = dict(rows)
        out: list[tuple[int, int]] = []
        for hour in range(rows[0][0], rows[-1][0] + 1):
            if lines.get(hour) == 60:
                continue
            since, until = max(start, hour * 60 - 1), min(end, hour * 60 + 61)
            if out and since <= out[-1][1]:
                out[-1] = out[-1][0], until
            else:
                out.append((since, until))
        return out

    def _refused(self, source: int, last: int) -> int:
        """Number of an output folder's lines up to number ``last`` that came and were refused."""
        query = (
            "select count(*) from refused_numbers r where source = ? and seq < ? and not exists "
            "(select 1 from lines l where l.source = r.source and l.seq = r.seq)"
        )
        return int(self._ask(query, (source, last))[0][0])

    def state(self) -> ShipState:
        """How the ship does now."""
        refused = self._ask(
            "select cast(sum(times) as bigint), (select reason from refused where ship = ? "
            "order by received desc limit 1), (select times from refused_beyond where ship = ?) "
            "from refused where ship = ?",
            (self._ship,) * 3,
        )[0]
        counted = (refused[0] or 0) + (refused[2] or 0)
        newest = self._ask(
            "select s.received, s.minute, l.line, l.received from sources s join lines l "
            "on l.source = s.source and l.seq = s.seq where s.ship = ? order by s.minute desc",
            (self._ship,),
        )
        if not newest:
            return ShipState(self.name, refused=counted, refused_reason=refused[1] or "")
        received, minute, text, came = newest[0]
        try:
            line = parse(text, _FOREVER)
        except LineError:  # of a later version's store
            return ShipState(self.name, received // 60, minute)
        senders = self._ask("select source, seq, held from sources where ship = ?", (self._ship,))
        refused_lines = sum(self._refused(source, seq) for source, seq, _ in senders)
        lost = sum(json.loads(row[2]).get("dropped", 0) for row in newest)
        hours = self._ask(
            "select cast(sum(lines) as bigint), cast(sum(failed) as bigint), (select "
            "cast(sum(images) as bigint) from images i where i.ship = ? and i.hour > ?) "
            "from hours where ship = ? and hour > ?",
            (self._ship, minute // 60 - 2) * 2,
        )[0]
        images, lines, failed = hours[2] or 0, hours[0] or 1, hours[1] or 0
        rate = images / lines
        track = self._ask(
            "select minute, latitude, longitude from track where ship = ? order by slot desc "
            "limit 1",
            (self._ship,),
        )
        return ShipState(
            name=self.name, received=max(row[0] for row in newest) // 60, minute=minute,
            model=line.model, backlog=line.backlog, more=line.more, trouble=line.trouble,
            dropped=lost,
            missing=max(0, sum(seq - held for _, seq, held in senders) - lost - refused_lines),
            images_per_minute=rate,
            backlog_hours=line.backlog / rate / 60 if rate else None,
            failed_share=failed / (failed + images) if failed + images else 0.0,
            ahead_minutes=minute - came // 60,
            position=tuple(track[0]) if track else None,
            refused=counted, refused_reason=refused[1] or "", drift=line.drift or {},
        )  # fmt: skip
