"""``pi10 validate plan``: how many labels an interval of a wanted width takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.special import ndtri

from pi10_classifier.abundance.correction import TAIL, Predicted, mean_shares
from pi10_classifier.labelling.estimation.estimate import (
    CorrectedRow,
    by_stratum_of,
    labels_by_predicted,
)
from pi10_classifier.labelling.labels import LabelStore, one_by_one, verdicts
from pi10_classifier.labelling.sample import DESIGN, FOLDER, Design, read_sample
from pi10_classifier.results.run_info import classes_of


@dataclass(frozen=True, slots=True)
class Forecast:
    """One class of one stratum. width: of the interval now, as a share of the density.

    labels: about how many the wanted width takes; None where labels cannot give it. narrowest:
    the width if every particle were labelled: what is left is the chance of counting.
    """

    row: CorrectedRow
    width: float | None
    labels: int | None
    narrowest: float | None


def forecast(run: Path, rows: Sequence[CorrectedRow], wanted: float) -> Iterator[Forecast]:
    """rows: of ``estimate_run``. wanted: width of the 95 % interval as a share of the density.

    The squared width has a part of the counting, which stays, and a part of the labels, which
    falls as 1 / labels.
    """
    design = Design.read(run / FOLDER / DESIGN)
    known = verdicts(one_by_one(LabelStore(run, classes_of(run, design.model_sha256)).read()))
    by_stratum = by_stratum_of(read_sample(run))
    for row in rows:
        if not row.per_litre or row.per_litre_low is None or row.per_litre_high is None:
            yield Forecast(row, None, None, None)
            continue
        width = (row.per_litre_high - row.per_litre_low) / row.per_litre
        totals = design.strata[row.stratum]
        predicted = labels_by_predicted(totals, by_stratum.get(row.stratum, []), known)
        variance = sum(_share(its, row.label) ** 2 * its.variance for its in predicted.values())
        counting = (2 * ndtri(1 - TAIL)) ** 2 * variance / (row.per_litre * row.litres) ** 2
        particles = sum(its.particles for its in totals.values())
        of_labels = max(width**2 - counting, 0.0) * row.labelled  # divided by the labels
        narrowest = min(width, math.sqrt(counting + of_labels / max(particles, 1)))
        left = wanted**2 - counting
        if width <= wanted:
            labels: int | None = row.labelled
        elif left <= 0 or of_labels / left > particles:
            labels = None
        else:
            labels = max(row.labelled, math.ceil(of_labels / left))
        yield Forecast(row, width, labels, narrowest)


def _share(known: Predicted, label: str) -> float:
    """The share of a true class in a predicted class's raised total."""
    if known.raised <= 0:
        return 0.0
    classes = list(dict.fromkeys((label, *known.labels, *known.certain)))
    return float(mean_shares(known, classes)[0])
