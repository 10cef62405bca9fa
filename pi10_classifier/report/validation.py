"""The report's section on corrected densities: what ``pi10 validate estimate`` found, and whether
it may be published.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pi10_classifier.report import figures
from pi10_classifier.report.density_series import parse_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_ROWS = 60  # lines of the table; corrected.csv has them all
MAX_DRAWN = 24  # densities in the figure
Interval = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Corrected:
    """One true class of one stratum. corrected: density, low, high; plain: of the model's labels.

    All are individuals per litre; precision and recall: value, low, high, from 0 to 1.
    """

    stratum: str
    label: str
    corrected: Interval | None
    plain: float | None
    labelled: str
    precision: Interval | None
    recall: Interval | None
    publishable: bool


@dataclass(frozen=True, slots=True)
class Validation:
    """rows: of the table, the first ``MAX_ROWS``; all: how many there are. note: what is wrong."""

    validated: bool
    note: str
    labelled: int
    strata: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[Corrected] = field(default_factory=list)
    all: int = 0

    @property
    def refused(self) -> list[tuple[str, str]]:
        """The strata that cannot be published, with the reason."""
        return [
            (name, str(state.get("note", "")))
            for name, state in self.strata.items()
            if not state.get("publishable")
        ]


def read_validation(out: Path, state: object) -> Validation:
    """state: the entry ``classification`` of ``run.json``, which holds only where it was checked
    against the run; the table is of ``validation/corrected.csv``.
    """
    found = state if isinstance(state, dict) else {}
    strata = found.get("strata")
    rows: list[Corrected] = []
    count = 0
    if isinstance(strata, dict) and (out / "validation/corrected.csv").is_file():
        path = out / "validation/corrected.csv"
        with path.open(encoding="utf-8", errors="replace", newline="") as stream:
            for row in csv.DictReader(stream, restval=""):
                count += 1
                if len(rows) < MAX_ROWS:
                    rows.append(_row(row))
    return Validation(
        validated=found.get("validated") is True and bool(rows),
        note=str(found.get("note", "")),
        labelled=int(found.get("labelled", 0)),
        strata=strata if isinstance(strata, dict) else {},
        rows=rows,
        all=count,
    )


def _row(row: dict[str, str]) -> Corrected:
    return Corrected(
        stratum=row.get("stratum", ""),
        label=row.get("label", ""),
        corrected=_interval(row, "per_litre"),
        plain=parse_number(row.get("plain_per_litre")),
        labelled=f"{row.get('labelled_class', '')} of {row.get('labelled', '')}",
        precision=_interval(row, "precision"),
        recall=_interval(row, "recall"),
        publishable=row.get("publishable") == "True",
    )


def _interval(row: dict[str, str], name: str) -> Interval | None:
    value, low, high = (parse_number(row.get(name + end)) for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return None
    return value, low, high


def densities_figure(rows: Sequence[Corrected], colour: dict[str, str]) -> bytes:
    """Corrected densities with their intervals, and the plain ones as rings."""

    def paint(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        several = len({row.stratum for row in rows}) > 1
        names = []
        for place, row in enumerate(rows):
            paint_of = colour.get(row.label, "#777777")
            if row.corrected:
                value, low, high = row.corrected
                axes.plot([low, high], [place, place], color=paint_of, linewidth=2.2)
                axes.plot([value], [place], color=paint_of, marker="o", linestyle="")
            if row.plain is not None:
                axes.plot([row.plain], [place], marker="o", linestyle="", markersize=7,
                          markerfacecolor="none", markeredgecolor="#555555")  # fmt: skip
            name = f"{row.stratum}, {row.label}" if several else row.label
            names.append(figures.plain(name, 40))
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("individuals per litre (disc and line: corrected, 95 %; ring: plain)")

    return figures.draw(0.9 + 0.32 * len(rows), paint)
