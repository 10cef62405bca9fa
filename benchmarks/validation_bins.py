"""Do the intervals of single bins hold, whose confusion differs from their stratum's?

    python -m benchmarks.validation_bins --data ../shared/data [--surveys 500] [--bins 30]

As ``benchmarks.validation``, with surveys of several bins. In each bin the confusion of the model
is drawn anew: each row of it from a Dirichlet distribution around the survey's, with the given
concentration (infinite: all bins are alike). With ``--prevalence`` the shares of the classes vary
between bins as well. Truth is the expected raised number of each class in the bin.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.coverage import Survey
from benchmarks.validation import CLASSES, CONFUSION, SHARES
from pi10_classifier.abundance.bin_correction import BinCells, corrected_bins
from pi10_classifier.abundance.correction import Predicted
from pi10_classifier.labelling.design import allocate, priorities, taken

MINUTES, IMAGES, K = 10, 300, len(CLASSES)


def varied(rows: np.ndarray, concentration: float, rng: np.random.Generator) -> np.ndarray:
    """Distributions drawn around ``rows`` (..., K)."""
    if not np.isfinite(concentration):
        return rows
    drawn = rng.standard_gamma(rows * concentration)
    return drawn / drawn.sum(axis=-1, keepdims=True)


def survey(
    factors: np.ndarray, bins: int, shares: np.ndarray, concentration: float, prevalence: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """Bin, truth, prediction and factor of each particle (N,); expected totals (bins, K)."""
    home = np.repeat(np.arange(bins), MINUTES)
    local = varied(np.tile(shares, (bins, 1)), prevalence, rng)
    confusion = varied(np.tile(CONFUSION, (bins, 1, 1)), concentration, rng)
    rates = IMAGES * local[home]  # images a minute and class
    counts = rng.poisson(rates)
    truth = np.repeat(np.tile(np.arange(K), len(factors)), counts.ravel())
    minute = np.repeat(np.repeat(np.arange(len(factors)), K), counts.ravel())
    row = confusion[home[minute], truth]
    prediction = (rng.random(len(truth))[:, None] > row.cumsum(axis=1)).sum(axis=1)
    expected = np.zeros((bins, K))
    np.add.at(expected, home, rates * factors[:, None])
    return home[minute], truth, np.minimum(prediction, K - 1), factors[minute], expected


def estimate(
    at_bin: np.ndarray, truth: np.ndarray, prediction: np.ndarray, factor: np.ndarray,
    bins: int, size: int, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Totals of bins and classes (bins, K) with limits, from a sample of ``size`` labels."""
    raised = {h: float(factor[prediction == h].sum()) for h in range(K)}
    wanted = allocate(raised, {h: int((prediction == h).sum()) for h in range(K)}, size)
    ranks = priorities(rng.random(len(factor)), factor)
    strata, cells = {}, {}
    largest = np.zeros(bins)
    np.maximum.at(largest, at_bin, factor)
    for h, name in enumerate(CLASSES):
        at = np.flatnonzero(prediction == h)
        drawn, certain = taken(ranks[at], factor[at], wanted[h], raised[h])
        labels, fixed = np.zeros((2, bins, K))
        np.add.at(labels, (at_bin[at[drawn]], truth[at[drawn]]), 1)
        np.add.at(fixed, (at_bin[at[certain]], truth[at[certain]]), factor[at[certain]])
        sums = [np.bincount(at_bin[at], factor[at] ** power, bins) for power in (1, 2)]
        strata[name] = Predicted(
            raised[h], float(sums[1].sum()), float(factor[at].max()),
            {c: int(n) for c, n in zip(CLASSES, labels.sum(axis=0), strict=True) if n},
            {c: float(n) for c, n in zip(CLASSES, fixed.sum(axis=0), strict=True) if n},
        )  # fmt: skip
        cells[name] = BinCells(sums[0], sums[1], largest, labels, fixed)
    return corrected_bins(strata, cells, CLASSES, seed=int(rng.integers(2**31)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation_bins")
    parser.description = __doc__
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--surveys", type=int, default=500)
    parser.add_argument("--bins", type=int, default=30)
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--concentrations", type=float, nargs="+", default=[20, np.inf])
    parser.add_argument("--prevalence", type=float, default=np.inf,
                        help="concentration of the classes' shares between bins")  # fmt: skip
    parser.add_argument("--factor", type=float, default=10.0, help="the highest factor of a minute")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    source = Survey.read(given.data / "hits_misses_cend0824.csv").up_to(given.factor)
    rng = np.random.default_rng(given.seed)
    print(f"{given.surveys} surveys a line, {given.bins} bins of {MINUTES * IMAGES:,} images")
    print("| concentration | labels | shares | coverage % " + " | ".join(CLASSES)
          + " | mean | width % (medians) |")  # fmt: skip
    print("|---" * 8 + "|")
    for concentration in given.concentrations:
        for shares in SHARES:
            for size in given.sizes:
                hits, widths = [], []
                for _ in range(given.surveys):
                    factors = source.stretch(MINUTES * given.bins, rng).factors
                    *particles, expected = survey(factors, given.bins, np.array(shares),
                                                  concentration, given.prevalence, rng)  # fmt: skip
                    _, low, high = estimate(*particles, given.bins, size, rng)
                    hits.append(((low <= expected) & (expected <= high)).mean(axis=0))
                    widths.append(np.median((high - low) / np.maximum(expected, 1e-9), axis=0))
                coverage, width = 100 * np.mean(hits, axis=0), 100 * np.median(widths, axis=0)
                print(f"| {concentration:g} | {size} | {'/'.join(f'{x:g}' for x in shares)} | "
                      + " | ".join(f"{x:.1f}" for x in coverage) + f" | {coverage.mean():.1f} | "
                      + " / ".join(f"{x:.0f}" for x in width) + " |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
