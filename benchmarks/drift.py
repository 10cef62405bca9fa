"""False alarms per day and delay of drift, with planted changes on real particles.

    python -m benchmarks.drift --data ../shared/data --out DIR

Crops of the two sets of labelled images are pasted into crops as the instrument cuts them, on its
ground and through its optics (``simulate.linescan``), and classified by the real engine. Pools of
them, apart from one another, are the reference, the streams that the limit is chosen on, and the
streams that are judged. A stream draws each minute's images from its pool: about IMAGES of them,
of a mix of classes that wanders, under light that wanders. Changes are planted before the camera:
blur, dirt, darker light, another camera's particles, another mix.

    python -m benchmarks.drift --cost --out DIR

What the camera's columns and the counts cost: processor time with and without, in turns.
"""

from __future__ import annotations

import argparse
import json
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.stats import chi2

from pi10_classifier.classify import classify
from pi10_classifier.drift.chart import LIMIT, Monitor, subjects
from pi10_classifier.drift.quantities import CAMERA, MODEL, QUANTITIES, SEA
from pi10_classifier.drift.reference import Reference, read_reference
from pi10_classifier.drift.statistics import deviations
from pi10_classifier.drift.sums import columns_of, count_images, empty
from pi10_classifier.imaging.decode import decode
from pi10_classifier.imaging.preprocess import Grey, level
from pi10_classifier.inference.engine import Engine
from pi10_classifier.inference.settings import Settings
from pi10_classifier.instrument.moments import minute
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.reference import fit_reference
from pi10_classifier.registry.resolve import find
from pi10_classifier.results.gallery import Gallery
from pi10_classifier.simulate import encode_tiff, linescan
from pi10_classifier.sources.base import Item

CLASSES = ("copepod", "detritus", "noncopepod")
SEA_MIX = (0.3, 0.4, 0.3)  # of the reference: by true class
OTHER_MIX = (0.7, 0.1, 0.2)
IMAGES = 300  # a minute; one in twenty minutes of CEND0824 saved fewer than 830
STATES, STATE_SD = 10, 0.005  # states of the light, and their sd as a share of it
START = datetime(2024, 5, 16, 10, 0, tzinfo=UTC)
DAY, GOOD, CHANGED = 1440, 60, 240  # minutes
REFERENCE_MINUTES = 360
LIMITS = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)
LONGEST_PX = 300
SUBJECTS = (CAMERA, MODEL, SEA)

F32 = np.ndarray[Any, np.dtype[np.float32]]
Pool = dict[str, np.ndarray[Any, Any]]
"""Columns of a pool's images: true class, state of the light, and those of the table."""

CHANGES: Mapping[str, dict[str, Any]] = {
    "blur of 0.7 px": {"blur": 0.7},
    "blur of 1.5 px": {"blur": 1.5},
    "dirt: 20 stripes, 10 % darker": {"stripes": 20},
    "dirt: specks twice as dense": {"specks": 1},
    "light 3 % darker": {"light": 0.97},
    "light 10 % darker": {"light": 0.90},
}


def opacities(path: Path, rng: np.random.Generator, most: int) -> Iterator[tuple[str, F32]]:
    """Class and opacity (H, W), 0..1, of real particles in a tar of labelled crops."""
    found = 0
    with tarfile.open(path) as tar:
        members = [member for member in tar if member.isreg()]
        for at in rng.permutation(len(members)):
            group = members[at].name.split("/")[-3]
            file = tar.extractfile(members[at]) if group in CLASSES else None
            if file is None:
                continue
            grey = Grey.of(decode(file.read()).rgb)
            opacity = 1 - level(grey.pixels, grey.background).astype(np.float32) / 255
            opacity[opacity < 0.06] = 0
            rows, columns = np.nonzero(opacity > 0.15)
            if len(rows) < 30:
                continue
            cut = opacity[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            if max(cut.shape) <= LONGEST_PX:
                yield group, cut
                found += 1
            if found == most:
                return


def image(
    opacity: F32, rng: np.random.Generator, *, gain: float = 1.0, blur: float = 0.0,
    stripes: int = 0, specks: int = 0,
) -> np.ndarray[Any, np.dtype[np.uint8]]:  # fmt: skip
    """The particle as the instrument shows it, RGB; with a change of the camera."""
    height, width = opacity.shape
    rows, columns, top, left = linescan.framing(height, width, rng)
    light = np.ones((rows, columns), np.float32)
    light[int(top) : int(top) + height, int(left) : int(left) + width] *= 1 - opacity
    light = linescan.defocus(light, max(height, width), rng, already=1.0)
    for _ in range(1 + specks):
        light = light * linescan.specks(rows, columns, rng)
    if blur:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), blur), np.float32)
    if stripes:  # at fixed places of the sensor, of which the crop is some part
        at = np.arange(stripes) * 4096 // stripes - int(rng.integers(4096 - columns))
        for place in at[(at >= 0) & (at < columns - 4)]:
            light[:, place : place + 4] *= 0.9
    return linescan.expose(np.stack([light * np.float32(gain)] * 3), rng)


