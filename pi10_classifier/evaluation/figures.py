"""Draws the plots of a test: confusion matrix, precision and recall, calibration."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pi10_classifier.evaluation.calibration import reliability
from pi10_classifier.evaluation.metrics import F64, I64
from pi10_classifier.report.figures import colours, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MAX_CELLS = 12  # classes up to which a confusion matrix shows its numbers


def normalised(counts: I64) -> F64:
    """Confusion counts (K, K) as shares of each true class; 0 for an empty class."""
    total = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0))


def table(matrix: I64 | F64, classes: Sequence[str]) -> str:
    """A confusion matrix as CSV: rows are the truth, columns the prediction."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(["truth", *classes])
    for name, row in zip(classes, matrix.tolist(), strict=True):
        rows.writerow([name, *(round(cell, 6) for cell in row)])
    return stream.getvalue()


def precision_recall(truth: I64, score: F64, index: int) -> tuple[F64, F64, float]:
    """Recall, precision and average precision of class ``index`` against all others.

    There is one point per distinct score, in descending order. Average precision is the sum of
    precision times the step of recall, without interpolation. Without a true image the arrays are
    empty, and average precision is 0.
    """
    right = truth == index
    if not right.any():
        return np.zeros(0), np.zeros(0), 0.0
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(right[order])[last]
    recall, precision = hits / right.sum(), hits / (last + 1)
    area = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    return recall, precision, area


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def confusion_figure(matrix: I64 | F64, classes: Sequence[str]) -> Figure:
    """The confusion matrix, shaded by share of the true class; with counts up to twelve classes."""
    side = min(2.5 + 0.45 * len(classes), 14.0)
    figure, axes = _figure(side + 0.8, side)
    total = matrix.sum(axis=1, keepdims=True)
    axes.imshow(matrix / np.where(total > 0, total, 1), cmap="Blues", vmin=0, vmax=1)
    names = [plain(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), names)
    axes.set(xlabel="prediction", ylabel="truth")
    if len(classes) <= MAX_CELLS:
        whole = np.issubdtype(matrix.dtype, np.integer)
        for (i, j), cell in np.ndenumerate(matrix):
            ink = "white" if 2 * cell > total[i, 0] else "black"
            text = f"{cell:,}" if whole else f"{cell:.3f}"
            axes.text(j, i, text, ha="center", va="center", color=ink)
    return figure


def precision_recall_figure(truth: I64, scores: F64, classes: Sequence[str]) -> Figure:
    """Precision against recall: one curve per class, with its average precision."""
    figure, axes = _figure(5.2, 4.2)
    shades = colours(classes)
    for i, name in enumerate(classes):
        recall, precision, area = precision_recall(truth, scores[:, i], i)
        label = f"{plain(name)}: {area:.3f}"
        axes.step(recall, precision, where="post", color=shades[name], label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    if len(classes) <= MAX_CELLS:
        axes.legend(title="average precision", fontsize=8, loc="lower left")
    return figure


def calibration_figure(truth: I64, scores: F64) -> Figure:
    """Accuracy against mean top score per bin, with the number of images."""
    figure, axes = _figure(5.2, 4.2)
    rows = reliability(scores, truth)
    mean, share, n = (np.array([row[key] for row in rows]) for key in ("score", "right", "n"))
    axes.plot([0, 1], [0, 1], color="#8a939b", linewidth=0.8)
    axes.plot(mean, share, marker="o", color="#0072B2")
    for x, y, count in zip(mean, share, n, strict=True):
        axes.annotate(f"{count:,}", (x, y), xytext=(4, -9), textcoords="offset points", fontsize=6)
    axes.set(xlabel="score", ylabel="share right", xlim=(0, 1.02), ylim=(0, 1.02))
    return figure
