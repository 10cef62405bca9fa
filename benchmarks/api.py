"""Speed, memory and soundness of the API under ``deepaas-run``: `python -m benchmarks.api`.

What is compared is taken in turns within one run, so that a machine that slows down slows
both. The server has one worker unless told otherwise, as DEEPaaS has.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.simulate import simulate_cruise

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / place) for place in ("api", "")]

from deepaas_server import Server  # noqa: E402

TARGETS = {
    "overhead": "at most 15 %",
    "p99_s": "below 1 s",
    "ready_s": "within 5 s",
    "worker_mb": "below 400 MB",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000, help="images of the zip")
    parser.add_argument("--rounds", type=int, default=5, help="of the zip, and of the clients")
    parser.add_argument("--clients", type=int, default=64, help="that ask at the same moment")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--fuzz", type=int, default=0, metavar="N",
                        help="instead: N made-up requests for each route")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-api-") as home:
        began = time.perf_counter()
        server = Server(Path(home) / "run", {}, given.workers)
        try:
            server.wait()
            ready = time.perf_counter() - began
            found = fuzzed(server, given.fuzz) if given.fuzz else measured(
                server, Path(home), given.images, given.rounds, given.clients
            )  # fmt: skip
        finally:
            server.end()
    found |= {"ready_s": round(ready, 2), "cores": default_jobs(), "workers": given.workers}
    show(found, given.json)


def measured(server: Server, home: Path, images: int, rounds: int, clients: int) -> dict[str, Any]:
    """All figures but the fuzzing."""
    bin_zip = zipped(home, images)
    single = next(iter(members(bin_zip, 1)))
    for _ in range(5):  # what only the first requests cost
        server.predict(("a.tif", single))
    found: dict[str, Any] = {"worker_mb_before": memory(server)}
    found |= burst(server, members(bin_zip, clients), rounds)
    found |= overhead(server, home, bin_zip, images, rounds)
    found["worker_mb"] = memory(server)
    found["left_behind"] = server.leftovers()
    return found


def zipped(home: Path, images: int) -> Path:
    """A zip of images as the instrument writes them."""
    (folder,) = simulate_cruise(home / "bins", bins=1, images=images, folders=True)
    path = home / "bin.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def members(path: Path, count: int) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if "+N" in name]
        return [archive.read(names[n % len(names)]) for n in range(count)]


def memory(server: Server) -> float:
    """The largest worker's resident memory, MB of 2^20 bytes."""
    workers = [p for p in server.family()[1:] if "spawn_main" in " ".join(p.cmdline())]
    return round(max(p.memory_info().rss for p in workers) / 2**20, 1)


def cpu_seconds(server: Server) -> float:
    """Seconds of processor that the server and its workers have used."""
    return sum(sum(process.cpu_times()[:2]) for process in server.family())


def overhead(server: Server, home: Path, bin_zip: Path, images: int, rounds: int) -> dict[str, Any]:
    """Seconds of the zip over the API and by the command, in turns."""
    data = bin_zip.read_bytes()
    api, command, engine = [], [], []
    for number in range(rounds):
        began = time.perf_counter()
        answer = server.predict(("bin.zip", data)).json()
        api.append(time.perf_counter() - began)
        if answer["totals"]["results"] != images:
            raise RuntimeError(f"the API gave {answer['totals']}")
        out = home / f"out-{number}"
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "pi10_classifier", "classify", str(bin_zip), "--out", str(out),
             "--no-report", "--json"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        command.append(time.perf_counter() - began)
        engine.append(json.loads((out / "run.json").read_text("utf-8"))["seconds"])
    middle = {"api_s": api, "command_s": command, "command_less_start_s": engine}
    found: dict[str, Any] = {
        name: [round(f(s), 3) for f in (statistics.median, min, max)] for name, s in middle.items()
    }
    # of each round, so that a machine that changes its pace does not tell
    found["overhead"] = round(
        statistics.median(a / c for a, c in zip(api, command, strict=True)) - 1, 3
    )
    found["overhead_less_start"] = round(
        statistics.median(a / e for a, e in zip(api, engine, strict=True)) - 1, 3
    )
    return found


def burst(server: Server, images: list[bytes], rounds: int) -> dict[str, Any]:
    """As many clients as images, each asking for one at the same moment, over and over."""
    seconds: list[float] = []
    errors = 0
    before = cpu_seconds(server)
    for _ in range(rounds):
        start = threading.Barrier(len(images))

        def ask(image: bytes, start: threading.Barrier = start) -> None:
            nonlocal errors
            with requests.Session() as session:
                start.wait()
                began = time.perf_counter()
                answer = session.post(
                    f"{server.url}/predict/", files={"data": ("a.tif", image)}, timeout=120
                )
                seconds.append(time.perf_counter() - began)
                errors += answer.status_code != 200 or answer.json()["totals"]["results"] != 1

        clients = [threading.Thread(target=ask, args=(image,)) for image in images]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    spent = cpu_seconds(server) - before
    ordered = sorted(seconds)
    return {
        "clients": len(images),
        "requests": len(seconds),
        "errors": errors,
        "p50_s": round(statistics.median(ordered), 3),
        "p99_s": round(ordered[max(0, -(-99 * len(ordered) // 100) - 1)], 3),
        "slowest_s": round(ordered[-1], 3),
        # of the server and its worker; says what to expect where others load the machine
        "cpu_ms_a_request": round(spent / len(seconds) * 1000, 2),
    }


def fuzzed(server: Server, examples: int) -> dict[str, Any]:
    """Requests from the server's own description, then a prediction."""
    import support
    from test_deepaas_fuzz import fuzz

    made = fuzz(server.root, examples, 11)
    told = server.predict(("a.tif", support.particle(1))).json()
    return {
        "made_up_requests": made,
        "server_errors": 0,  # one would have ended the run
        "predicts_after": told["totals"]["results"] == 1,
        "left_behind": server.leftovers(),
    }


def show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    table = Table("what", "found", "target")
    for name, value in found.items():
        table.add_row(name, str(value), TARGETS.get(name, ""))
    Console().print(table)


if __name__ == "__main__":
    main()
