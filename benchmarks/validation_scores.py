"""Do intervals by labels and scores hold, and how much narrower are they than by labels alone?

    python -m benchmarks.validation_scores --data ../shared/data --manifest data/manifest.csv

manifest.csv: of `pi10 dataset planktonset1.tar pwssc.tar`. The crops of its test part, which no
embedded model was trained on, and a tenth of the sets' "other", which count as unknown, are scored
once. Each survey then draws its particles from these triples of truth, predicted class and scores,
at given shares, in minutes with real raising factors. `--confusion crops` takes what the model
predicts of the crops; `genuine` draws the predicted class of each particle as on genuine Pi-10
particles (`benchmarks.validation`), and its scores from the crops of the same truth and prediction.
A sample is drawn as `pi10 validate draw` draws it and labelled by the truth; both estimators get
the same labels. Truth is the expected raised number of each class.

narrower: the share of surveys in which the second interval is at least 5 % narrower, so is told;
its coverage in these; and the coverage of whichever interval is the narrower, which is why nobody
should choose between the two by their widths.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.coverage import Survey
from benchmarks.labels import CLASSES, FACTOR, crops
from benchmarks.validation import CONFUSION, IMAGES, MINUTES
from pi10_classifier.abundance.correction import Predicted, corrected
from pi10_classifier.abundance.prediction_powered import log_odds, powered
from pi10_classifier.imaging.preprocess import prepare
from pi10_classifier.labelling.design import allocate, priorities, taken
from pi10_classifier.labelling.estimation.estimate import NARROWER
from pi10_classifier.labelling.estimation.scored import scores_of
from pi10_classifier.labelling.sample import Drawn, Moments, Totals
from pi10_classifier.model.session import Model
from pi10_classifier.registry.resolve import find

TRUE = (*CLASSES, "unknown")
SHARES = ((0.05, 0.85, 0.05, 0.05), (0.20, 0.65, 0.08, 0.07))
SIZES = (100, 150, 200, 300, 1000)
DRAWS = 4_000
BATCH = 64


@dataclass(frozen=True, slots=True)
class Pool:
    """Scored crops: true class (N,), predicted class (N,) and scores (N, 3)."""

    truth: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray

    @classmethod
    def read(cls, data: Path, manifest: Path, name: str) -> Pool:
        model = Model.load(find(name))
        if tuple(model.package.classes) != CLASSES:
            raise SystemExit(f"{name} has the classes {model.package.classes}, not {CLASSES}")
        truth, scores, images = [], [], []
        for label, rgb in crops(data, manifest):
            truth.append(TRUE.index(label) if label in CLASSES else len(CLASSES))
            images.append(prepare(rgb, model.package.preprocessing))
            if len(images) == BATCH:
                scores.append(model.scores(np.stack(images)))
                images = []
        if images:
            scores.append(model.scores(np.stack(images)))
        found = np.concatenate(scores).astype(np.float64)
        return cls(np.array(truth), found.argmax(axis=1), found)

    def confusion(self) -> np.ndarray:
        """P(predicted | truth), (4, 3)."""
        counts = np.zeros((len(TRUE), len(CLASSES)))
        np.add.at(counts, (self.truth, self.predicted), 1)
        return counts / counts.sum(axis=1, keepdims=True)

    def places(self) -> dict[tuple[int, int], np.ndarray]:
        return {
            (truth, k): np.flatnonzero((self.truth == truth) & (self.predicted == k))
            for truth in range(len(TRUE))
            for k in range(len(CLASSES))
        }


@dataclass(frozen=True, slots=True)
class Particles:
    """All particles of a survey, (N,) each, and the expected raised total of each class (4,)."""

    truth: np.ndarray
    predicted: np.ndarray
    factor: np.ndarray
    crop: np.ndarray
    expected: np.ndarray


def survey(
    factors: np.ndarray, shares: tuple[float, ...], confusion: np.ndarray,
    places: dict[tuple[int, int], np.ndarray], rng: np.random.Generator,
) -> Particles:  # fmt: skip
    rates = np.outer(np.full(len(factors), IMAGES), shares)
    counts = rng.poisson(rates)
    truth = np.repeat(np.tile(np.arange(len(TRUE)), len(factors)), counts.ravel())
    factor = np.repeat(np.repeat(factors, len(TRUE)), counts.ravel())
    above = rng.random(len(truth))[:, None] > confusion.cumsum(axis=1)[truth]
    predicted = np.minimum(above.sum(axis=1), len(CLASSES) - 1)
    crop = np.empty(len(truth), np.int64)
    for (true, k), choice in places.items():
        here = (truth == true) & (predicted == k)
        if here.any():
            crop[here] = rng.choice(choice, int(here.sum()))
    return Particles(truth, predicted, factor, crop, (rates * factors[:, None]).sum(axis=0))


def estimate(
    its: Particles, pool: Pool, odds: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """Total, low, high (4, 3) by labels, and by labels and scores; least labels of a class."""
    totals, moments, at = {}, {}, {}
    for k, name in enumerate(CLASSES):
        at[name] = np.flatnonzero(its.predicted == k)
        factor, z = its.factor[at[name]], odds[its.crop[at[name]]]
        totals[name] = Totals(
            len(factor), float(factor.sum()), float((factor**2).sum()), float(factor.max())
        )
        sums = zip((factor @ z).tolist(), (factor @ z**2).tolist(), strict=True)
        moments[name] = {label: Moments(*both) for label, both in zip(CLASSES, sums, strict=True)}
    wanted = allocate(
        {name: total.raised for name, total in totals.items()},
        {name: total.particles for name, total in totals.items()},
        size,
    )
    ranks = priorities(rng.random(len(its.factor)), its.factor)
    strata, sample, label_of = {}, [], {}
    for name, total in totals.items():
        known = Predicted(total.raised, total.variance, total.largest)
        places = at[name]
        chance, certain = taken(ranks[places], its.factor[places], wanted[name], total.raised)
        for drawn, sure in ((places[chance], False), (places[certain], True)):
            for place in drawn.tolist():
                label, factor = TRUE[its.truth[place]], float(its.factor[place])
                if sure:
                    known.certain[label] = known.certain.get(label, 0.0) + factor
                else:
                    known.labels[label] = known.labels.get(label, 0) + 1
                scores = dict(zip(CLASSES, pool.scores[its.crop[place]].tolist(), strict=True))
                label_of[str(place)] = label
                sample.append(
                    Drawn(
                        0, str(place), "all", name, "", "", "", "", factor, sure, 0, "", 0, scores
                    )
                )
        strata[name] = known
    seed = int(rng.integers(2**31))
    plain = corrected(strata, TRUE, draws=DRAWS, seed=seed)
    scored = scores_of(totals, moments, sample, label_of, TRUE)
    ppi = powered(strata, scored, TRUE, draws=DRAWS, seed=seed, least=1)
    both = [
        np.array([(found[c].total, found[c].low, found[c].high) for c in TRUE])
        for found in (plain, ppi)
    ]
    return both[0], both[1], min(known.labelled for known in strata.values())


def measure(
    source: Survey, pool: Pool, confusion: np.ndarray, shares: tuple[float, ...], size: int,
    surveys: int, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Print the lines of one number of labels and one mix of classes."""
    odds, places = log_odds(pool.scores), pool.places()
    found, expected, least = [], [], []
    for _ in range(surveys):
        factors = source.stretch(MINUTES, rng).factors
        its = survey(factors, shares, confusion, places, rng)
        plain, ppi, fewest = estimate(its, pool, odds, size, rng)
        found.append((plain, ppi))
        expected.append(its.expected)
        least.append(fewest)
    values = np.array(found)  # surveys, estimators, classes, (total, low, high)
    true = np.array(expected)[:, None]
    total, low, high = np.moveaxis(values, -1, 0)
    hit = (low <= true) & (true <= high)
    width = (high - low) / true
    coverage, bias = 100 * hit.mean(axis=0), 100 * (total / true - 1).mean(axis=0)
    median = 100 * np.median(width, axis=0)
    told = width[:, 1] <= NARROWER * width[:, 0]
    chosen = np.where(width[:, 1] < width[:, 0], hit[:, 1], hit[:, 0])
    for k, name in enumerate(CLASSES):
        shown = 100 * hit[told[:, k], 1, k].mean() if told[:, k].any() else np.nan
        print(f"| {size} | {np.median(least):.0f} | {'/'.join(f'{x:g}' for x in shares)} | {name} "
              f"| {coverage[0, k]:.1f} | {coverage[1, k]:.1f} | {bias[0, k]:+.1f} "
              f"| {bias[1, k]:+.1f} | {median[0, k]:.0f} | {median[1, k]:.0f} "
              f"| {median[1, k] / median[0, k]:.2f} | {100 * told[:, k].mean():.0f} | {shown:.1f} "
              f"| {100 * chosen[:, k].mean():.1f} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation_scores")
    parser.add_argument("--data", type=Path, required=True, help="Folder of the labelled crops.")
    parser.add_argument("--manifest", type=Path, required=True, help="Of `pi10 dataset`.")
    parser.add_argument("--confusion", choices=["crops", "genuine"], default="crops")
    parser.add_argument("--surveys", type=int, default=500)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    source = Survey.read(given.data / "hits_misses_cend0824.csv").up_to(FACTOR)
    pool = Pool.read(given.data, given.manifest, given.model)
    confusion = pool.confusion()
    if given.confusion == "genuine":
        confusion[: len(CLASSES)] = CONFUSION
    rng = np.random.default_rng(given.seed)
    print(f"{len(pool.truth):,} crops, {given.surveys} surveys a line, {MINUTES} minutes, "
          f"{MINUTES * IMAGES:,} images each; confusion: {given.confusion}")  # fmt: skip
    print("| labels | least of a predicted class | shares | class | coverage %: labels "
          "| and scores | bias %: labels | and scores | width %: labels | and scores | ratio "
          "| told % | coverage % where told | of the narrower |")  # fmt: skip
    print("|" + "---|" * 14)
    for shares in SHARES:
        for size in given.sizes:
            measure(source, pool, confusion, shares, size, given.surveys, rng)


if __name__ == "__main__":
    main()
