"""Measures how fast each runtime runs a model on this machine, without images or files."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pi10_classifier.errors import Pi10Error
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.model.runtime import FP32
from pi10_classifier.model.session import Model

ROUNDS, SECONDS = 3, 0.5
FASTER = 1.1  # by less, another runtime is not worth other scores


@dataclass(frozen=True, slots=True)
class Speed:
    """The bare session's speed: images per second (median, least and most of the rounds).

    core_ms: processor time per image, milliseconds. problem: why nothing was measured. unjudged:
    it is an int8 graph that the gate of its package did not accept.
    """

    device: str
    precision: str = ""
    per_second: float = 0.0
    least: float = 0.0
    most: float = 0.0
    core_ms: float = 0.0
    problem: str = ""
    unjudged: bool = False

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        return (
            f"{self.per_second:,.0f} images/s ({self.least:,.0f} to {self.most:,.0f}) in"
            f" {self.precision}, {self.core_ms:.2f} ms of a core each"
        )


def measure_speed(
    folder: Path,
    devices: Sequence[str],
    *,
    batch: int | None = None,
    jobs: int = 0,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Speed]:
    """Measure a package on each device, in turns, so that all see the same load of the machine.

    batch: images per call; None for what suits each. jobs: threads that share the session (0: one
    per core). seconds: of each round. progress: called with the rounds done and their number. A
    device that cannot run the package has a problem.
    """
    models: dict[str, Model] = {}
    problems: dict[str, str] = {}
    for device in devices:
        try:
            models[device] = Model.load(folder, device)
        except Pi10Error as error:
            problems[device] = error.message
    of_each = in_turns(list(models.values()), batch, jobs, rounds, seconds, progress)
    taken = dict(zip(models, of_each, strict=True))
    speeds = []
    for device in devices:
        if device in problems:
            speeds.append(Speed(device, problem=problems[device]))
            continue
        rates, costs = zip(*taken[device], strict=True)
        runs_on = models[device].runs_on
        speeds.append(
            Speed(
                device, runs_on["precision"], statistics.median(rates), min(rates), max(rates),
                1000 * statistics.median(costs), unjudged=_unjudged(models[device]),
            )
        )  # fmt: skip
    return speeds


def in_turns(
    models: Sequence[Model],
    batch: int | None = None,
    jobs: int = 0,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[list[tuple[float, float]]]:
    """Images per second and processor seconds per image of each model's bare session, by round."""
    taken: list[list[tuple[float, float]]] = [[] for _ in models]
    for number in range(rounds):
        for place, model in enumerate(models):
            taken[place].append(
                _rate(model, batch or model.runtime.batch, jobs or default_jobs(), seconds)
            )
            progress(number * len(models) + place + 1, rounds * len(models))
    return taken


def _unjudged(model: Model) -> bool:
    graph = model.package.graphs.get(model.package.precision)
    return graph is not None and not graph.accepted


def _rate(model: Model, batch: int, jobs: int, seconds: float) -> tuple[float, float]:
    """Images per second, and processor seconds per image."""
    spec = model.package.preprocessing
    shape = (batch, spec.channels, spec.size, spec.size)
    images: U8 = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    model.scores(images)
    counts = [0] * jobs
    processor, began = time.process_time(), time.perf_counter()

    def call(place: int) -> None:
        while not counts[place] or time.perf_counter() - began < seconds:
            model.scores(images)
            counts[place] += batch

    callers = [threading.Thread(target=call, args=(place,)) for place in range(jobs)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    total = sum(counts)
    return total / (time.perf_counter() - began), (time.process_time() - processor) / total


def recommended(speeds: Sequence[Speed], model: str) -> str:
    """Which device to use, in words: another precision only once it has been judged."""
    known = [speed for speed in speeds if not speed.problem]
    alike = [speed for speed in known if speed.precision.endswith(FP32) and not speed.unjudged]
    if not alike:
        return "none: no runtime in fp32 could be measured"
    first, best = alike[0], max(alike, key=lambda speed: speed.per_second)
    if best.per_second < FASTER * first.per_second:
        best = first
    words = f"--device {best.device}"
    if best is not first:
        words += f", {best.per_second / first.per_second:.1f} times as fast as {first.device}"
    top = max(known, key=lambda speed: speed.per_second)
    if top.per_second >= FASTER * best.per_second:
        words += (
            f". {top.device} is {top.per_second / best.per_second:.1f} times as fast, but its"
            f" scores differ: judge it first, with pi10 evaluate --model {model} --device"
            f" {top.device} --against {model} --data LABELLED --out judged"
        )
    return words
