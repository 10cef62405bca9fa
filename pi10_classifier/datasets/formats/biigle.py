"""BIIGLE: the CSV report of image labels, one row a label.

Columns as in https://biigle.de/manual/tutorials/reports/reports-schema#image-label-csv-report.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import IO, BinaryIO

from pi10_classifier.datasets.formats.image_labels import ImageLabels
from pi10_classifier.datasets.records import Sample
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.formats.lines import lines, table

COLUMNS = (
    "image_label_id", "image_id", "filename", "longitude", "latitude", "user_id", "firstname",
    "lastname", "label_id", "label_name", "label_hierarchy",
)  # fmt: skip
_NEEDED = ("filename", "label_name")


def read_biigle(stream: BinaryIO, title: str) -> list[ImageLabels]:
    """The labels of images; annotations of parts, which have a shape, are counted as such.

    Raises SettingError.
    """
    images: dict[str, ImageLabels] = {}
    text = lines(stream, lambda line: line.decode("utf-8"), title)
    try:
        for number, row in enumerate(table(text, ",", _NEEDED, title), 1):
            if not row["filename"]:
                raise SettingError(f"{title}, row {number} has no filename; export it again")
            image = images.setdefault(row["filename"], ImageLabels(row["filename"]))
            if row.get("shape_name") or row.get("annotation_label_id"):
                image.parts += 1
            else:
                image.add(row["label_name"])
    except UnicodeDecodeError as error:
        raise SettingError(f"{title} is no CSV in UTF-8: {error}; save it as UTF-8") from error
    return list(images.values())


def write_biigle(stream: IO[str], samples: Sequence[tuple[str, Sample]]) -> None:
    """Write images by name, with their classes; ids are numbers from 1."""
    classes = sorted({sample.group for _, sample in samples})
    number_of = {name: number for number, name in enumerate(classes, 1)}
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(COLUMNS)
    for number, (name, sample) in enumerate(samples, 1):
        label = sample.group
        rows.writerow((number, number, name, *[""] * 5, number_of[label], label, label))
