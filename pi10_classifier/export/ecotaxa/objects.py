"""The object part of a table's lines: one for each particle, with its picture's name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.ecotaxa.annotations import COLUMNS as ANNOTATION
from pi10_classifier.export.ecotaxa.annotations import Annotations
from pi10_classifier.export.ecotaxa.draw import bins_of, minutes_of
from pi10_classifier.labelling.formats.ecotaxa_bundle import object_id
from pi10_classifier.labelling.formats.given import picture_stem

MOST_TEXT = 250  # characters of EcoTaxa's text columns
UNNAMED = "unnamed"
_MOST_FREE = 500  # numbers of an object
_BATCH = 2048
_MEASURED = ("esd_um", "major_um", "minor_um", "feret_um", "perimeter_um", "solidity", "mean_grey")
_OWN = 5 + len(_MEASURED)  # free numbers beside the scores
READ = (
    "particle_id", "source", "member", "bin", "datetime", "latitude", "longitude", "label", "score",
    "area_um2", *_MEASURED, "flags", "width_px", "height_px",
)  # fmt: skip
_TEXTS = frozenset(
    {
        "img_file_name", "object_id", "object_date", "object_time", "object_predicted",
        "object_flags", "object_original", *ANNOTATION,
    }
) - {"object_annotation_category_id"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A line without the cells of its sample, acquisition and process.

    minute: since 1970, ``NO_MINUTE`` unknown. notes: outcome and column of each cell that could
    not be written as it was.
    """

    bin: str
    minute: int
    picture: str
    text: str
    is_validated: bool
    notes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of objects. scores: column of the run -> column of the table."""

    scores: dict[str, str]
    without_score: tuple[str, ...]

    @classmethod
    def of(cls, classes: Sequence[str]) -> Layout:
        """EcoTaxa has room for 500 numbers of an object: of more classes, the first have scores."""
        scores: dict[str, str] = {}
        most = _MOST_FREE - _OWN
        for label in classes[:most]:
            stem = name = f"object_score_{re.sub(r'[^a-z0-9]+', '_', label.lower()).strip('_')}"
            number = 2
            while name in scores.values():
                name, number = f"{stem}_{number}", number + 1
            scores[f"score_{label}"] = name
        return cls(scores, tuple(classes[most:]))

    @property
    def names(self) -> tuple[str, ...]:
        return (
            "img_file_name", "img_rank", "object_id", "object_lat", "object_lon", "object_date",
            "object_time", "object_depth_min", "object_depth_max", *ANNOTATION, "object_predicted",
            "object_score", *self.scores.values(), "object_area", "object_area_um2",
            *(f"object_{name}" for name in _MEASURED), "object_touches_border", "object_flags",
            "object_original",
        )  # fmt: skip

    @property
    def types(self) -> tuple[str, ...]:
        return tuple("[t]" if name in _TEXTS else "[f]" for name in self.names)

    @property
    def read(self) -> tuple[str, ...]:
        """The columns of the run that lines are made of."""
        return (*READ, *self.scores)


class Lines:
    """The lines of a part's rows. table: Arrow, with the columns ``Layout.read``."""

    def __init__(
        self,
        table: Any,
        layout: Layout,
        annotations: Annotations,
        facts: DatasetFacts,
        um_per_px: float,
    ) -> None:
        self._table = table
        self._layout = layout
        self._annotations = annotations
        self._um2_per_px = um_per_px**2
        self._depth = f"{facts.intake_depth_m:.9g}"
        # rows are asked for almost in their order
        self._batch = lru_cache(maxsize=8)(self._make)

    def __getitem__(self, row: int) -> Line:
        return self._batch(row // _BATCH)[row % _BATCH]

    def _make(self, number: int) -> list[Line]:
        import pyarrow as pa
        import pyarrow.compute as pc

        table = self._table.slice(number * _BATCH, _BATCH)
        count = table.num_rows
        ids = table["particle_id"].to_pylist()
        bins = bins_of(table)
        notes = _Notes(count)
        labels = table["label"].to_pylist()
        pairs = [self._annotations.of(*pair) for pair in zip(ids, labels, strict=True)]
        annotated = list(zip(*(cells for cells, _ in pairs), strict=True))
        when = table["datetime"].cast(pa.timestamp("s"))
        pictures = [
            f"images/{name or UNNAMED}/{picture_stem(key)}.png"
            for name, key in zip(bins, ids, strict=True)
        ]
        areas = table["area_um2"]
        flags = table["flags"].to_pylist()
        originals = zip(table["source"].to_pylist(), table["member"].to_pylist(), strict=True)
        columns: list[Sequence[str]] = [
            pictures,
            ["0"] * count,
            notes.ids(ids),
            notes.numbers(table["latitude"], "object_lat", 90.0),
            notes.numbers(table["longitude"], "object_lon", 180.0),
            [text or "" for text in pc.strftime(when, format="%Y%m%d").to_pylist()],
            [text or "" for text in pc.strftime(when, format="%H%M%S").to_pylist()],
            [self._depth] * count,
            [self._depth] * count,
            *(notes.texts(cells, name) for name, cells in zip(ANNOTATION, annotated, strict=True)),
            notes.texts(labels, "object_predicted"),
            notes.numbers(table["score"], "object_score"),
            *(notes.numbers(table[own], name) for own, name in self._layout.scores.items()),
            notes.numbers(pc.divide(areas, self._um2_per_px), "object_area"),
            notes.numbers(areas, "object_area_um2"),
            *(notes.numbers(table[name], f"object_{name}") for name in _MEASURED),
            ["1" if "touches_border" in text.split(";") else "0" for text in flags],
            notes.texts(flags, "object_flags"),
            # the end tells more than the beginning
            notes.texts([f"{a}/{b}" for a, b in originals], "object_original", keep_end=True),
        ]
        texts = map("\t".join, zip(*columns, strict=True))
        return [
            Line(*cells)
            for cells in zip(
                bins, minutes_of(table), pictures, texts, (person for _, person in pairs),
                notes, strict=True,
            )
        ]  # fmt: skip


@dataclass(slots=True)
class _Notes:
    """Makes cells, and notes for each of ``count`` rows what of them was left out."""

    count: int
    _of_row: dict[int, list[tuple[str, str]]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[tuple[str, str], ...]]:
        return (tuple(self._of_row.get(row, ())) for row in range(self.count))

    def _add(self, row: int, outcome: str, column: str) -> None:
        self._of_row.setdefault(row, []).append((outcome, column))

    def ids(self, ids: Sequence[str]) -> list[str]:
        cells = list(map(object_id, ids))
        for row, (cell, name) in enumerate(zip(cells, ids, strict=True)):
            if cell != name:
                self._add(row, "replaced", "object_id")
        return list(map(quoted, cells))

    def numbers(self, column: Any, name: str, limit: float = float("inf")) -> list[str]:
        """Numbers of an Arrow column; those that are none, or beyond the limit, become empty."""
        import pyarrow.compute as pc

        values = column.to_pylist()
        fits = pc.and_(pc.is_finite(column), pc.less_equal(pc.abs(column), limit))
        if pc.all(fits).as_py() is False:
            for row, good in enumerate(fits.to_pylist()):
                if good is False:
                    values[row] = None
                    self._add(row, "emptied", name)
        return ["" if value is None else f"{value:.9g}" for value in values]

    def texts(self, values: Sequence[str], name: str, *, keep_end: bool = False) -> list[str]:
        """Texts without tabs and line ends, of at most ``MOST_TEXT`` characters."""
        cells = []
        for row, value in enumerate(values):
            text = value
            if not text.isprintable():
                text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
            if len(text) > MOST_TEXT:
                text = text[-MOST_TEXT:] if keep_end else text[:MOST_TEXT]
                self._add(row, "shortened", name)
            cells.append(quoted(text))
        return cells


def quoted(text: str) -> str:
    """A text as the reader of a tab-separated table with the quote ``"`` takes it."""
    return '"' + text.replace('"', '""') + '"' if '"' in text else text