def pool(
    particles: Sequence[tuple[str, F32]], engine: Engine, seed: int, light: float = 1.0,
    **change: Any,
) -> Pool:  # fmt: skip
    """The particles' images, each under one of the states of the light, through the engine."""
    rng = np.random.default_rng(seed)
    gains = 1 + STATE_SD * np.linspace(-1.6, 1.6, STATES)
    rows: list[Any] = []
    for start in range(0, len(particles), 64):
        chunk = []
        for at, (_, opacity) in enumerate(particles[start : start + 64], start):
            rgb = image(opacity, rng, gain=light * gains[at % STATES], **change)
            name = f"RawImages/pia7.{START:%Y-%m-%d.%H%M}+N{at:08d}.tif"
            chunk.append(Item("1000.tar", name, encode_tiff(rgb, START, 50.0, -4.0)))
        rows += engine.process(chunk, Gallery()).rows
    columns: Pool = {
        "true": np.array([group for group, _ in particles]),
        "state": np.arange(len(particles)) % STATES,
        "label": np.array([row.label for row in rows]),
    }
    for quantity in QUANTITIES.values():
        columns[quantity.column] = np.array(
            [getattr(row, quantity.column) for row in rows], np.float64
        )
    return columns


def stream(
    seed: int, minutes: int, of: Pool, mix: Sequence[float] = SEA_MIX
) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """The images of each minute, as rows of a pool. The mix and the light wander."""
    rng = np.random.default_rng(seed)
    places = {
        (group, state): np.nonzero((of["true"] == group) & (abs(of["state"] - state) <= 2))[0]
        for group in CLASSES
        for state in range(STATES)
    }
    wander = rng.normal(0, 0.3, len(CLASSES))
    state = int(rng.integers(STATES))
    for number in range(minutes):
        wander = 0.95 * wander + rng.normal(0, 0.3 * np.sqrt(1 - 0.95**2), len(CLASSES))
        if number % 10 == 0:
            state = int(np.clip(state + rng.integers(-2, 3), 0, STATES - 1))
        shares = np.array(mix) * np.exp(wander)
        numbers = rng.multinomial(rng.poisson(IMAGES), shares / shares.sum())
        yield np.concatenate([
            rng.choice(places[group, state], number)
            for group, number in zip(CLASSES, numbers, strict=True)
        ])  # fmt: skip


