"""``HitsMisses.txt``: how many particles the instrument counted and how many it saved."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pi10_classifier.instrument.names import BIN_MINUTES, Rows

MAX_HITS_MISSES_ROWS = 1440


MAX_HITS_MISSES_BYTES = 65_536


_TOTALS = re.compile(r"(total|sum)", re.IGNORECASE)


def note_hits_misses(
    tables: dict[str, Rows], members: dict[str, str], folder: str, member: str, rows: Rows
) -> None:
    """Enter the rows of a folder's HitsMisses.txt, and the member they came from.

    The same member again is a newer copy, and used. Of another one that differs nobody knows
    which is right: no rows at all.
    """
    known = tables.get(folder, rows)
    tables[folder] = rows if known == rows or members.get(folder) == member else ()
    members[folder] = member


@dataclass(frozen=True, slots=True)
class HitsMisses:
    """Per minute of a bin: particles saved (hits) and counted but not saved (misses)."""

    rows: Rows

    @classmethod
    def parse(cls, data: bytes) -> HitsMisses:
        """Read ``HitsMisses.txt``: ``hits,misses`` a minute, with or without a header.

        A blank row between others is a minute of which nothing is known: None, so that the
        others keep their minutes. A row of totals, named so, is no minute and left out.
        Raises ValueError naming the line that is not two whole numbers.
        """
        if len(data) > MAX_HITS_MISSES_BYTES:
            raise ValueError(f"HitsMisses has {len(data):,} bytes, beyond any bin's")
        rows: list[tuple[int, int] | None] = []
        may_be_header, swapped = True, False
        # a line end that was translated twice is one line end, not a blank line
        text = data.replace(b"\r\r\n", b"\n").decode("utf-8-sig", "replace")
        for number, line in enumerate(text.splitlines(), start=1):
            cells = [cell.strip() for cell in re.split(r"[,;\t]", line)]
            if not any(cells):
                rows.append(None)
                continue
            header = may_be_header and len(cells) == 2 and all(c[:1].isalpha() for c in cells)
            may_be_header = False
            if header:
                swapped = cells[0].lower().startswith("miss")
                rows.clear()  # what stands above a header is no minute
                continue
            if _TOTALS.match(cells[0]):
                continue
            if len(cells) != 2 or not all(c.isascii() and c.isdigit() for c in cells):
                raise ValueError(f"HitsMisses line {number} is {line[:40]!r}, not 'hits,misses'")
            if any(len(cell) > 12 for cell in cells):
                raise ValueError(f"HitsMisses line {number} holds a number beyond 12 digits")
            hits, misses = reversed(cells) if swapped else cells
            rows.append((int(hits), int(misses)))
        while rows and rows[-1] is None:  # nor those below the last
            rows.pop()
        # written with a blank line after each: no minute between two
        if len(rows) > BIN_MINUTES and not any(rows[1::2]):
            rows = rows[::2]
        while len(rows) > BIN_MINUTES and rows[0] is None:  # an empty line above a whole bin
            rows.pop(0)
        if len(rows) > MAX_HITS_MISSES_ROWS:
            raise ValueError(f"HitsMisses has more than {MAX_HITS_MISSES_ROWS} rows")
        return cls(tuple(rows))
