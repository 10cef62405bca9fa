"""``pi10 validate estimate``: densities corrected by the labels, with intervals that hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pi10_classifier.abundance.correction import (
    DRAWS,
    F64,
    TAIL,
    Corrected,
    Predicted,
    TooFewLabelsError,
    corrected,
    effective_labels,
    mean_shares,
    shares,
)
from pi10_classifier.abundance.prediction_powered import powered
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import write_records
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.labelling.estimation.bins import CORRECTED_BINS, BinRow, rows_of_bins
from pi10_classifier.labelling.estimation.completeness import incomplete
from pi10_classifier.labelling.estimation.record import update_run, write_record
from pi10_classifier.labelling.estimation.run_totals import RunTotals, read_totals, refuse_changed
from pi10_classifier.labelling.estimation.scored import scores_of
from pi10_classifier.labelling.labelled import refuse_own_labels
from pi10_classifier.labelling.labels import (
    BESIDE,
    LabelStore,
    Verdicts,
    one_by_one,
    tidy_name,
    verdicts,
)
from pi10_classifier.labelling.sample import (
    DESIGN,
    FOLDER,
    Design,
    Drawn,
    Totals,
    read_sample,
    refuse_edited,
    strata_of,
)
from pi10_classifier.labelling.suggestions import suggested_ids, without_suggested
from pi10_classifier.results.run_info import classes_of

CORRECTED = "corrected.csv"
LEAST_LABELLED = 100  # of a stratum to be published: below, no simulation shows that limits hold
NARROWER = 0.95  # of the width by labels alone: less is the chance of the draws


@dataclass(frozen=True, slots=True)
class CorrectedRow:
    """One true class of one stratum: a line of ``corrected.csv``.

    per_litre: corrected, with 95 % limits that cover counting and classification. ppi: the same by
    labels and scores, where that is allowed and at least 5 % narrower. plain: what the
    model's labels alone give. labelled: particles of the stratum with a label; of this class
    ``labelled_class``. effective_labels: the simple random sample that would tell the class's share
    as precisely. precision, recall: of the model in this survey, by raised particles, with
    95 % limits. publishable: whether the corrected density may be published; ``note`` says why not.
    """

    stratum: str
    label: str
    per_litre: float | None
    per_litre_low: float | None
    per_litre_high: float | None
    ppi_per_litre: float | None
    ppi_low: float | None
    ppi_high: float | None
    plain_per_litre: float | None
    litres: float
    labelled: int
    labelled_class: int
    effective_labels: float | None
    precision: float | None
    precision_low: float | None
    precision_high: float | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    publishable: bool
    note: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """The corrected densities of a run, and how many labelled particles were not used.

    contradicting: labellers differ on them. outside: neither in the sample nor suggested. shared:
    the run's model was fitted on them; they are used, being too few to matter. sorted: of the
    sample, with a label of a whole cluster alone, which is no judgement of them.
    """

    rows: list[CorrectedRow]
    bins: list[BinRow]
    contradicting: int
    outside: int
    shared: int
    sorted: int = 0


def estimate_run(run: Path, labeller: str = "", *, write: bool = True) -> Estimate:
    """Correct a run by the labels in it: of one labeller, or of all who agree.

    write: store ``corrected.csv``, ``corrected_bins.csv`` and ``estimate.json``, and say in
    ``run.json`` whether the run is validated. Raises SettingError as ``estimate``.
    """
    design = Design.read(run / FOLDER / DESIGN)
    classes = classes_of(run, design.model_sha256)
    refuse_edited(run, design)
    given = LabelStore(run, classes).read()
    labels = one_by_one(given)
    names = sorted({label.labeller for label in given})
    if labeller and tidy_name(labeller) not in names:
        raise SettingError(
            f"--labeller is {labeller!r}, who has labelled nothing in {run}; there are labels of "
            f"{', '.join(names) or 'nobody'}"
        )
    known = verdicts(labels, labeller)
    sample = read_sample(run)
    result = estimate(run, design, sample, known, classes, write=write)
    in_clusters = {label.particle_id for label in given} - {label.particle_id for label in labels}
    left_out = sum(particle.particle_id in in_clusters for particle in sample)
    result = replace(result, sorted=left_out)
    if write:
        counts = {
            "contradicting": result.contradicting,
            "outside": result.outside,
            "fitted_on": result.shared,
            "sorted": result.sorted,
        }
        write_record(run, design, result.rows, (CORRECTED, CORRECTED_BINS), counts, labeller)
        update_run(run)
    return result


def estimate(
    run: Path, design: Design, sample: Sequence[Drawn], known: Verdicts, classes: Sequence[str],
    *, write: bool = True,
) -> Estimate:  # fmt: skip
    """Correct every stratum and its bins.

    known: all labels; those outside the sample, and those of particles that were suggested before
    their turn, are not used: they are no probability sample. classes: of the model. Raises
    SettingError where sample, labels and run are not of one kind.
    """
    totals = read_totals(run)
    refuse_changed(run, totals, design.strata, design.by)
    suggested = suggested_ids(run)
    outside = _refuse_strangers(run, design, sample, known, suggested)
    used = without_suggested(sample, known, suggested)
    shared = refuse_own_labels(run, list(used.label_of))
    rows = correct_strata(design, sample, used, classes, totals.litres_by(design.by))
    rows = _with_scores(design, sample, used, classes, rows)
    bins = _bins(design, sample, used, classes, totals)
    if write:
        write_records(run / FOLDER / CORRECTED, CorrectedRow, rows, option="")
        write_records(run / FOLDER / CORRECTED_BINS, BinRow, bins, option="")
    return Estimate(rows, bins, len(known.contradicting), outside, len(shared))


def _refuse_strangers(
    run: Path, design: Design, sample: Sequence[Drawn], known: Verdicts, suggested: Collection[str]
) -> int:
    """How many labelled particles are neither in the sample nor suggested.

    Raises SettingError where all labels are of such particles.
    """
    for particle in sample:
        if particle.predicted not in design.strata.get(particle.stratum, {}):
            raise SettingError(
                f"{run / FOLDER} holds sample.csv and design.json of two samples: "
                f"{particle.particle_id} of stratum {particle.stratum!r}, predicted "
                f"{particle.predicted!r}, is not in the design; draw again: pi10 validate draw "
                f"{run}"
            )
    drawn = {particle.particle_id for particle in sample}
    outside = [name for name in known.label_of if name not in drawn and name not in suggested]
    if outside and len(outside) == len(known.label_of):
        raise SettingError(
            f"none of the {len(outside):,} labelled particles in {run / FOLDER / 'labels.csv'} "
            f"({outside[0]} and others) is in the sample: the labels are of another run or "
            "sample; bring the right ones in: pi10 validate import"
        )
    return len(outside)


def _bins(
    design: Design, sample: Sequence[Drawn], known: Verdicts, classes: Sequence[str],
    totals: RunTotals,
) -> list[BinRow]:  # fmt: skip
    """The corrected rows of all bins, in the order of their names."""
    stratum_of = strata_of(design.by)
    members: dict[str, list[str]] = {}
    for name in sorted({name for name, _ in totals.cells} | set(totals.litres)):
        stratum = stratum_of(name)
        if stratum in design.strata:
            members.setdefault(str(stratum), []).append(name)
    by_stratum = by_stratum_of(sample)
    rows: list[BinRow] = []
    for stratum, names in members.items():
        particles = by_stratum.get(stratum, [])
        predicted = labels_by_predicted(design.strata[stratum], particles, known)
        seen = seen_classes(classes, _labels(particles, known))
        refusal, _ = incomplete(design.strata[stratum], particles, known)
        rows += rows_of_bins(
            stratum, names, predicted, particles, known.label_of, seen, totals, design.seed, refusal
        )
    return sorted(rows, key=lambda row: row.bin)


def by_stratum_of(sample: Sequence[Drawn]) -> dict[str, list[Drawn]]:
    groups: dict[str, list[Drawn]] = {}
    for particle in sample:
        groups.setdefault(particle.stratum, []).append(particle)
    return groups


def correct_strata(
    design: Design,
    sample: Sequence[Drawn],
    known: Verdicts,
    classes: Sequence[str],
    litres: Mapping[str, float],
    strata: Sequence[str] | None = None,
) -> list[CorrectedRow]:
    """The corrected densities of some strata, of all where None; litres: of each stratum."""
    by_stratum = by_stratum_of(sample)
    rows: list[CorrectedRow] = []
    for stratum in sorted(design.strata if strata is None else strata):
        particles = by_stratum.get(stratum, [])
        predicted = labels_by_predicted(design.strata[stratum], particles, known)
        refusal, doubt = incomplete(design.strata[stratum], particles, known)
        rows += _rows(
            stratum, predicted, particles, known, classes, litres.get(stratum, 0.0), design.seed,
            least=min(LEAST_LABELLED, sum(t.particles for t in design.strata[stratum].values())),
            refusal=refusal, doubt=doubt,
        )  # fmt: skip
    return rows


def _with_scores(
    design: Design, sample: Sequence[Drawn], known: Verdicts, classes: Sequence[str],
    rows: Sequence[CorrectedRow],
) -> list[CorrectedRow]:  # fmt: skip
    """The rows with what labels and scores together give, where that is narrower."""
    by_stratum = by_stratum_of(sample)
    found: dict[str, dict[str, Corrected]] = {}
    for stratum in dict.fromkeys(row.stratum for row in rows if row.publishable):
        here, totals = by_stratum.get(stratum, []), design.strata[stratum]
        seen = seen_classes(classes, _labels(here, known))
        scored = scores_of(totals, design.scores.get(stratum, {}), here, known.label_of, seen)
        predicted = labels_by_predicted(totals, here, known)
        found[stratum] = powered(predicted, scored, seen, seed=design.seed)
    out = []
    for row in rows:
        its = found.get(row.stratum, {}).get(row.label) if row.label in classes else None
        if its and row.per_litre_low is not None and row.per_litre_high is not None:
            width = (its.high - its.low) / row.litres
            if width <= NARROWER * (row.per_litre_high - row.per_litre_low):
                value, low, high = (x / row.litres for x in (its.total, its.low, its.high))
                row = replace(row, ppi_per_litre=value, ppi_low=low, ppi_high=high)
        out.append(row)
    return out


def labels_by_predicted(
    totals: Mapping[str, Totals], particles: Sequence[Drawn], known: Verdicts
) -> dict[str, Predicted]:
    """Predicted class -> its raised total and the labels of its particles, in one stratum."""
    predicted = {
        label: Predicted(total.raised, total.variance, total.largest)
        for label, total in totals.items()
    }
    for particle in particles:
        label = known.label_of.get(particle.particle_id)
        if label is None:
            continue
        its_class = predicted[particle.predicted]
        if particle.certain:
            raised = its_class.certain.get(label, 0.0) + particle.raising_factor
            its_class.certain[label] = raised
        else:
            its_class.labels[label] = its_class.labels.get(label, 0) + 1
    return predicted


def _labels(particles: Sequence[Drawn], known: Verdicts) -> list[str]:
    names = (particle.particle_id for particle in particles)
    return [known.label_of[name] for name in names if name in known.label_of]


def seen_classes(classes: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The true classes of a stratum: the model's, and what else was met, in a fixed order."""
    beside = (name for name in BESIDE if name in labels)
    return list(dict.fromkeys((*classes, *beside, *sorted(labels))))


