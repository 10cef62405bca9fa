"""Do intervals corrected by a validated sample hold? Surveys with known truth, simulated.

    python -m benchmarks.validation --data ../shared/data [--surveys 500]

Each survey has real raising factors (stretches of minutes of hits_misses_cend0824.csv, those up to
``--factor``), particles of three classes at given shares, and a classifier with the confusion seen
on genuine Pi-10 particles. A sample is drawn as `pi10 validate draw` draws it and labelled by the
truth. Truth is the expected raised number of each class.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.coverage import Survey
from pi10_classifier.abundance.correction import Predicted, corrected
from pi10_classifier.labelling.design import allocate, priorities, taken

CLASSES = ("copepod", "detritus", "noncopepod")
# rows: truth; what the model calls them, as judged on genuine particles (November 2026)
CONFUSION = np.array([[0.80, 0.10, 0.10], [0.10, 0.40, 0.50], [0.13, 0.22, 0.65]])
SHARES = ((0.05, 0.90, 0.05), (0.22, 0.70, 0.08))
SIZES = (100, 300, 1000)
MINUTES, IMAGES = 60, 300


@dataclass(frozen=True, slots=True)
class Line:
    """What came of one number of labels and one mix of classes, by class (K,)."""

    size: int
    shares: tuple[float, ...]
    coverage: np.ndarray
    bias: np.ndarray
    width: np.ndarray


def survey(
    factors: np.ndarray, shares: tuple[float, ...], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth, prediction and factor of each particle (N,), and the expected total (K,)."""
    rates = np.outer(np.full(len(factors), IMAGES), shares)  # images a minute and class
    counts = rng.poisson(rates)
    truth = np.repeat(np.tile(np.arange(3), len(factors)), counts.ravel())
    factor = np.repeat(np.repeat(factors, 3), counts.ravel())
    prediction = (rng.random(len(truth))[:, None] > CONFUSION.cumsum(axis=1)[truth]).sum(axis=1)
    return truth, np.minimum(prediction, 2), factor, (rates * factors[:, None]).sum(axis=0)


def estimate(
    truth: np.ndarray,
    prediction: np.ndarray,
    factor: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Total, low and high of each class (K, 3) from a sample of ``size`` labels."""
    raised = {k: float(factor[prediction == k].sum()) for k in range(3)}
    wanted = allocate(raised, {k: int((prediction == k).sum()) for k in range(3)}, size)
    ranks = priorities(rng.random(len(factor)), factor)
    strata = {}
    for k in range(3):
        at = np.flatnonzero(prediction == k)
        known = Predicted(raised[k], float((factor[at] ** 2).sum()), float(factor[at].max()))
        drawn, certain = taken(ranks[at], factor[at], wanted[k], raised[k])
        for place in at[drawn].tolist():
            name = CLASSES[truth[place]]
            known.labels[name] = known.labels.get(name, 0) + 1
        for place in at[certain].tolist():
            name = CLASSES[truth[place]]
            known.certain[name] = known.certain.get(name, 0.0) + float(factor[place])
        strata[CLASSES[k]] = known
    found = corrected(strata, CLASSES, draws=4000, seed=int(rng.integers(2**31)))
    return np.array([(found[c].total, found[c].low, found[c].high) for c in CLASSES])


def measure(
    source: Survey, shares: tuple[float, ...], size: int, surveys: int, rng: np.random.Generator
) -> Line:
    hit, bias, width = [], [], []
    for _ in range(surveys):
        factors = source.stretch(MINUTES, rng).factors
        *particles, expected = survey(factors, shares, rng)
        total, low, high = estimate(*particles, size, rng).T
        hit.append((low <= expected) & (expected <= high))
        bias.append(total / expected - 1)
        width.append((high - low) / expected)
    return Line(size, shares, np.mean(hit, axis=0), np.mean(bias, axis=0), np.median(width, axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of hits_misses_cend0824.csv"
    )
    parser.add_argument("--surveys", type=int, default=500)
    parser.add_argument("--factor", type=float, default=10.0, help="the highest factor of a minute")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    source = Survey.read(given.data / "hits_misses_cend0824.csv").up_to(given.factor)
    rng = np.random.default_rng(given.seed)
    print(f"{given.surveys} surveys a line, {MINUTES} minutes, {MINUTES * IMAGES:,} images each")
    print("| labels | shares | class | coverage % | bias % | width % of the truth |")
    print("|---|---|---|---|---|---|")
    for shares in SHARES:
        for size in SIZES:
            began = time.monotonic()
            line = measure(source, shares, size, given.surveys, rng)
            for k, name in enumerate(CLASSES):
                print(f"| {size} | {'/'.join(f'{x:g}' for x in shares)} | {name} "
                      f"| {100 * line.coverage[k]:.1f} | {100 * line.bias[k]:+.1f} "
                      f"| {100 * line.width[k]:.0f} |", flush=True)  # fmt: skip
            del began


if __name__ == "__main__":
    main()
