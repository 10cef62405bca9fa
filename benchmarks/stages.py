"""Core-milliseconds per image of each stage of ``pi10 classify``, with the network left out.

    python -m benchmarks.stages BIN.tar [--rounds 3] [--jobs 1] [--network]

Each round classifies the input in this process. The network's answer is replaced by random
numbers, so what is left is the program's own share; ``--network`` keeps the network. A stage has
the processor time of its own thread, without the stages that it calls; ``all`` is the whole
process in rounds without the stopwatch, ``other`` the rest of it: queues and threads. The first
round, with the imports, does not count. With ``--jobs 2`` or more, ``cores kept busy`` shows how
far the threads wait for one another, for Python's lock above all.
"""

from __future__ import annotations

import argparse
import functools
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
from pi10_classifier.imaging import measurement, preprocess
from pi10_classifier.inference import engine, part_builder, pipeline
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.session import Model
from pi10_classifier.registry.resolve import find
from pi10_classifier.results import part_writer

# stage -> the functions whose time it is, as (owner, name)
STAGES: dict[str, list[tuple[Any, str]]] = {
    "name and kind": [(engine.Engine, "_is_image")],
    "decode": [(engine, "decode")],
    "grey and border": [(preprocess.Grey, "of")],
    "prepare": [(engine, "prepare")],
    "chunk": [
        (engine.Engine, "process"),
        (engine.Engine, "_decode"),
        (engine.Engine, "_measure"),
    ],
    "mosaic": [(engine, "measure_greys"), (measurement.Mosaic, "of")],
    "outlines": [(measurement, "find_outlines")],
    "sizes": [(measurement, "_describe")],
    "blank or not": [(engine.Engine, "_judge")],
    "session": [(Model, "answer")],
    "rows": [(engine.Engine, "_record")],
    "collect": [(part_builder.PartBuilder, "take")],
    "Arrow and Parquet": [(part_writer.PartWriter, "_write")],
    "factors and journal": [(part_builder.PartBuilder, "publish")],
    "tables": [(runs, "summarise"), (runs, "write_factors"), (runs, "describe")],
    "load the model": [(Model, "load")],
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
            for owner, name in functions:
                known = owner.__dict__[name]
                if isinstance(known, classmethod):
                    setattr(owner, name, classmethod(self.timed(stage, known.__func__)))
                else:
                    setattr(owner, name, self.timed(stage, known))
        pipeline.items_of = self.timed_items(pipeline.items_of)


class NoNetwork:
    """Stands for the session: random scores in no time."""

    def __init__(self, model: Model) -> None:
        classes = len(model.package.classes)
        random = np.random.default_rng(1)
        self._logits = random.normal(0, 3, (4096, classes)).astype(np.float32)
        self._novelty = random.normal(0, 0.4, 4096).astype(np.float32)
        self._at = 0

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
        count = len(next(iter(feeds.values())))
        self._at = start = (self._at + count) % (len(self._logits) - count)
        answer = [self._logits[start : start + count], self._novelty[start : start + count]]
        return answer[: len(outputs)]


def without_network(load: Callable[..., Model]) -> Callable[..., Model]:
    @functools.wraps(load)
    def wrapper(folder: Path, device: str = "cpu") -> Model:
        model = load(folder, device)
        model._session = NoNetwork(model)
        return model

    return wrapper


def one_round(path: str, settings: Settings) -> tuple[int, float, float]:
    """Images, processor seconds of the process, and seconds of one run."""
    with tempfile.TemporaryDirectory() as folder:
        processor, clock = time.process_time(), time.perf_counter()
        run = runs.classify([path], Path(folder) / "out", settings)
        return (
            run.tally.totals["results"],
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
    settings = Settings(find(options.model), jobs=options.jobs, measure=options.measure)
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
        print(json.dumps({"core_ms_per_image": medians, "cores_busy": statistics.median(busy)}))
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