def _rows(
    stratum: str,
    strata: Mapping[str, Predicted],
    here: Sequence[Drawn],
    known: Verdicts,
    classes: Sequence[str],
    litres: float,
    seed: int,
    least: int,
    refusal: str,
    doubt: str,
) -> list[CorrectedRow]:
    labels = _labels(here, known)
    seen = seen_classes(classes, labels)
    reported = [name for name in seen if name != NO_PARTICLE]
    plain = {name: strata[name].raised for name in strata}
    try:
        if refusal:
            raise TooFewLabelsError(refusal)
        found = corrected(strata, seen, seed=seed)
        note = "" if litres else "no minute of this stratum has a density"
    except TooFewLabelsError as error:
        found, note = {}, str(error)
    enough = len(labels) >= least
    if found and litres and not enough:
        note = f"{len(labels):,} labels; the limits are known to hold from {least:,} on"
    elif found and litres and doubt:
        note = doubt
    rates = _rates(strata, seen, seed) if found else {}
    numbers = effective_labels(strata, seen) if found else []
    effective = dict(zip(seen, numbers, strict=False))
    rows = []
    for name in reported:
        its = found.get(name)
        precision, recall = rates.get(name, (UNKNOWN, UNKNOWN))
        rows.append(
            CorrectedRow(
                stratum=stratum,
                label=name,
                per_litre=its.total / litres if its and litres else None,
                per_litre_low=its.low / litres if its and litres else None,
                per_litre_high=its.high / litres if its and litres else None,
                ppi_per_litre=None, ppi_low=None, ppi_high=None,
                plain_per_litre=plain.get(name, 0.0) / litres if litres else None,
                litres=litres,
                labelled=len(labels),
                labelled_class=labels.count(name),
                effective_labels=effective.get(name),
                precision=precision[0], precision_low=precision[1], precision_high=precision[2],
                recall=recall[0], recall_low=recall[1], recall_high=recall[2],
                publishable=bool(its and litres and enough and not doubt),
                note=note,
            )
        )  # fmt: skip
    return rows


