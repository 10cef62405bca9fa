"""Whether the labelled particles of a stratum are a sample of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pi10_classifier.abundance.correction import NEGLIGIBLE
from pi10_classifier.labelling.labels import Verdicts
from pi10_classifier.labelling.sample import Drawn, Totals

MOST_PASSED_OVER = 0.1  # of the labelled: unlabelled particles that stand before labelled ones


def incomplete(
    totals: Mapping[str, Totals], particles: Sequence[Drawn], known: Verdicts
) -> tuple[str, str]:
    """Why the labelled particles of a stratum are no sample of it: a refusal, and a doubt.

    Particles drawn for certain have the largest factors, so the labels of others cannot stand for
    them: without theirs there is no estimate. Of the others the labelled ones must be a beginning
    of the sample, but for a few.
    """
    raised = sum(its.raised for its in totals.values())
    open_ = [its for its in particles if its.particle_id not in known.label_of]
    certain = [its for its in open_ if its.certain]
    if sum(its.raising_factor for its in certain) > NEGLIGIBLE * raised:
        return (
            f"{len(certain):,} particles that were drawn for certain, as their raising factors are "
            "the largest, have no label; label them (unknown, if they cannot be told): they come "
            "first in the order of the sample", ""
        )  # fmt: skip
    last: dict[str, int] = {}
    for its in particles:
        if its.particle_id in known.label_of and not its.certain:
            last[its.predicted] = its.order
    passed = sum(not its.certain and its.order < last.get(its.predicted, -1) for its in open_)
    if passed > MOST_PASSED_OVER * (len(particles) - len(open_)):
        return "", (
            f"{passed:,} particles without a label stand before labelled ones, so these may be no "
            "random part; label in the order of the sample"
        )
    return "", ""
