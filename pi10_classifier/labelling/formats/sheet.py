"""Labels as CSV, for a spreadsheet or a script: ``particle_id,label``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.crops import Located
from pi10_classifier.labelling.formats.given import Reading, plain
from pi10_classifier.labelling.formats.lines import lines, table

NEEDED = ("particle_id", "label")
EMPTY = ("na", "n/a", "nan")  # what R and pandas write for an empty cell
# a spreadsheet takes the separator of its country
_DELIMITERS = (",", ";", "\t")


def read_sheet(path: Path) -> Reading:
    """Read a CSV with the columns particle_id and label, and labeller where there is one.

    Separators are commas, semicolons or tabs; text is UTF-8. Raises SettingError.
    """
    reading = Reading("csv")
    with path.open("rb") as stream:
        head = stream.readline(2**16).decode("utf-8", "replace")
        stream.seek(0)
        delimiter = max(_DELIMITERS, key=head.count)
        text = lines(stream, lambda line: line.decode("utf-8"), str(path))
        try:
            for row in table(text, delimiter, NEEDED, str(path)):
                labeller = row.get("labeller", "")
                label = "" if row["label"].strip().lower() in EMPTY else row["label"]
                reading.given.append(plain(row["particle_id"], label, labeller))
        except UnicodeDecodeError as error:
            raise SettingError(f"{path} is no CSV in UTF-8: {error}; save it as UTF-8") from error
    return reading


def sheet(
    sample: Sequence[Located], label_of: Mapping[str, str], *, show_predicted: bool
) -> Iterator[str]:
    """The lines of a CSV to fill in; the predicted class is left out, so that it does not lead."""
    names = ["particle_id", "label", "source", "member", "datetime"]
    yield _line(names + ["predicted"] * show_predicted)
    for particle in sample:
        name = particle.particle_id
        cells = [name, label_of.get(name, ""), particle.source, particle.member, particle.datetime]
        yield _line(cells + [particle.predicted] * show_predicted)


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