Rate = tuple[float | None, float | None, float | None]
UNKNOWN: Rate = (None, None, None)


def _rates(
    strata: Mapping[str, Predicted], classes: Sequence[str], seed: int
) -> dict[str, tuple[Rate, Rate]]:
    """Precision and recall of each class by raised particles, with 95 % limits."""
    rng = np.random.default_rng(seed)
    mean = np.zeros((len(strata), len(classes)))
    drawn = np.zeros((len(strata), DRAWS, len(classes)))
    for row, known in enumerate(strata.values()):
        if known.raised > 0:
            mean[row] = known.raised * mean_shares(known, classes)
            drawn[row] = known.raised * shares(known, classes, rng)
    rows = {name: row for row, name in enumerate(strata)}
    out: dict[str, tuple[Rate, Rate]] = {}
    for place, name in enumerate(classes):
        if name not in rows:  # no class of the model: nothing was called so
            out[name] = (UNKNOWN, UNKNOWN)
            continue
        row = rows[name]
        right, right_drawn = mean[row, place], drawn[row, :, place]
        out[name] = (
            _rate(right, mean[row].sum(), right_drawn, drawn[row].sum(axis=1)),
            _rate(right, mean[:, place].sum(), right_drawn, drawn[:, :, place].sum(axis=0)),
        )
    return out


def _rate(right: float, of: float, right_drawn: F64, of_drawn: F64) -> Rate:
    if of <= 0:
        return UNKNOWN
    low, high = np.quantile(right_drawn / np.maximum(of_drawn, 1e-12), (TAIL, 1 - TAIL)).tolist()
    value = right / of
    return value, min(low, value), max(high, value)
