"""The service under load: `python -m benchmarks.serve`.

Starts `pi10 serve` with its defaults, then lets as many clients as ``--clients`` send
one-image requests at once, each the next as soon as it has its answer; the same again
while a bin is being classified. The clients share the machine's cores with the service.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.bench import make_bin, particles

PREDICT = "/v2/models/pi10_classifier/predict/"
PATIENCE_S = 120


@dataclass(frozen=True)
class Load:
    """What clients saw: seconds of their requests, and how many went wrong."""

    what: str
    requests: int
    errors: int
    p50_s: float
    p99_s: float
    most_s: float
    per_second: float


@contextmanager
def service(folder: Path, options: list[str]) -> Iterator[tuple[str, float, psutil.Process]]:
    """Address, seconds from start to ready, and process of a fresh `pi10 serve`."""
    log = folder / "serve.log"
    began = time.perf_counter()
    with log.open("w") as stream:
        process = psutil.Popen(
            [sys.executable, "-m", "pi10_classifier", "serve", "--port", "0", *options],
            stderr=stream,
        )
    try:
        address = asyncio.run(_ready(log, process))
        yield address, time.perf_counter() - began, process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        if process.is_running():
            process.kill()


async def _ready(log: Path, process: psutil.Process) -> str:
    deadline = time.monotonic() + PATIENCE_S
    address = ""
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline and process.is_running():
            for line in log.read_text("utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    found = json.loads(line)
                    if found.get("message") == "listening":
                        address = found["url"].removesuffix("/ui/")
            if address:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{address}/health/ready") as answer:
                        if answer.status == 200:
                            return address
            await asyncio.sleep(0.02)
    raise SystemExit(f"the service does not become ready: {log.read_text('utf-8')}")


async def predict(session: aiohttp.ClientSession, address: str, name: str, data: bytes) -> bool:
    """One request; True where every image in it has a result."""
    form = aiohttp.FormData()
    form.add_field("data", data, filename=name)
    async with session.post(address + PREDICT, data=form) as answer:
        if answer.status != 200:
            return False
        totals = (await answer.json())["totals"]
        return bool(totals["results"]) and not totals["failures"]


async def load(
    what: str, address: str, images: list[bytes], clients: int, each: int, tar: Path | None = None
) -> Load:
    """``clients`` at once, ``each`` requests a client, beside a bin where one is given."""
    seconds: list[float] = []
    errors = 0

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal errors
        for turn in range(each):
            image = images[(number * each + turn) % len(images)]
            began = time.perf_counter()
            try:
                good = await predict(session, address, f"{number}-{turn}.tif", image)
            except (aiohttp.ClientError, TimeoutError):
                good = False
            errors += not good
            seconds.append(time.perf_counter() - began)

    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        bulk = None
        if tar:
            bulk = asyncio.create_task(predict(session, address, "bin.tar", tar.read_bytes()))
            await asyncio.sleep(0.5)
        began = time.perf_counter()
        await asyncio.gather(*(client(session, number) for number in range(clients)))
        took = time.perf_counter() - began
        if bulk:
            errors += not await bulk
    cuts = statistics.quantiles(seconds, n=100)
    return Load(what, len(seconds), errors, cuts[49], cuts[98], max(seconds), len(seconds) / took)


def memory(process: psutil.Process) -> tuple[float, list[float]]:
    """Peak resident MB (10^6 bytes) of the parent and of each worker; Linux alone tells it."""

    def peak(pid: int) -> float:
        text = Path(f"/proc/{pid}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) * 1024 / 1e6

    workers = [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]
    return peak(process.pid), [peak(worker.pid) for worker in workers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--each", type=int, default=20, help="requests a client")
    parser.add_argument("--bin", type=int, default=4000, help="images of the bin beside them")
    parser.add_argument("--out", type=Path, default=Path("bench-out/serve.json"))
    parser.add_argument("options", nargs="*", help="for `pi10 serve`, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tar, kind = make_bin(given.data, given.bin, folder)
        images = particles(tar, 256)
        with service(folder, given.options) as (address, start_s, process):
            cpu = [p.cpu_times() for p in (process, *process.children())]
            loads = [asyncio.run(load("one image a request", address, images, given.clients, 2))]
            loads = []  # the first was to warm the clients too
            for what, beside in (("one image a request", None), ("the same beside a bin", tar)):
                loads.append(
                    asyncio.run(load(what, address, images, given.clients, given.each, beside))
                )
            parent_mb, worker_mb = memory(process)
    report: dict[str, Any] = {
        "images": kind,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "start_to_ready_s": round(start_s, 2),
        "start_cpu_s": round(sum(t.user + t.system for t in cpu), 2),
        "parent_peak_mb": round(parent_mb),
        "worker_peak_mb": [round(mb) for mb in worker_mb],
        "clients": given.clients,
        "loads": [asdict(found) for found in loads],
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    _show(report, loads)


def _show(report: dict[str, Any], loads: list[Load]) -> None:
    table = Table(title=f"pi10 serve, {report['clients']} clients at once, {report['images']}")
    for column in ("what", "requests", "errors", "p50 s", "p99 s", "most s", "requests/s"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for found in loads:
        figures = (found.p50_s, found.p99_s, found.most_s)
        table.add_row(
            found.what, str(found.requests), str(found.errors),
            *(f"{value:.3f}" for value in figures), f"{found.per_second:.0f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(
        f"start to ready {report['start_to_ready_s']} s ({report['start_cpu_s']} s of CPU); "
        f"peak memory: parent {report['parent_peak_mb']} MB, "
        f"workers {report['worker_peak_mb']} MB; load average {report['load_average']:.1f}"
    )


if __name__ == "__main__":
    main()
