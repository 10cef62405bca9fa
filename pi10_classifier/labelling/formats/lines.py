"""Lines and tables of text files from outside, within limits."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from pi10_classifier.errors import SettingError

_LONGEST = 4 * 2**20  # bytes of one line


def lines(stream: BinaryIO, decode: Callable[[bytes], str], title: str) -> Iterator[str]:
    """Decode a stream line by line. Raises SettingError for a line without end."""
    first = True
    while line := stream.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise SettingError(f"{title} has a line of more than {_LONGEST:,} bytes: not a table")
        if first:
            line, first = line.removeprefix(b"\xef\xbb\xbf"), False
        yield decode(line)


def table(
    text: Iterator[str], delimiter: str, needed: Sequence[str], title: str
) -> Iterator[dict[str, str]]:
    """The rows of a table with a header, its names in lower case and without spaces around.

    Raises SettingError where a needed column is missing or the quoting is broken.
    """
    reader = csv.reader(text, delimiter=delimiter)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in needed if name not in names]
        if missing:
            raise SettingError(
                f"{title} lacks the column {', '.join(missing)}; it has "
                f"{', '.join(name[:60] for name in names[:20]) or 'none'}"
            )
        for cells in reader:
            if cells:
                row = dict.fromkeys(names, "")
                row.update(zip(names, (cell.strip() for cell in cells), strict=False))
                yield row
    except csv.Error as error:
        raise SettingError(f"{title}, line {reader.line_num}, is no row: {error}") from error
