"""How often the intervals of a density hold the truth: ``python -m benchmarks.coverage``.

Surveys are drawn with the factors of a real one, HITS_MISSES.csv (date, bin, minute, hits,
misses), minute after minute from a random begin on.

- *The water sampled*: a class has one density throughout, of which each minute saves Poisson
  counts thinned by its own factor; the mean count of a minute is RATE. The truth is that density.
- *The water mass*: the density differs between minutes (gamma), so that counts vary RATIO times
  as much as Poisson counts; the truth is its mean.

Intervals come from ``abundance.densities``, as every table and page has them.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.abundance import LITRES_PER_MINUTE, Density, Sums, densities

F64 = NDArray[np.float64]
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 50.0)
MINUTES = (10, 60, 600)
MASS_COUNTS = (100.0, 500.0, 2200.0)
MASS_MINUTES = (10, 60)
RATIO = 33.0


def factors_of(table: Path, greatest: float = np.inf) -> F64:
    """(hits + misses) / hits of each minute that has hits, up to ``greatest``."""
    with table.open(newline="") as stream:
        rows = [(int(row["hits"]), int(row["misses"])) for row in csv.DictReader(stream)]
    found = np.array([(hits + misses) / hits for hits, misses in rows if hits])
    return found[found <= greatest]


def stretches(factors: F64, minutes: int, surveys: int, draw: np.random.Generator) -> F64:
    """(surveys, minutes): consecutive factors, from the begin again after the end."""
    begins = draw.integers(len(factors), size=(surveys, 1))
    return factors[(begins + np.arange(minutes)) % len(factors)]


def pooled(counts: F64, factors: F64) -> list[Density]:
    """The density of each survey; counts and factors are (surveys, minutes)."""
    raised = counts * factors
    sums = [
        Sums(len(w), r.sum(), (r * w).sum(), w.max(), LITRES_PER_MINUTE * len(w),
             ((r / LITRES_PER_MINUTE) ** 2).sum())
        for r, w in zip(raised, factors, strict=True)
    ]  # fmt: skip
    return [density for density in densities(sums) if density]


def covered(truth: F64, low: Sequence[float], high: Sequence[float]) -> float:
    """Share of the intervals that hold the truth, in per cent."""
    return float(100 * ((np.array(low) <= truth) & (truth <= np.array(high))).mean())


def water_sampled(
    factors: F64, rate: float, minutes: int, surveys: int, draw: np.random.Generator
) -> float:
    """Coverage (%) of the interval of the water sampled."""
    w = stretches(factors, minutes, surveys, draw)
    passed = rate / (1 / w).mean(axis=1, keepdims=True)  # particles in a minute's water
    found = pooled(draw.poisson(passed / w).astype(np.float64), w)
    truth = passed[:, 0] / LITRES_PER_MINUTE
    return covered(truth, [one.low for one in found], [one.high for one in found])


def water_mass(rate: float, minutes: int, surveys: int, draw: np.random.Generator) -> Any:
    """Coverage (%) of the interval of the water mass, and of the one of the water sampled."""
    shape = rate / (RATIO - 1)  # of a gamma density: Poisson counts of it vary RATIO times
    here = draw.gamma(shape, rate / shape, (surveys, minutes))
    found = pooled(draw.poisson(here).astype(np.float64), np.ones((surveys, minutes)))
    truth = np.full(surveys, rate / LITRES_PER_MINUTE)
    mass = covered(
        truth,
        [one.water_mass_low or 0.0 for one in found],
        [one.water_mass_high or 0.0 for one in found],
    )
    return mass, covered(truth, [one.low for one in found], [one.high for one in found])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--table", type=Path, default=Path("../shared/data/hits_misses_cend0824.csv")
    )
    parser.add_argument("--surveys", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    draw = np.random.default_rng(chosen.seed)
    out: dict[str, Any] = {"surveys": chosen.surveys, "seed": chosen.seed}
    for name, greatest in (("all minutes", np.inf), ("minutes with a factor up to 10", 10.0)):
        factors = factors_of(chosen.table, greatest)
        print(f"interval of the water sampled, {name} ({len(factors)}), coverage in %")
        print("counts/min " + "".join(f"{f'{m} min':>10}" for m in MINUTES))
        for rate in RATES:
            found = [water_sampled(factors, rate, m, chosen.surveys, draw) for m in MINUTES]
            out.setdefault(name, {})[rate] = dict(zip(MINUTES, found, strict=True))
            print(f"{rate:<11g}" + "".join(f"{one:>10.1f}" for one in found))
    print(f"variance over mean {RATIO:g}: interval of the water mass (of the water sampled), %")
    print("counts/min " + "".join(f"{f'{m} min':>16}" for m in MASS_MINUTES))
    for rate in MASS_COUNTS:
        pairs = [water_mass(rate, m, chosen.surveys, draw) for m in MASS_MINUTES]
        out.setdefault("water mass", {})[rate] = dict(zip(MASS_MINUTES, pairs, strict=True))
        print(f"{rate:<11g}" + "".join(f"{mass:>9.1f} ({own:4.1f})" for mass, own in pairs))
    if chosen.json:
        chosen.json.write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