def counted(reference: Reference, of: Pool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Each image's own counts (images, …): those of a minute are their sum."""
    images = len(of["true"])
    minutes = [START + timedelta(minutes=at) for at in range(images)]
    whole = {**of, "bin": ["pia7"] * images, "datetime": minutes}
    tables = count_images(reference, {name: whole[name] for name in columns_of(reference)})
    single = np.zeros((images, *empty(reference).shape), np.int64)
    for at, when in enumerate(minutes):  # a blank image has no counts
        single[at] = tables.get(("pia7", minute(when)), 0)
    return single


def steps(
    reference: Reference,
    single: np.ndarray[Any, np.dtype[np.int64]],
    minutes: Iterator[np.ndarray[Any, np.dtype[np.int64]]],
) -> list[dict[str, float]]:
    """The deviations of each minute. single: of ``counted``."""
    return [deviations(reference, single[rows].sum(axis=0)) for rows in minutes]


def onsets(
    reference: Reference, off: Sequence[Mapping[str, float]], limit: float
) -> dict[str, int]:
    """How often an alarm of each subject begins."""
    monitor, before = Monitor(reference, limit=limit), set[str]()
    begun = dict.fromkeys(SUBJECTS, 0)
    for step in off:
        monitor.advance(step)
        now = set(subjects(monitor.alarms))
        for subject in now - before:
            begun[subject] += 1
        before = now
    return begun


def first(
    reference: Reference, off: Sequence[Mapping[str, float]], subject: str
) -> tuple[bool, int | None]:
    """Whether the subject alarmed before the change, and minutes from the change to its alarm."""
    monitor = Monitor(reference, limit=LIMIT)
    for number, step in enumerate(off):
        monitor.advance(step)
        if subject in subjects(monitor.alarms):
            return number < GOOD, number - GOOD + 1
    return False, None


def poisson(events: int, days: float) -> str:
    """Events a day with Garwood's exact 95 % limits."""
    low = chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
    high = chi2.ppf(0.975, 2 * events + 2) / 2
    return f"{events / days:.2f} ({low / days:.2f} to {high / days:.2f})"


def median(values: Sequence[float]) -> str:
    """The median with its 95 % interval, by 2,000 bootstrap resamples of the streams."""
    if not values:
        return "-"
    drawn = np.random.default_rng(0).choice(np.array(values, float), (2000, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return f"{np.median(values):g} ({low:g} to {high:g})"


def pools(data: Path, out: Path, size: int, engine: Engine) -> dict[str, Pool]:
    """All pools; kept in ``out``, as making them takes minutes."""
    path = out / "pools.npz"
    if path.exists():
        kept: dict[str, Pool] = {}
        with np.load(path) as stored:
            for name in stored.files:
                pool_name, _, column = name.partition("|")
                kept.setdefault(pool_name, {})[column] = stored[name]
        return kept
    rng = np.random.default_rng(19)
    ours = list(opacities(data / "planktonset1.tar", rng, 3 * size))
    theirs = list(opacities(data / "pwssc.tar", rng, size))
    judged = ours[2 * size :]
    made = {
        "reference": pool(ours[:size], engine, 1),
        "chosen on": pool(ours[size : 2 * size], engine, 2),
        "judged": pool(judged, engine, 3),
        "another camera": pool(theirs, engine, 4),
    }
    for number, (name, change) in enumerate(CHANGES.items()):
        made[name] = pool(judged, engine, 5 + number, **change)
    flat = {f"{name}|{column}": v for name, held in made.items() for column, v in held.items()}
    np.savez(path, **flat)
    return made


def measure(given: argparse.Namespace) -> None:
    model = Model.load(find(given.model))
    engine = Engine.from_settings(model, Settings(model=find(given.model), camera=True))
    made = pools(given.data, given.out, given.size, engine)
    good: dict[str, list[Any]] = {"bin": [], "datetime": []}
    for number, rows in enumerate(stream(1, REFERENCE_MINUTES, made["reference"])):
        for name, values in made["reference"].items():
            good.setdefault(name, []).extend(values[rows])
        good["bin"] += ["pia7"] * len(rows)
        good["datetime"] += [START + timedelta(minutes=number)] * len(rows)
    fields, _ = fit_reference(good, model.package, UM_PER_PX, "reference")
    path = given.out / "reference.json"
    path.write_text(json.dumps(fields), "utf-8")
    reference = read_reference(path)
    spreads = {name: round(spread.sd, 4) for name, spread in reference.between.items()}
    print(f"reference: {reference.images:,} images, {reference.minutes} minutes; sd {spreads}\n")
    singles = {name: counted(reference, of) for name, of in made.items()}

    def days(name: str, seed: int) -> list[list[dict[str, float]]]:
        return [
            steps(reference, singles[name], stream(seed + day, DAY, made[name]))
            for day in range(given.days)
        ]

    print("false alarms a day on the streams that the limit is chosen on, by limit", flush=True)
    chosen = days("chosen on", 100)
    for limit in LIMITS:
        print(f"  {limit:4g}: {_told(reference, chosen, limit)}", flush=True)
    if given.choose:
        return
    print(f"\njudged, with the limit {LIMIT:g}, without a change: false alarms a day")
    print(f"  {_told(reference, days('judged', 9000), LIMIT)}", flush=True)
    header = [f"{subject} {what}" for subject in SUBJECTS for what in ("told", "delay, minutes")]
    print(f"\n| change | {' | '.join(header)} |\n|---|{'---|' * len(header)}")
    for name in ("none", *CHANGES, "another camera", "another mix of classes"):
        mix = OTHER_MIX if name == "another mix of classes" else SEA_MIX
        changed = name if name in made else "judged"
        offs = [
            [
                *steps(reference, singles["judged"], stream(5000 + n, GOOD, made["judged"])),
                *steps(reference, singles[changed], stream(6000 + n, CHANGED, made[changed], mix)),
            ]
            for n in range(given.streams)
        ]
        cells = []
        for subject in SUBJECTS:
            found = [first(reference, off, subject) for off in offs]
            calm = [delay for early, delay in found if not early]
            delays = [delay for delay in calm if delay is not None]
            cells += [f"{len(delays)} of {len(calm)}", median(delays)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _told(reference: Reference, days: Sequence[Any], limit: float) -> str:
    sums = [onsets(reference, off, limit) for off in days]
    told = {s: poisson(sum(of_day[s] for of_day in sums), len(days)) for s in SUBJECTS}
    return ", ".join(f"{subject} {rate}" for subject, rate in told.items())


def cost(given: argparse.Namespace) -> None:
    """Processor time of whole runs, with and without a reference, in pairs in turns."""
    inputs = [str(path) for path in given.inputs]
    reference = read_reference(given.out / "reference.json")
    # imports and the first run of the model would be charged to one side
    classify(
        inputs, given.out / "cost-False", Settings(model=find(given.model), jobs=1), overwrite=True
    )
    ratios = []
    for pair in range(given.pairs):
        spent = {}
        for on in (pair % 2 == 0, pair % 2 != 0):
            settings = Settings(
                model=find(given.model), jobs=1, reference=reference if on else None
            )
            began = time.process_time()
            run = classify(inputs, given.out / f"cost-{on}", settings, overwrite=True)
            spent[on] = time.process_time() - began
        ratios.append(spent[True] / spent[False])
        images = run.tally.totals["results"]
        told = f"{images:,} images, {spent[False]:.2f} s without, x{ratios[-1]:.4f}"
        print(f"pair {pair}: {told}", flush=True)
    print(f"ratio of processor time: median {median([round(ratio, 4) for ratio in ratios])}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--size", type=int, default=4000, help="Particles of a pool.")
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--choose", action="store_true", help="Only try the limits.")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--inputs", nargs="*", type=Path, default=[])
    parser.add_argument("--pairs", type=int, default=10)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    cost(given) if given.cost else measure(given)


if __name__ == "__main__":
    main()
