"""Figures of a benchmark: medians of rounds with the least and the most, and their table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured quantity: median, least and most of its rounds. of: which program's."""

    what: str
    unit: str
    median: float
    least: float
    most: float
    of: str = ""

    @classmethod
    def of_rounds(cls, what: str, unit: str, rounds: Sequence[float], of: str = "") -> Figure:
        return cls(what, unit, statistics.median(rounds), min(rounds), max(rounds), of)


class Rounds:
    """What was measured so far, by quantity and program, in the order of the first round."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, str], list[float]] = {}

    def add(self, what: str, unit: str, value: float, of: str = "") -> None:
        self._values.setdefault((what, unit, of), []).append(value)

    def figures(self) -> list[Figure]:
        """One for each quantity and program; programs stand together."""
        quantities = dict.fromkeys(what for what, _, _ in self._values)
        return [
            Figure.of_rounds(what, unit, values, of)
            for quantity in quantities
            for (what, unit, of), values in self._values.items()
            if what == quantity
        ]


def figure_table(title: str, figures: Sequence[Figure]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("what", "of", "median", "least", "most", "unit"):
        table.add_column(name, justify="left" if name in ("what", "of", "unit") else "right")
    for figure in figures:
        values = (f"{v:,.2f}" if v < 10 else f"{v:,.0f}"
                  for v in (figure.median, figure.least, figure.most))  # fmt: skip
        table.add_row(figure.what, figure.of, *values, figure.unit)
    return table


def stage_table(by_stage: dict[str, dict[str, float]]) -> Table:
    title = "our own share, core-ms per image, one thread, without the network"
    table = Table(title=title, title_justify="left")
    table.add_column("stage")
    for name in by_stage:
        table.add_column(name, justify="right")
    for stage in next(iter(by_stage.values())):
        table.add_row(stage, *(f"{medians.get(stage, 0):.4f}" for medians in by_stage.values()))
    return table
