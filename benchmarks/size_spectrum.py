"""How often the interval of a size spectrum's slope holds the slope, and how fast sizes are summed.

    python -m benchmarks.size_spectrum --data FOLDER [--runs 200] [--out size_spectrum.json]
    python -m benchmarks.size_spectrum --rows 10000000

FOLDER holds ``hits_misses_cend0824.csv`` (date, bin, minute, hits, misses), from which come the
raising factors: real ones, in stretches of minutes that followed each other. Volumes in the water
are a power law of known slope from 100 µm to 35 mm of diameter. Each run draws the particles that
are saved in each minute (Poisson, thinned by the minute's factor), measures them in whole pixels of
10 µm, and fits the slope from 180 µm on, as ``pi10 sizes`` and the report do.

Beside it stand the two usual ways: a straight line through the logarithms of the normalised
biovolume of each class, unweighted, and weighted by the inverse of their variance.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

from benchmarks.coverage import TABLE, Survey
from pi10_classifier.abundance.density import LITRES_PER_MINUTE
from pi10_classifier.sizes.biovolume import esd_um
from pi10_classifier.sizes.slope import Range, fit_slope
from pi10_classifier.sizes.spectrum import SpectrumRow, spectrum
from pi10_classifier.sizes.sums import MinuteFactors, SizeSums

F64 = NDArray[np.float64]

SLOPES = (-0.7, -1.0, -1.3)
MINUTES = (10, 60, 600)
IMAGES = (100, 1000, 10_000)  # expected, from 180 µm on
WATER = Range.of_esd(100.0, 35_000.0)
PIXEL_UM2 = 100.0
LABEL = "copepod"


@dataclass(frozen=True, slots=True)
class Case:
    """What became of the intervals of one setting; None where no run gave one."""

    slope: float
    minutes: int
    images: int
    method: str
    covered: float | None
    bias: float | None
    width: float | None
    without: float


Interval = tuple[float, float, float]


def diameters(number: int, slope: float, rng: np.random.Generator) -> F64:
    """Diameters, µm, of volumes of a power law, as measured: areas are whole pixels."""
    x = np.log1p(rng.random(number) * np.expm1(slope * WATER.span)) / slope
    diameter = esd_um(WATER.low * np.exp(x))
    area = np.maximum(np.round(np.pi / 4 * diameter**2 / PIXEL_UM2), 1.0) * PIXEL_UM2
    return np.asarray(2 * np.sqrt(area / np.pi), np.float64)


def run(
    survey: Survey, slope: float, images: int, rng: np.random.Generator
) -> tuple[SizeSums, MinuteFactors]:
    """One survey of particles, added up as the program does it."""
    minutes = len(survey.hits)
    share = (
        np.exp(slope * np.log(Range.of_esd().low / WATER.low)) - np.exp(slope * WATER.span)
    ) / (1 - np.exp(slope * WATER.span))
    saved = 1 / survey.factors
    counts = rng.poisson(images / share * saved / saved.sum())
    factors = MinuteFactors()
    for minute in range(minutes):
        row = {
            "bin": "a", "label": LABEL, "raised_count": "1", "litres": str(LITRES_PER_MINUTE),
            "hits": str(survey.hits[minute]), "misses": str(survey.misses[minute]),
            "images": str(survey.hits[minute]),
        }  # fmt: skip
        factors.add(row, minute)
    at = np.repeat(np.arange(minutes), counts)
    diameter = diameters(len(at), slope, rng)
    codes = np.zeros(len(at), np.int64)
    strata, place, factor, weight = factors.of(["a"], codes, at)
    sums = SizeSums()
    sizes = {"esd_um": diameter, "major_um": diameter, "minor_um": diameter}
    sums.add([LABEL], codes, strata, place, factor, weight, sizes)
    return sums, factors


def by_likelihood(sums: SizeSums, factors: MinuteFactors) -> Interval | None:
    key = ("all", LABEL)
    fitted = fit_slope(sums.slopes[key], sums.limits.span) if key in sums.slopes else None
    return (fitted.slope, fitted.low, fitted.high) if fitted else None


def _classes(sums: SizeSums, factors: MinuteFactors) -> list[SpectrumRow]:
    m3 = factors.litres["all"] / 1000
    rows = spectrum(
        sums.cells.get(("all", LABEL), {}), m3, factors.largest["all"], sums.limits, "sphere"
    )
    return [row for row in rows if row.complete and row.normalised_biovolume > 0]


def by_line(sums: SizeSums, factors: MinuteFactors) -> Interval | None:
    rows = _classes(sums, factors)
    if len(rows) < 3:
        return None
    x = np.log([row.volume_middle_mm3 for row in rows])
    y = np.log([row.normalised_biovolume for row in rows])
    fitted = stats.linregress(x, y)
    half = float(stats.t.ppf(0.975, len(rows) - 2)) * float(fitted.stderr)
    return float(fitted.slope), float(fitted.slope) - half, float(fitted.slope) + half


def by_weighted_line(sums: SizeSums, factors: MinuteFactors) -> Interval | None:
    rows = _classes(sums, factors)
    if len(rows) < 3:
        return None
    cells = sums.cells["all", LABEL]
    x = np.log([row.volume_middle_mm3 for row in rows])
    y = np.log([row.normalised_biovolume for row in rows])
    sphere = [cells[row.size_class] for row in rows]
    w = np.array([cell.total[1] ** 2 / cell.variance[1] for cell in sphere])
    middle = np.average(x, weights=w)
    spread = float((w * (x - middle) ** 2).sum())
    slope = float((w * (x - middle) * y).sum()) / spread
    half = 1.96 / np.sqrt(spread)
    return slope, slope - half, slope + half


METHODS: dict[str, Callable[[SizeSums, MinuteFactors], Interval | None]] = {
    "likelihood": by_likelihood,
    "line": by_line,
    "weighted line": by_weighted_line,
}


def cases(survey: Survey, runs: int, seed: int) -> list[Case]:
    rng = np.random.default_rng(seed)
    done = []
    for slope in SLOPES:
        for minutes in MINUTES:
            for images in IMAGES:
                fitted: dict[str, list[Interval]] = {name: [] for name in METHODS}
                for _ in range(runs):
                    sums, factors = run(survey.stretch(minutes, rng), slope, images, rng)
                    for name, method in METHODS.items():
                        if interval := method(sums, factors):
                            fitted[name].append(interval)
                done += [
                    _case(slope, minutes, images, name, its, runs) for name, its in fitted.items()
                ]
    return done


def _case(
    slope: float, minutes: int, images: int, name: str, intervals: list[Interval], runs: int
) -> Case:
    without = 1 - len(intervals) / runs
    if not intervals:
        return Case(slope, minutes, images, name, None, None, None, without)
    value, low, high = np.array(intervals).T
    return Case(
        slope, minutes, images, name, float(np.mean((low <= slope) & (slope <= high))),
        float(np.median(value) - slope), float(np.median(high - low)), without,
    )  # fmt: skip


def show(done: list[Case], runs: int) -> None:
    table = Table(title=f"{runs} runs each: % that hold the slope / median error / median width")
    for name in ("slope", "minutes", "images", *METHODS, "no slope"):
        table.add_column(name, justify="right")
    for start in range(0, len(done), len(METHODS)):
        some = done[start : start + len(METHODS)]
        cells = [
            "" if case.covered is None
            else f"{100 * case.covered:.1f} / {case.bias:+.3f} / {case.width:.3f}"
            for case in some
        ]  # fmt: skip
        first = some[0]
        table.add_row(
            f"{first.slope}", str(first.minutes), f"{first.images:,}", *cells,
            f"{100 * first.without:.0f} %",
        )  # fmt: skip
    Console(width=120).print(table)
    held = [case.covered for case in done if case.method == "likelihood" and case.covered]
    print(f"likelihood: {100 * np.mean(held):.1f} % of all intervals hold the slope")


def rate(rows: int) -> None:
    """Particles a second that are summed, and the peak of memory."""
    rng = np.random.default_rng(0)
    survey = Survey(np.full(600, 1000), rng.integers(0, 9000, 600))
    factors = MinuteFactors()
    sums = SizeSums()
    for minute in range(600):
        row = {
            "bin": f"b{minute // 10}", "label": LABEL, "raised_count": "1", "litres": "34",
            "hits": "1000", "misses": str(survey.misses[minute]), "images": "1000",
        }  # fmt: skip
        factors.add(row, minute)
    names, labels = [f"b{n}" for n in range(60)], [LABEL, "detritus", "noncopepod"]
    seconds = 0.0
    for start in range(0, rows, 65_536):
        size = min(65_536, rows - start)
        minutes = rng.integers(0, 600, size)
        diameter = diameters(size, -1.0, rng)
        sizes = {"esd_um": diameter, "major_um": diameter * 1.5, "minor_um": diameter / 1.5}
        codes = rng.integers(0, 3, size)
        clock = time.perf_counter()
        strata, place, factor, weight = factors.of(names, minutes // 10, minutes)
        sums.add(labels, codes, strata, place, factor, weight, sizes)
        seconds += time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows:,} particles in {seconds:.1f} s, {rows / seconds:,.0f} a second; {peak:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=f"folder of {TABLE}")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0, help="measure the rate instead")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.rows:
        rate(options.rows)
        return
    if not options.data:
        parser.error(f"give --data, the folder of {TABLE}, or --rows")
    done = cases(Survey.read(options.data / TABLE), options.runs, options.seed)
    show(done, options.runs)
    if options.out:
        options.out.write_text(json.dumps([asdict(case) for case in done], indent=2) + "\n")


if __name__ == "__main__":
    main()
