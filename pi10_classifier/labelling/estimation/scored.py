"""The scores of a sample and of the run that it was drawn from, one stratum at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pi10_classifier.abundance.prediction_powered import Scored, log_odds
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.labelling.sample import Drawn, Moments, Totals


def scores_of(
    totals: Mapping[str, Totals],
    moments: Mapping[str, Mapping[str, Moments]],
    particles: Sequence[Drawn],
    label_of: Mapping[str, str],
    classes: Sequence[str],
) -> dict[str, Scored]:
    """Predicted class -> its scores, for those of which all are known; not for ``no_particle``.

    totals, moments: of the stratum, by predicted class; particles: its sample; classes: all true
    classes, those that the model does not have too.
    """
    places = {label: place for place, label in enumerate(classes)}
    found = {}
    for predicted, its in moments.items():
        if predicted == NO_PARTICLE:
            continue  # the scores are not what it was called so by
        total = totals[predicted]
        labelled = [
            particle for particle in particles
            if particle.predicted == predicted and particle.particle_id in label_of
        ]  # fmt: skip
        if any(set(its) != set(particle.scores) for particle in labelled):
            continue  # a sample or a design of before scores were in it
        odds = np.zeros((len(labelled), len(classes)))
        first, second = np.zeros((2, len(classes)))
        for column, name in enumerate(classes):
            if name in its:
                odds[:, column] = log_odds(np.array([p.scores[name] for p in labelled]))
                first[column], second[column] = its[name].first, its[name].second
        certain = np.array([particle.certain for particle in labelled], bool)
        factor = np.array([particle.raising_factor for particle in labelled]) * certain
        raised = total.raised - float(factor.sum())
        squares = total.variance - float((factor * factor).sum())
        if raised <= 0 or squares <= 0 or certain.all():
            continue
        mean = (first - factor @ odds) / raised
        square = (second - factor @ (odds * odds)) / raised
        truth = np.array([places[label_of[p.particle_id]] for p in labelled], np.int64)
        found[predicted] = Scored(
            truth=truth[~certain],
            log_odds=odds[~certain],
            mean=mean,
            variance=np.maximum(square - mean * mean, 0.0),
            effective=raised * raised / squares,
        )
    return found
