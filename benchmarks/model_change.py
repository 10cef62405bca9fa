"""Requests during a change of the model: `python -m benchmarks.model_change`.

Starts an MLflow server and `pi10 serve --model models:/bench@champion`, and lets clients send
one-image requests without a pause. Meanwhile the alias goes from one embedded package to the other
and back, ``--changes`` times, each by SIGHUP. A request is counted to a change if any of it lies
between the signal and the log line of the change, or half a second later. All others, between the
changes, tell what is usual at that load of the machine. The MLflow server, which stands for another
machine, has the lowest priority.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import serve
from benchmarks.serve import PREDICT, service
from pi10_classifier.model.package import embedded, graph_hashes
from pi10_classifier.oscar.local.s3_gateway import free_port
from pi10_classifier.registry.client import Registry
from pi10_classifier.registry.register import register
from pi10_classifier.simulate import simulate_cruise

NAME = "bench"
AFTER_S = 0.5


@dataclass(frozen=True)
class Request:
    """One request: when it began and ended (``time.monotonic``), its status, the model's hash."""

    began: float
    ended: float
    status: int
    model: str

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@contextmanager
def registry(folder: Path, running: str) -> Iterator[str]:
    """The address of the server that runs, or of a fresh one."""
    if running:
        yield running
        return
    port = free_port()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "1"}
    with (folder / "mlflow.log").open("wb") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
             "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/m.db",
             "--artifacts-destination", str(folder / "artifacts")],
            stdout=log, stderr=subprocess.STDOUT, env=environ, preexec_fn=_yield,
        )  # fmt: skip
    try:
        asyncio.run(_answers(f"http://127.0.0.1:{port}/health"))
        yield f"http://127.0.0.1:{port}"
    finally:
        for child in process.children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


def _yield() -> None:
    os.nice(19)


async def _answers(url: str) -> None:
    deadline = time.monotonic() + serve.PATIENCE_S
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


async def _client(
    session: aiohttp.ClientSession, address: str, image: bytes, made: list[Request],
    end: asyncio.Event,
) -> None:  # fmt: skip
    while not end.is_set():
        form = aiohttp.FormData()
        form.add_field("data", image, filename="a.tif")
        began, model = time.monotonic(), ""
        try:
            async with session.post(address + PREDICT, data=form) as answer:
                status = answer.status
                if status == 200:
                    model = (await answer.json())["model"]["sha256"]
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        made.append(Request(began, time.monotonic(), status, model))


class _Changes:
    """Counts changes in the service's log. It reads on, as the clients share its thread."""

    def __init__(self, log: Path) -> None:
        self._stream = log.open("rb")
        self._count = 0

    def __call__(self) -> int:
        self._count += self._stream.read().count(b'"model changed"')
        return self._count


async def _run(
    given: argparse.Namespace, address: str, image: bytes, folder: Path, process: psutil.Process,
    store: Registry,
) -> tuple[list[Request], list[tuple[float, float]]]:  # fmt: skip
    made: list[Request] = []
    windows: list[tuple[float, float]] = []
    end = asyncio.Event()
    changes = _Changes(folder / "serve.log")
    timeout = aiohttp.ClientTimeout(total=serve.PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        clients = [
            asyncio.create_task(_client(session, address, image, made, end))
            for _ in range(given.clients)
        ]
        await asyncio.sleep(2)  # the first requests warm the clients
        made.clear()
        for number in range(given.changes):
            await asyncio.sleep(given.between)
            version = "2" if number % 2 == 0 else "1"
            await asyncio.to_thread(store.set_alias, NAME, "champion", version)
            began = time.monotonic()
            process.send_signal(signal.SIGHUP)
            while changes() <= number:
                if time.monotonic() > began + serve.PATIENCE_S:
                    raise SystemExit((folder / "serve.log").read_text("utf-8"))
                await asyncio.sleep(0.02)
            windows.append((began, time.monotonic() + AFTER_S))
        await asyncio.sleep(given.between)
        end.set()
        await asyncio.gather(*clients)
    return made, windows


def figures(requests: list[Request], limit_s: float) -> dict[str, Any]:
    """Number, failures, quantiles of the seconds, and how many took longer than ``limit_s``."""
    seconds = [request.seconds for request in requests]
    cuts = statistics.quantiles(seconds, n=100)
    over = sum(value > limit_s for value in seconds)
    return {
        "requests": len(requests),
        "failed": sum(request.status != 200 for request in requests),
        "p50_s": round(cuts[49], 4),
        "p99_s": round(cuts[98], 4),
        "most_s": round(max(seconds), 4),
        "over_twice": over,
        "over_twice_share": round(over / len(requests), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=6)
    parser.add_argument("--between", type=float, default=5, help="seconds between changes")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--patience", type=float, default=serve.PATIENCE_S, help="seconds")
    parser.add_argument("--registry", default="", help="address of an MLflow server that runs")
    parser.add_argument("--out", type=Path, default=Path("bench-out/model_change.json"))
    given = parser.parse_args()
    serve.PATIENCE_S = given.patience  # a busy machine takes minutes to start a service
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    with tempfile.TemporaryDirectory() as scratch, registry(Path(scratch), given.registry) as uri:
        folder = Path(scratch)
        os.environ |= {
            "MLFLOW_TRACKING_URI": uri, "PI10_MODEL_CACHE": str(folder / "cache"),
            "PI10_MODEL_POLL_S": "86400",
        }  # fmt: skip
        store = Registry.from_environ()
        packages = [embedded("starter"), embedded("fast")]
        for package in packages:
            register(store, NAME, package)
        store.set_alias(NAME, "champion", "1")
        image = simulate_cruise(folder / "in", bins=1, images=1)[0].read_bytes()
        options = ["--model", f"models:/{NAME}@champion", "--workers", str(given.workers)]
        with service(folder, options) as (address, _, process):
            made, windows = asyncio.run(_run(given, address, image, folder, process, store))
    hashes = {sha256 for package in packages for sha256 in graph_hashes(package).values()}
    during = [r for r in made if any(r.began < end and r.ended > begin for begin, end in windows)]
    usual = [request for request in made if request not in during]
    limit = 2 * statistics.median(request.seconds for request in usual)
    report: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "clients": given.clients,
        "workers": given.workers,
        "changes": len(windows),
        "change_s": [round(end - AFTER_S - begin, 2) for begin, end in windows],
        "twice_usual_s": round(limit, 4),
        "between_changes": figures(usual, limit),
        "during_changes": figures(during, limit),
        "answers_by_model": dict(Counter(request.model[:8] for request in made)),
        "other_models": sum(request.model not in hashes for request in made),
        "slowest_during": [asdict(r) for r in sorted(during, key=lambda r: -r.seconds)[:3]],
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    table = Table(title=f"{len(windows)} changes of model, {given.clients} clients")
    columns = ("requests", "failed", "p50_s", "p99_s", "most_s", "over_twice", "over_twice_share")
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    for what in ("between_changes", "during_changes"):
        cells = (str(report[what][column]) for column in columns)
        table.add_row(what.replace("_", " "), *cells)
    console = Console()
    console.print(table)
    console.print(
        f"a change takes {min(report['change_s'])} to {max(report['change_s'])} s; twice the usual"
        f" time is {report['twice_usual_s']} s; load average {report['load_average']}"
    )


if __name__ == "__main__":
    main()
