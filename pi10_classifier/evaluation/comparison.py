"""Compares runs in the paper's form: one row per network and loss, with intervals."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.bootstrap import (
    RESAMPLES,
    Difference,
    Interval,
    RunOutcome,
    holm,
    resample,
)
from pi10_classifier.evaluation.test_predictions import Predictions

METHOD = (
    "F1: mean over seeds, with 95 % percentile bootstrap intervals over test images (shared by"
    " all rows) and seeds; p: two-sided paired bootstrap of macro-F1 against the first row"
    " (Efron and Tibshirani 1993), Holm-adjusted over the rows"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One network and loss. ``against`` is None for the row the others are tested against."""

    row: str
    network: str
    loss: str
    seeds: tuple[int, ...]
    images: int
    macro_f1: Interval
    per_class: dict[str, Interval]
    against: Difference | None
    p_holm: float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows by descending macro-F1. Notes say what the intervals and tests do not cover."""

    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"method": METHOD, **asdict(self)}

    def to_text(self) -> str:
        """The table as text: figures with three digits, notes below."""
        lines = [["network", "loss", "seeds", "macro-F1", *self.classes, "difference", "p"]]
        for row in self.rows:
            figures = [_text(f) for f in (row.macro_f1, *row.per_class.values())]
            tested = ["", ""]
            if row.against and row.p_holm is not None:
                sign = f"{row.against.value:+.3f}"
                tested = [
                    f"{sign} ({row.against.low:+.3f} to {row.against.high:+.3f})",
                    "<0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}",
                ]
            lines.append([row.network, row.loss, str(len(row.seeds)), *figures, *tested])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(1, ["-" * width for width in widths])
        text = "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )
        notes = "".join(f"note: {note}\n" for note in self.notes)
        return f"{text}\n\n{METHOD}\n{notes}"

    def to_csv(self) -> str:
        """The table as CSV: one line per row, figures with their bounds in full precision."""
        stream = io.StringIO()
        lines = csv.writer(stream, lineterminator="\n")
        names = ("macro_f1", *(f"f1_{name}" for name in self.classes), "difference")
        spread = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
        lines.writerow(["network", "loss", "seeds", "images", *spread, "p", "p_holm"])
        for row in self.rows:
            figures = [row.macro_f1, *row.per_class.values()]
            cells: list[Any] = [x for f in figures for x in (f.value, f.low, f.high)]
            d = row.against
            cells += [d.value, d.low, d.high, d.p, row.p_holm] if d else [""] * 5
            lines.writerow([row.network, row.loss, len(row.seeds), row.images, *cells])
        return stream.getvalue()


def _text(f: Interval) -> str:
    return f"{f.value:.3f} ({f.low:.3f} to {f.high:.3f})"


def compare(
    runs: Sequence[Predictions], against: str = "", resamples: int = RESAMPLES, seed: int = 0
) -> Table:
    """Tabulate ``runs``; runs with the same network and loss are seeds of one row.

    against: the row ("vit LAS") that the others are tested against; by default the row with the
    highest macro-F1. Because this row was chosen for its result, p is then a little too small.
    Raises SettingError if the runs cannot be compared.
    """
    if not runs:
        raise SettingError("there is no run to compare; name at least one tested run")
    classes = runs[0].classes
    outcomes, notes = _align(runs)
    rows: dict[str, dict[int, int]] = {}
    for i, run in enumerate(runs):
        if run.classes != classes:
            raise SettingError(
                f"{run.row} seed {run.seed} has the classes {', '.join(run.classes)}, but"
                f" {runs[0].row} has {', '.join(classes)}; compare runs with the same classes"
            )
        if run.seed in rows.setdefault(run.row, {}):
            raise SettingError(
                f"{run.row} seed {run.seed} is given twice; give each run once (two trainings"
                " with the same seed do not count as two seeds)"
            )
        rows[run.row][run.seed] = i
    if against and against not in rows:
        raise SettingError(f"no row is called {against!r}; there are {', '.join(sorted(rows))}")
    resampled = resample(
        {row: [outcomes[i] for i in seeds.values()] for row, seeds in rows.items()},
        len(classes), resamples, seed,
    )  # fmt: skip
    order = sorted(rows, key=lambda row: -resampled.point[row].mean())
    first = against or order[0]
    order.sort(key=lambda row: row != first)
    tests = {row: resampled.difference(row, first) for row in order[1:]}
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    lonely = [row for row in order if len(rows[row]) == 1]
    if lonely:
        notes.append(f"one seed only, so the interval covers images only: {', '.join(lonely)}")
    table = []
    for row in order:
        run = runs[next(iter(rows[row].values()))]
        table.append(
            Row(
                row, run.network, run.loss, tuple(sorted(rows[row])), len(run.images),
                resampled.f1(row), {name: resampled.f1(row, k) for k, name in enumerate(classes)},
                tests.get(row), adjusted.get(row),
            )
        )  # fmt: skip
    return Table(classes, tuple(table), tuple(notes))


def _align(runs: Sequence[Predictions]) -> tuple[list[RunOutcome], list[str]]:
    """Every run over the union of test images; -1 where a run did not test an image."""
    place: dict[tuple[str, str], int] = {}
    for run in runs:
        for image in run.images:
            place.setdefault(image, len(place))
    known = np.full(len(place), -1, np.int64)
    outcomes = []
    for run in runs:
        where = np.array([place[image] for image in run.images])
        clash = (known[where] >= 0) & (known[where] != run.truth)
        if clash.any():
            name = "/".join(run.images[int(np.flatnonzero(clash)[0])])
            raise SettingError(
                f"{run.row} seed {run.seed} gives {name} another true class than an earlier"
                " run; compare runs with the same labels"
            )
        known[where] = run.truth
        full = [np.full(len(place), -1, np.int64) for _ in range(2)]
        full[0][where], full[1][where] = run.truth, run.guess
        outcomes.append(RunOutcome(*full))
    notes = []
    shared = set.intersection(*(set(run.images) for run in runs))
    if not shared:
        raise SettingError("the runs have no test image in common; test them on the same split")
    if len(shared) < len(place):
        notes.append(
            f"the runs share {len(shared):,} of {len(place):,} test images: each row counts its"
            " own, and differences are paired only as far as images are shared"
        )
    return outcomes, notes
