"""The runtimes of one model side by side, end to end: images per second, and processor time.

    python -m benchmarks.runtimes [--model starter] [--images 5000] [--rounds 3]
        [--devices cpu openvino openvino:bf16] [--data FOLDER]

Each round runs ``pi10 classify`` on the same simulated bin once per device, each in a process of
its own, in an order that turns from round to round. On a busy machine the images per second tell
the load; core-milliseconds per image, and their ratio to the first device within a round, change
little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.bench import end_to_end, make_bin
from benchmarks.machine import processor
from pi10_classifier.inference.settings import default_jobs


def round_of(tar: Path, model: str, jobs: int, device: str, images: int) -> tuple[float, float]:
    """Images per second of a process, and its core-milliseconds per image."""
    before = os.times()
    rate, _ = end_to_end(tar, model, jobs, "--device", device)
    after = os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    return rate, 1000 * used / images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--model", default="starter")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", nargs="+", default=["cpu", "openvino", "openvino:bf16"])
    options = parser.parse_args()
    devices, jobs, console = options.devices, default_jobs(), Console()
    tar, content = make_bin(options.data, options.images, options.out)
    taken: dict[str, list[tuple[float, float]]] = {device: [] for device in devices}
    for number in range(options.rounds):
        turn = number % len(devices)
        for device in (*devices[turn:], *devices[:turn]):
            figures = round_of(tar, options.model, jobs, device, options.images)
            taken[device].append(figures)
            rate, cost = figures
            console.print(f"round {number + 1}, {device}: {rate:,.0f} images/s, {cost:.3f} core-ms")
    title = (
        f"{options.images:,} {content}, {options.model}, {jobs} cores, {processor()};"
        f" load {os.getloadavg()[0]:.1f}"
    )
    table = Table(title=title, title_justify="left")
    for name in ("device", "images/s", "core-ms per image", "core-ms, share of the first"):
        table.add_column(name)
    first = [cost for _, cost in taken[devices[0]]]
    record = {}
    for device, rounds in taken.items():
        rates, costs = zip(*rounds, strict=True)
        shares = [cost / other for cost, other in zip(costs, first, strict=True)]
        record[device] = {"images_per_second": rates, "core_ms": costs, "share": shares}
        table.add_row(device, *(_spread(x, n) for x, n in ((rates, 0), (costs, 3), (shares, 2))))
    console.print(table)
    path = options.out / f"runtimes-{Path(options.model).name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    console.print(f"written: {path}")


def _spread(values: tuple[float, ...] | list[float], digits: int) -> str:
    middle = statistics.median(values)
    return f"{middle:,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


if __name__ == "__main__":
    main()
