"""``validation/corrected_bins.csv``: each bin with the correction of its stratum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pi10_classifier.abundance.bin_correction import BinCells, corrected_bins
from pi10_classifier.abundance.correction import Predicted, TooFewLabelsError
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.labelling.estimation.run_totals import RunTotals
from pi10_classifier.labelling.sample import Drawn, Totals

CORRECTED_BINS = "corrected_bins.csv"
NO_DENSITY = "no minute of this bin has a density"


@dataclass(frozen=True, slots=True)
class BinRow:
    """One true class of one bin: a line of ``corrected_bins.csv``.

    per_litre: with 95 % limits that cover counting, classification, and how much bins of the
    stratum differ in what lives in them. plain_per_litre: what the model's labels alone give.
    note: why there is no corrected density.
    """

    bin: str
    stratum: str
    label: str
    per_litre: float | None
    per_litre_low: float | None
    per_litre_high: float | None
    plain_per_litre: float | None
    litres: float
    note: str


def rows_of_bins(
    stratum: str,
    bins: Sequence[str],
    predicted: Mapping[str, Predicted],
    sample: Sequence[Drawn],
    label_of: Mapping[str, str],
    classes: Sequence[str],
    totals: RunTotals,
    seed: int,
    refusal: str = "",
) -> list[BinRow]:
    """The rows of the bins of one stratum.

    predicted: the stratum's predicted classes; sample: its particles; classes: all true classes.
    refusal: why the stratum has no estimate, "" where it has one.
    """
    cells = _cells(bins, predicted, sample, label_of, classes, totals)
    values, note = None, ""
    try:
        if refusal:
            raise TooFewLabelsError(refusal)
        values = corrected_bins(predicted, cells, classes, seed=seed)
    except TooFewLabelsError as error:
        note = str(error)
    rows = []
    for place, name in enumerate(bins):
        litres = totals.litres.get(name, 0.0)
        for column, label in enumerate(classes):
            if label == NO_PARTICLE:
                continue
            value = low = high = None
            if values and litres:
                value, low, high = (float(its[place, column]) / litres for its in values)
            plain = float(cells[label].raised[place]) / litres if label in cells and litres else 0.0
            rows.append(
                BinRow(
                    bin=name,
                    stratum=stratum,
                    label=label,
                    per_litre=value,
                    per_litre_low=low,
                    per_litre_high=high,
                    plain_per_litre=plain if litres else None,
                    litres=litres,
                    note=note if litres else NO_DENSITY,
                )
            )
    return rows


def _cells(
    bins: Sequence[str],
    predicted: Mapping[str, Predicted],
    sample: Sequence[Drawn],
    label_of: Mapping[str, str],
    classes: Sequence[str],
    totals: RunTotals,
) -> dict[str, BinCells]:
    """Predicted class -> what the bins hold of it."""
    places = {name: place for place, name in enumerate(bins)}
    columns = {label: column for column, label in enumerate(classes)}
    size = (len(bins), len(classes))
    cells: dict[str, BinCells] = {}
    for label in predicted:
        sums = [totals.cells.get((name, label), Totals()) for name in bins]
        cells[label] = BinCells(
            np.array([its.raised for its in sums], np.float64),
            np.array([its.variance for its in sums], np.float64),
            np.array([its.largest for its in sums], np.float64),
            np.zeros(size),
            np.zeros(size),
        )
    for particle in sample:
        truth = label_of.get(particle.particle_id)
        if truth is None or particle.bin not in places:
            continue
        at = (places[particle.bin], columns[truth])
        if particle.certain:
            cells[particle.predicted].certain[at] += particle.raising_factor
        else:
            cells[particle.predicted].labels[at] += 1
    return cells
