"""Logs a test's metrics, tables and figures to an MLflow run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pi10_classifier.evaluation.figures import (
    calibration_figure,
    confusion_figure,
    normalised,
    precision_recall_figure,
    table,
)
from pi10_classifier.evaluation.metrics import confusion, report
from pi10_classifier.evaluation.ranking import KEYS, ranked
from pi10_classifier.evaluation.test_predictions import Predictions

if TYPE_CHECKING:
    from pi10_classifier.tracking.run import TrackingRun


def log_test(run: TrackingRun, predictions: Predictions, part: str = "test") -> dict[str, Any]:
    """Log metrics, tables and figures of ``predictions`` to ``run``; return the report.

    Artifacts, in the folder ``part``: confusion.csv (counts) and confusion_normalised.csv
    (shares of the truth), both also drawn; precision_recall.png, calibration.png and
    report.json (see metrics.report; under ``ranking`` see ranking.ranked). Metrics:
    ``test/macro_f1`` and the like.
    """
    import json

    p = predictions
    figures = report(p.truth, p.scores, p.classes)
    figures["ranking"] = ranked(p.truth, np.asarray(p.scores, np.float64), p.classes)
    values = {"macro_f1": figures["macro_f1"]["value"]}
    values |= {key: figures[key] for key in ("accuracy", "ece")}
    for name, row in figures["per_class"].items():
        values |= {f"{key}/{name}": row[key]["value"] for key in ("precision", "recall", "f1")}
    for name, row in figures["ranking"].items():
        at = f"/{name}" if name else ""
        values |= {f"{key}{at}": row[key]["value"] for key in KEYS}
    run.metrics({f"{part}/{key}": value for key, value in values.items()})
    counts = confusion(p.truth, p.guess, len(p.classes))
    shares = normalised(counts)
    run.text(table(counts, p.classes), f"{part}/confusion.csv")
    run.text(table(shares, p.classes), f"{part}/confusion_normalised.csv")
    run.text(json.dumps(figures, indent=1), f"{part}/report.json")
    run.figure(confusion_figure(counts, p.classes), f"{part}/confusion.png")
    run.figure(confusion_figure(shares, p.classes), f"{part}/confusion_normalised.png")
    drawn = precision_recall_figure(p.truth, p.scores, p.classes)
    run.figure(drawn, f"{part}/precision_recall.png")
    run.figure(calibration_figure(p.truth, p.scores), f"{part}/calibration.png")
    return figures
