"""How often the intervals hold what they are named for, on simulated surveys.

    python -m benchmarks.coverage --data FOLDER [--replicates 2000] [--out coverage.json]

FOLDER holds ``hits_misses_cend0824.csv`` (date, bin, minute, hits, misses), from which come the
raising factors: real ones, in stretches of minutes that followed each other.

**The water sampled.** A class passes at ``rate`` individuals a minute, Poisson; of each minute
hits / (hits + misses) are saved and counted. Truth is the expected number in these minutes' water:
rate x minutes. The number that really passed would be no truth for this interval: where nothing is
missed it is the count itself, which every interval holds.

**The water mass.** Minutes vary by more than Poisson: their numbers are negative binomial with the
given ratio of variance to mean, thinned in the same way. Truth is the mean of the water mass, of
which the minutes are a sample. Factors are those of clean minutes (up to 2).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pi10_classifier.abundance.bins import pool
from pi10_classifier.abundance.density import LITRES_PER_MINUTE
from pi10_classifier.abundance.minutes import CountRow, MinuteKey, minute_rows
from pi10_classifier.instrument.names import BIN_MINUTES

I64 = NDArray[np.int64]
TABLE = "hits_misses_cend0824.csv"
RATES = (0.01, 0.1, 1.0, 10.0, 50.0)
MEANS = (500.0, 2000.0)  # with a ratio of 33: 0.25 and 0.13 between minutes, beside Poisson
MINUTES = (10, 60, 600)
RATIO = 33.0
CLEAN = 2.0  # the factor above which minutes are questionable
START = datetime(2024, 5, 16, tzinfo=UTC)
LABEL, OTHER = "copepod", "other"
_SURVEYS = 20  # that pass over each stretch drawn
_SHARE = 20  # the class is at the most about so small a share of what passes


@dataclass(frozen=True, slots=True)
class Survey:
    """Hits and misses of minutes in the order in which they were observed; arrays (n,)."""

    hits: I64
    misses: I64

    @classmethod
    def read(cls, path: Path) -> Survey:
        """The minutes of the CSV that have a raising factor, which takes a hit."""
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [(int(r["hits"]), int(r["misses"])) for r in csv.DictReader(stream)]
        hits, misses = np.array(rows, np.int64).T
        return cls(hits[hits > 0], misses[hits > 0])

    @property
    def factors(self) -> NDArray[np.float64]:
        return (self.hits + self.misses) / self.hits

    def up_to(self, factor: float) -> Survey:
        """Only the minutes whose factor is at the most so high."""
        kept = self.factors <= factor
        return Survey(self.hits[kept], self.misses[kept])

    def stretch(self, minutes: int, rng: np.random.Generator) -> Survey:
        """Minutes that follow each other, from any one on; the last is followed by the first."""
        at = (rng.integers(len(self.hits)) + np.arange(minutes)) % len(self.hits)
        return Survey(self.hits[at], self.misses[at])

    def times(self, mean: float) -> Survey:
        """The same factors, with enough hits that a class of ``mean`` a minute is a small share."""
        scale = np.maximum(1, np.ceil(_SHARE * (mean + 10) / self.hits)).astype(np.int64)
        return Survey(self.hits * scale, self.misses * scale)


def sampled(rate: float, survey: Survey, rng: np.random.Generator) -> I64:
    """Counts (n,) of a class that passes at ``rate`` a minute, Poisson, of which hits are saved."""
    return rng.poisson(rate / survey.factors)


def patchy(mean: float, ratio: float, survey: Survey, rng: np.random.Generator) -> I64:
    """Counts (n,) of a class whose minutes are negative binomial, variance ``ratio`` x mean."""
    passed = rng.negative_binomial(mean / (ratio - 1), 1 / ratio, len(survey.hits))
    return rng.binomial(passed, 1 / survey.factors)


def rows_of(counts: I64, survey: Survey) -> list[CountRow]:
    """The class's rows of ``counts.csv`` for these minutes; all hits have an image."""
    images: dict[MinuteKey, int] = {}
    tables: dict[str, list[tuple[int, int]]] = {}
    starts: dict[str, datetime | None] = {}
    for i, (count, hits, misses) in enumerate(
        zip(counts.tolist(), survey.hits.tolist(), survey.misses.tolist(), strict=True)
    ):
        minute = START + timedelta(minutes=i)
        name = f"bin {i // BIN_MINUTES:04}"
        starts.setdefault(name, minute)
        tables.setdefault(name, []).append((hits, misses))
        images[name, minute, LABEL] = count
        images[name, minute, OTHER] = hits - count
    found = minute_rows(images, tables, starts, (LABEL, OTHER))
    return [row for row in found if row.label == LABEL]


