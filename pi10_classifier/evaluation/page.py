"""Writes the evaluation page: one self-contained HTML file. Needs the extra ``report``."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2
import matplotlib  # noqa: F401  (met here, before any work is done)
import numpy as np

from pi10_classifier.report.figures import PALETTE, draw, plain
from pi10_classifier.report.page import amount, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERED = 12  # with more classes, cells of the confusion matrix show no numbers


def page(evaluation: Mapping[str, Any]) -> str:
    """The page as HTML without external resources; the same figures give the same page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pi10_classifier.report"), autoescape=True, trim_blocks=True
    )
    environment.undefined = jinja2.StrictUndefined
    environment.filters.update(shown=shown, amount=amount, number=lambda x: f"{x:,}")
    classes = evaluation["model"]["classes"]
    pictures = {
        "confusion": _picture(
            confusion_figure(classes, evaluation["all"]["confusion"]),
            "Confusion matrix: share of each true class that was called each class.",
        ),
        "classes": _picture(
            classes_figure(evaluation["all"]["per_class"]),
            "Precision, recall and F1 of each class with 95 % intervals.",
        ),
        "reliability": _picture(
            reliability_figure(evaluation["calibration"]["reliability"]),
            "Share of images called rightly against the score, as served and refitted.",
        ),
    }
    template = environment.get_template("evaluation.html.j2")
    return template.render({"e": evaluation, "classes": classes, "pictures": pictures})


def _picture(drawing: bytes, alt: str) -> dict[str, str]:
    return {"uri": "data:image/svg+xml;base64," + base64.b64encode(drawing).decode(), "alt": alt}


def confusion_figure(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> bytes:
    """The confusion matrix: rows are the truth, shaded by their shares; cells show counts."""
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [plain(label, 18) for label in classes]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("called")
        axes.set_ylabel("truth")
        if len(names) <= MOST_NUMBERED:
            for (row, column), n in np.ndenumerate(counts):
                ink = "white" if shares[row, column] > 0.6 else "#1d2730"
                text = f"{n:,}\n{shares[row, column]:.0%}"
                axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
        bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=28)
        bar.set_label("share of the true class")

    return draw(min(9.0, 2.2 + 0.55 * len(names)), paint)


def classes_figure(per_class: Mapping[str, Any]) -> bytes:
    """Precision, recall and F1 per class, as dots with intervals."""
    names = list(per_class)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for number, key in enumerate(("precision", "recall", "f1")):
            figures = [per_class[name][key] for name in names]
            value = np.array([x["value"] for x in figures])
            reach = np.array(
                [
                    [max(0.0, x["value"] - x["low"]) for x in figures],
                    [max(0.0, x["high"] - x["value"]) for x in figures],
                ]
            )
            at = np.arange(len(names)) + 0.22 * (number - 1)
            axes.errorbar(
                value, at, xerr=reach, fmt="o", markersize=4, linewidth=1.3,
                color=PALETTE[number], label="F1" if key == "f1" else key,
            )  # fmt: skip
        axes.set_yticks(range(len(names)), [plain(name, 22) for name in names])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.02)
        axes.legend(frameon=False, fontsize=8.5, loc="best")

    return draw(min(12.0, 1.0 + 0.55 * len(names)), paint)


def reliability_figure(reliability: Mapping[str, Any]) -> bytes:
    """Accuracy against mean score per bin; larger dots stand for more images."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#8a939b", linewidth=1, linestyle=(0, (4, 3)))
        for number, (name, rows) in enumerate(reliability.items()):
            score, right, n = (np.array([row[k] for row in rows]) for k in ("score", "right", "n"))
            colour = PALETTE[number]
            axes.plot(score, right, color=colour, linewidth=1.2, label=name.replace("_", " "))
            axes.scatter(score, right, s=6 + 80 * n / n.sum(), color=colour, linewidth=0)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("score of the class called")
        axes.set_ylabel("share that is right")
        axes.legend(frameon=False, fontsize=8.5, loc="upper left")

    return draw(3.6, paint)
