"""Reads ``HitsMisses.txt``: how many particles the instrument counted and how many it saved."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pi10_classifier.instrument.names import BIN_MINUTES, Rows

MAX_HITS_MISSES_ROWS = 1440
MAX_HITS_MISSES_BYTES = 65_536
_UNKNOWN = frozenset({"", "na", "n/a", "nan", "null", "none"})  # as tables write no number
_TOTALS = re.compile(r"(total|sum)", re.IGNORECASE)


def note_hits_misses(
    tables: dict[str, Rows], members: dict[str, str], folder: str, member: str, rows: Rows
) -> None:
    """Store the rows of a folder's HitsMisses.txt, and the member that they came from.

    The same member again is a newer copy and replaces the first. Where another member has
    different rows, neither can be trusted: the rows become empty.
    """
    known = tables.get(folder, rows)
    tables[folder] = rows if known == rows or members.get(folder) == member else ()
    members[folder] = member


@dataclass(frozen=True, slots=True)
class HitsMisses:
    """For each minute of a bin: particles saved (hits), and counted but not saved (misses)."""

    rows: Rows

    @classmethod
    def parse(cls, data: bytes) -> HitsMisses:
        """Read ``HitsMisses.txt``: ``hits,misses`` per minute, with or without a header.

        A blank row between others, and a row of NA or nan, is an unknown minute: None, so that the
        others keep their minutes. A row that is named as totals is left out. Raises ValueError
        with the line that does not hold two whole numbers.
        """
        if len(data) > MAX_HITS_MISSES_BYTES:
            raise ValueError(
                f"HitsMisses has {len(data):,} bytes, more than the {MAX_HITS_MISSES_BYTES:,} "
                "that a bin can have"
            )
        rows: list[tuple[int, int] | None] = []
        may_be_header, swapped, empty_above = True, False, 0
        # "\r\r\n" comes from translating a line end twice: it is one line end
        text = data.replace(b"\r\r\n", b"\n").decode("utf-8-sig", "replace")
        for number, line in enumerate(text.splitlines(), start=1):
            cells = [cell.strip() for cell in re.split(r"[,;\t]", line)]
            if all(cell.lower() in _UNKNOWN for cell in cells):
                # a row without numbers is a minute too: the rows below keep their minutes
                may_be_header = may_be_header and not any(cells)
                empty_above += may_be_header
                rows.append(None)
                continue
            header = may_be_header and len(cells) == 2 and all(c[:1].isalpha() for c in cells)
            may_be_header = False
            if header:
                swapped = cells[0].lower().startswith("miss")
                rows.clear()  # lines above a header are not minutes
                empty_above = 0
                continue
            if _TOTALS.match(cells[0]):
                continue
            if len(cells) != 2 or not all(c.isascii() and c.isdigit() for c in cells):
                raise ValueError(f"HitsMisses line {number} is {line[:40]!r}, not 'hits,misses'")
            if any(len(cell) > 12 for cell in cells):
                raise ValueError(f"HitsMisses line {number} holds a number of over 12 digits")
            hits, misses = reversed(cells) if swapped else cells
            rows.append((int(hits), int(misses)))
        while rows and rows[-1] is None:  # blank lines below the last minute
            rows.pop()
        # a file with a blank line after each row
        if len(rows) > BIN_MINUTES and not any(rows[1::2]):
            rows = rows[::2]
        for _ in range(min(empty_above, len(rows) - BIN_MINUTES)):  # empty lines above a whole bin
            rows.pop(0)
        if len(rows) > MAX_HITS_MISSES_ROWS:
            raise ValueError(f"HitsMisses has more than {MAX_HITS_MISSES_ROWS} rows")
        return cls(tuple(rows))