def with_counts(rows: Sequence[CountRow], counts: I64) -> list[CountRow]:
    """The same minutes with other counts: as ``rows_of`` makes them, in a tenth of its time.

    The limits of single minutes are left as they are: nothing here asks for them.
    """
    found = []
    for row, count in zip(rows, counts.tolist(), strict=True):
        if row.raised_count is None or row.litres is None or row.hits is None:
            found.append(replace(row, count=count))
            continue
        raised = count * (row.hits + (row.misses or 0)) / row.hits
        found.append(replace(row, count=count, raised_count=raised, per_litre=raised / row.litres))
    return found


def limits(rows: Sequence[CountRow]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Low and high per litre: of the water sampled, and of the water mass."""
    density = pool(rows)
    return (density.low, density.high), (density.water_mass_low, density.water_mass_high)


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table. ratio: variance over mean between minutes; 1 is Poisson."""

    interval: str
    per_minute: float
    minutes: int
    ratio: float = 1.0


@dataclass(frozen=True, slots=True)
class Covered:
    """What came of a case: shares of all replicates; ``width`` in truths, the median."""

    case: Case
    replicates: int
    coverage: float
    below: float
    above: float
    width: float


def cases() -> Iterator[Case]:
    for minutes in MINUTES:
        yield from (Case("water sampled", rate, minutes) for rate in RATES)
    for minutes in MINUTES:
        yield from (Case("water mass", mean, minutes, RATIO) for mean in MEANS)


def cover(case: Case, survey: Survey, replicates: int, seed: Sequence[int]) -> Covered:
    """Simulate a case again and again. below, above: how often the truth lies there."""
    rng = np.random.default_rng(seed)
    sampling = case.interval == "water sampled"
    truth = case.per_minute / LITRES_PER_MINUTE
    found = np.empty((replicates, 2))
    some = survey if sampling else survey.up_to(CLEAN)
    for i in range(replicates):
        if i % _SURVEYS == 0:
            stretch = some.stretch(case.minutes, rng).times(case.per_minute)
            minutes = rows_of(np.zeros(case.minutes, np.int64), stretch)
        if sampling:
            counts = sampled(case.per_minute, stretch, rng)
        else:
            counts = patchy(case.per_minute, case.ratio, stretch, rng)
        found[i] = limits(with_counts(minutes, counts))[0 if sampling else 1]
    return judged(case, truth, found)


def judged(case: Case, truth: float, found: NDArray[np.float64]) -> Covered:
    """Limits (n, 2) against the truth, which the limits themselves include."""
    low, high = found.T
    below, above = float((truth < low).mean()), float((truth > high).mean())
    width = float(np.median(high - low) / truth)
    return Covered(case, len(found), 1 - below - above, below, above, width)


def _cover(job: tuple[Case, Survey, int, tuple[int, int]]) -> Covered:
    return cover(*job)


def run(survey: Survey, replicates: int, seed: int, processes: int) -> list[Covered]:
    """All cases; the same seed gives the same figures, whatever the number of processes."""
    jobs = [(case, survey, replicates, (seed, n)) for n, case in enumerate(cases())]
    jobs.sort(key=lambda job: -job[0].minutes)  # the longest first
    with ProcessPoolExecutor(processes) as pool:
        done = list(pool.map(_cover, jobs))
    order = list(cases())
    return sorted(done, key=lambda covered: order.index(covered.case))


def to_json(found: Sequence[Covered], replicates: int, seed: int) -> dict[str, Any]:
    return {
        "replicates": replicates,
        "seed": seed,
        "cases": [asdict(covered) for covered in found],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help=f"the folder with {TABLE}")
    parser.add_argument("--replicates", type=int, default=2000, help="surveys a case")
    parser.add_argument("--largest-factor", type=float, default=np.inf,
                        help="leave out minutes whose raising factor is greater")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    chosen = parser.parse_args()
    survey = Survey.read(chosen.data / TABLE).up_to(chosen.largest_factor)
    found = run(survey, chosen.replicates, chosen.seed, chosen.jobs)
    table = Table(title=f"coverage of the 95 % intervals, {chosen.replicates:,} surveys a case")
    for heading in ("interval of the", "a minute", "minutes", "variance / mean", "coverage %",
                    "truth below %", "above %", "width / truth"):  # fmt: skip
        table.add_column(heading, justify="left" if "interval" in heading else "right")
    for c in found:
        shares = (f"{100 * share:.1f}" for share in (c.coverage, c.below, c.above))
        table.add_row(c.case.interval, f"{c.case.per_minute:g}", str(c.case.minutes),
                      f"{c.case.ratio:g}", *shares, f"{c.width:.3g}")  # fmt: skip
    Console().print(table)
    if chosen.out:
        said = to_json(found, chosen.replicates, chosen.seed)
        chosen.out.write_text(json.dumps(said, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
