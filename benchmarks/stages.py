"""Core-milliseconds per image of each stage of ``pi10 classify``, with the network left out.

    python -m benchmarks.stages BIN.tar [--rounds 3] [--jobs 1] [--network]

Each round classifies the input in this process. The network's answer is replaced by random
numbers, so what is left is the program's own share; ``--network`` keeps the network. A stage has
the processor time of its own thread, without the stages that it calls; ``all`` is the whole
process in rounds without the stopwatch, ``other`` the rest of it: queues and threads. The first
round, with the imports, does not count. With ``--jobs 2`` or more, ``cores kept busy`` shows how
far the threads wait for one another, for Python's lock above all.

``benchmarks.bench --against`` runs this file on the earlier build, too. So it imports nothing of
this build, and a function that a build lacks is left out: its time falls into its caller.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pi10_classifier import classify as runs

# stage -> the functions whose time it is, as module:name; the last ones are those of builds before
# the package had folders
STAGES: dict[str, tuple[str, ...]] = {
    "name and kind": ("inference.engine:Engine._is_image", "engine:Engine._is_image"),
    "decode": ("inference.engine:decode", "engine:decode"),
    "grey and border": ("imaging.preprocess:Grey.of", "preprocess:Grey.of"),
    "prepare": ("inference.engine:prepare", "engine:prepare"),
    "chunk": (
        "inference.engine:Engine.process",
        "inference.engine:Engine._decode",
        "inference.engine:Engine._measure",
        "engine:Engine.process",
        "engine:Engine._decode",
        "engine:Engine._measure",
    ),
    "mosaic": (
        "inference.engine:measure_greys",
        "imaging.measurement:Mosaic.of",
        "engine:measure_greys",
        "measure:Sheet.of",
    ),
    "outlines": ("imaging.measurement:find_outlines", "measure:outlines"),
    "sizes": ("imaging.measurement:_describe", "measure:_describe"),
    "blank or not": ("inference.engine:Engine._judge",),
    "session": (
        "model.session:Model.raw_answer",
        "model.session:Model.activated",
        "model.session:Model.answer",
        "model:Model.scores",
    ),
    "rows": ("inference.engine:Engine._record", "engine:Engine._record"),
    "collect": ("inference.part_builder:PartBuilder.take", "open_part:OpenPart.take"),
    "Arrow and Parquet": (
        "results.part_writer:PartWriter._convert",
        "results.part_writer:PartWriter._write",
        "results:PartWriter._write",
    ),
    "factors and journal": (
        "inference.part_builder:PartBuilder.publish",
        "open_part:OpenPart.publish",
    ),
    "tables": ("classify:summarise", "classify:write_factors", "classify:describe"),
    "load the model": ("model.session:Model.load", "model:Model.load"),
}
SOURCE, OTHER = "read the source", "other"


class Stopwatch:
    """Processor time by stage; a stage that calls another one does not count its time.

    Reading the thread's clock takes microseconds on some systems, so the watch first times itself,
    and leaves that out: half of a call's cost falls into the stage, half into its caller.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._threads: list[Counter[str]] = []
        self._cost = 0.0
        nothing = self.timed("nothing", lambda: None)
        outer = self.timed("outer", lambda: [nothing() for _ in range(20_000)])
        outer()
        seconds, self._threads = self.seconds, []
        self._cost = sum(seconds.values()) / 40_000
        del self._local.open

    @property
    def seconds(self) -> Counter[str]:
        return sum(self._threads, Counter())

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            if not hasattr(self._local, "open"):
                self._local.open, self._local.seconds, self._local.since = [], Counter(), 0.0
                self._threads.append(self._local.seconds)
            self._switch(stage)
            try:
                return function(*args, **options)
            finally:
                self._switch(None)

        return wrapper

    def _switch(self, stage: str | None) -> None:
        """Credit the time since the last switch; begin ``stage``, or end the last one."""
        local, now = self._local, time.thread_time()
        if local.open:
            local.seconds[local.open[-1]] += now - local.since - self._cost
        if stage:
            local.open.append(stage)
        else:
            local.open.pop()
        local.since = now

    def timed_items(self, items: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """The same for a generator: the time of each of its steps."""

        @functools.wraps(items)
        def wrapper(*args: Any, **options: Any) -> Iterator[Any]:
            step = self.timed(SOURCE, items(*args, **options).__next__)
            while True:
                try:
                    item = step()
                except StopIteration:
                    return
                yield item

        return wrapper

    def install(self) -> None:
        for stage, functions in STAGES.items():
            for place in functions:
                owner, name = found(place)
                known = vars(owner).get(name) if owner else None
                if isinstance(known, classmethod):
                    setattr(owner, name, classmethod(self.timed(stage, known.__func__)))
                elif known is not None:
                    setattr(owner, name, self.timed(stage, known))
        pipeline, name = found("inference.pipeline:items_of")
        reader = pipeline or runs
        setattr(reader, name, self.timed_items(getattr(reader, name)))


def found(place: str) -> tuple[Any, str]:
    """The owner of ``module:name`` or ``module:Class.name``, and the name; None if it is absent."""
    path, _, name = place.partition(":")
    try:
        owner: Any = importlib.import_module(f"pi10_classifier.{path}")
    except ModuleNotFoundError:
        return None, name
    parent, _, name = name.rpartition(".")
    return (getattr(owner, parent, None) if parent else owner), name


def of_build(*places: str) -> Any:
    """The first of these that the build has."""
    for place in places:
        owner, name = found(place)
        if hasattr(owner, name):
            return getattr(owner, name)
    raise SystemExit(f"this build has none of {', '.join(places)}; its stages cannot be timed")


Model = of_build("model.session:Model", "model:Model")


class NoNetwork:
    """Stands for the session: random scores in no time."""

    def __init__(self, model: Any) -> None:
        classes = len(model.package.classes)
        random = np.random.default_rng(1)
        logits = random.normal(0, 3, (4096, classes)).astype(np.float32)
        self._answers = {model.package.output_name: logits}
        told = getattr(model.package, "novelty", None)  # earlier builds have none
        if told:
            self._answers[told.output] = random.normal(0, 0.4, 4096).astype(np.float32)
        groups = getattr(model.package, "groups", None)
        if groups:
            many = random.normal(0, 3, (4096, len(groups.names))).astype(np.float32)
            self._answers[groups.output] = many
        self._at = 0

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
        count = len(next(iter(feeds.values())))
        self._at = start = (self._at + count) % (4096 - count)
        return [self._answers[name][start : start + count] for name in outputs]


def without_network(load: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(load)
    def wrapper(folder: Path, *more: Any, **named: Any) -> Any:
        model = load(folder, *more, **named)
        model._session = NoNetwork(model)
        return model

    return wrapper


def one_round(path: str, settings: Any) -> tuple[int, float, float]:
    """Images, processor seconds of the process, and seconds of one run."""
    with tempfile.TemporaryDirectory() as folder:
        processor, clock = time.process_time(), time.perf_counter()
        runs.classify([path], Path(folder) / "out", settings)
        return (
            int(json.loads((Path(folder) / "out" / "run.json").read_text())["totals"]["results"]),
            time.process_time() - processor,
            time.perf_counter() - clock,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("input", help="A bin's archive or folder.")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--network", action="store_true", help="Keep the network.")
    parser.add_argument("--no-measure", dest="measure", action="store_false")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    options = parser.parse_args()
    if not options.network:
        Model.load = without_network(Model.load)
    settings_of = of_build("inference.settings:Settings", "classify:Settings")
    find = of_build("registry.resolve:find", "model.package:find", "model:find")
    settings = settings_of(find(options.model), jobs=options.jobs, measure=options.measure)
    one_round(options.input, settings)  # warm-up
    whole: list[float] = []
    busy: list[float] = []
    for _ in range(options.rounds):
        images, processor, seconds = one_round(options.input, settings)
        whole.append(processor)
        busy.append(processor / seconds)
    watch = Stopwatch()
    watch.install()
    rounds: list[dict[str, float]] = []
    for used in whole:
        before = watch.seconds
        one_round(options.input, settings)
        spent = watch.seconds
        stages = {name: spent[name] - before[name] for name in (SOURCE, *STAGES)}
        stages[OTHER] = used - sum(stages.values())
        stages["all"] = used
        rounds.append({name: 1000 * seconds / images for name, seconds in stages.items()})
    medians = {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}
    if options.json:
        print(json.dumps({"images": images, "core_ms_per_image": medians,
                          "cores_busy": statistics.median(busy)}))  # fmt: skip
        return
    table = Table(title=f"{images:,} images, jobs {options.jobs}, {options.rounds} rounds")
    table.add_column("stage")
    for name in ("median", "least", "most"):
        table.add_column(f"{name}, core-ms", justify="right")
    for name, median in medians.items():
        values = [row[name] for row in rounds]
        table.add_row(name, *(f"{x:.4f}" for x in (median, min(values), max(values))))
    console = Console()
    console.print(table)
    console.print(f"cores kept busy: {statistics.median(busy):.2f} of {options.jobs}")


if __name__ == "__main__":
    main()
