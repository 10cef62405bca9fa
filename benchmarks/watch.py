"""`pi10 watch` at work for a while, and its rate: `python -m benchmarks.watch`.

Images as the instrument writes them are dropped at a rate into a folder or a bucket, with the
receiver of the minutes' lines down for a while; then inputs, results, failures and minutes are
counted. With ``--compare N``: the rate over N images against that of `pi10 classify`, in turns.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.simulate import simulate_cruise

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "fixtures")]

import s3_server  # noqa: E402
from summary_receiver import Receiver  # noqa: E402

DATETIME_AT = 318  # of a file of the instrument
BROKEN_ONE_IN = 500
POOL = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", choices=["folder", "bucket"], default="folder")
    parser.add_argument("--rate", type=float, default=200.0, help="images a second")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--down-from", type=float, default=3.0, help="minute")
    parser.add_argument("--down-for", type=float, default=3.0, help="minutes")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--from", dest="crops", type=Path, help="real crops, in place of drawn")
    parser.add_argument("--compare", type=int, default=0, metavar="N", help="instead: N images")
    parser.add_argument("--rounds", type=int, default=3, help="of --compare")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-watch-") as home, ExitStack() as servers:
        drop = Drop(given.to, Path(home), servers)
        pool = images(Path(home) / "pool", given.crops)
        if given.compare:
            found = compared(Path(home), drop, pool, given)
        else:
            found = exercised(Path(home), drop, pool, given)
        found |= {"to": given.to, "model": given.model, "cores": default_jobs()}
        # before the clearing up, which takes a while for a hundred thousand files
        print(json.dumps(found, indent=2), flush=True)
    sys.exit(not all(found.get("proofs", {}).values()))


class Drop:
    """Where images are dropped: a folder, renamed in as they are whole, or a bucket."""

    def __init__(self, kind: str, home: Path, servers: ExitStack) -> None:
        self.environ = dict(os.environ)
        self._client: Any = None
        self._folder = home / "incoming"
        self._folder.mkdir()
        self.source = str(self._folder)
        if kind == "bucket":
            server = servers.enter_context(s3_server.serve(home / "s3"))
            self.environ |= server.environ()
            self._client = server.client
            self._client.make_bucket(bucket_name="watched")
            self.source = "s3://watched/in/"

    def put(self, name: str, data: bytes) -> None:
        if self._client:
            self._client.put_object(
                bucket_name="watched", object_name=f"in/{name}", data=io.BytesIO(data),
                length=len(data),
            )  # fmt: skip
            return
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def images(folder: Path, crops: Path | None) -> list[bytes]:
    """Files of the instrument, to be named and dated anew."""
    simulate_cruise(folder, bins=1, images=POOL, folders=True, crops=crops)
    paths = [path for path in folder.rglob("*.tif") if "+N" in path.name]
    found = [path.read_bytes() for path in sorted(paths)]
    shutil.rmtree(folder)
    return found


def dated(data: bytes, when: datetime) -> bytes:
    stamp = f"{when:%Y:%m:%d %H:%M:%S}\0".encode()
    return data[:DATETIME_AT] + stamp + data[DATETIME_AT + len(stamp) :]


class Dropper:
    """Drops images of one instrument, with HitsMisses a minute, until it is told to stop."""

    def __init__(self, drop: Drop, pool: list[bytes], rate: float) -> None:
        self._drop, self._pool, self._rate = drop, pool, rate
        self._rng = random.Random(7)
        self._rows: dict[datetime, list[int]] = {}
        self.images = self.broken = self.late = 0

    def run(self, seconds: float, each: Callable[[float], None]) -> float:
        """Returns the seconds it took."""
        began = time.monotonic()
        start = bin_start(datetime.now(UTC))
        number = 0
        while (now := time.monotonic() - began) < seconds:
            each(now)
            if bin_start(datetime.now(UTC)) != start:
                start, number = bin_start(datetime.now(UTC)), 0
            if self.images > now * self._rate:
                time.sleep(0.005)
                continue
            when = datetime.now(UTC)
            row = self._rows.setdefault(start, [0] * 10)
            minute = (when - start) // timedelta(minutes=1)
            if minute > 9:
                continue
            data = dated(self._pool[self.images % len(self._pool)], when)
            if self.images % BROKEN_ONE_IN == BROKEN_ONE_IN - 1:
                data = data[: len(data) // 2]
                self.broken += 1
            name = f"pia7.{start:%Y-%m-%d.%H%M}+N{number:08d}.tif"
            self._drop.put(f"{start:%Y-%m-%d/%H%M}/RawImages/{name}", data)
            number += 1
            self.images += 1
            if not row[minute] and minute:
                self._sidecar(start, minute)
            row[minute] += 1
        for start in self._rows:
            self._sidecar(start, 10)
        return time.monotonic() - began

    def _sidecar(self, start: datetime, minutes: int) -> None:
        rows = "".join(f"{hits},{3 * hits}\n" for hits in self._rows[start][:minutes])
        self._drop.put(f"{start:%Y-%m-%d/%H%M}/HitsMisses.txt", rows.encode())


def bin_start(when: datetime) -> datetime:
    return when.replace(minute=when.minute // 10 * 10, second=0, microsecond=0)


def exercised(
    home: Path, drop: Drop, pool: list[bytes], given: argparse.Namespace
) -> dict[str, Any]:
    """Drop, watch, let the receiver go and come back; then count."""
    receiver = Receiver()
    out = home / "out"
    words = ["watch", drop.source, "--out", str(out), "--model", given.model, "--no-report",
             "--summary-url", receiver.url, "--json"]  # fmt: skip
    log = (home / "log").open("wb")
    watcher = pi10(words, drop.environ, stdout=log)
    peak = Peak(watcher.pid)
    away = (given.down_from * 60, (given.down_from + given.down_for) * 60)
    refused = [False, False]

    def receive(now: float) -> None:
        if not refused[0] and now >= away[0]:
            receiver.down()
            refused[0] = True
        if not refused[1] and now >= away[1]:
            receiver.up()
            refused[1] = True

    dropper = Dropper(drop, pool, given.rate)
    began = datetime.now(UTC)
    took = dropper.run(given.minutes * 60, receive)
    behind = backlog(receiver)
    time.sleep(3)
    if not refused[1]:
        receiver.up()
    watcher.send_signal(signal.SIGTERM)
    code = watcher.wait(600)
    ended = datetime.now(UTC)
    peak.stop()
    run = json.loads((out / "run.json").read_text())
    totals = run["totals"]
    lines = sorted(receiver.lines.values(), key=lambda line: line["seq"])
    wanted = minutes(began, ended)
    got = {line["minute"] for line in lines}
    told = sum(sum(line["n"].values()) for line in lines)
    receiver.close()
    return {
        "dropped": dropper.images,
        "seconds": round(took, 1),
        "dropped_per_second": round(dropper.images / took, 1),
        "results": totals["results"],
        "failures": totals["failures"],
        "skipped": totals["skipped"],
        "lines": len(lines),
        "requests": receiver.requests,
        "longest_line_bytes": receiver.longest,
        "lines_resent": receiver.repeated,
        "backlog_at_the_end": behind,
        "peak_mb": round(peak.most / 1e6),
        "mb_by_minute": [round(most / 1e6) for most in peak.by_minute],
        "ledger_bytes_an_image": round(
            (out / "journal/watch.sqlite").stat().st_size / dropper.images
        ),
        "parts": run["units"]["all"],
        "densities_told": sum(line.get("minutes", 0) for line in lines),
        "sample": lines[-2] if len(lines) > 1 else lines,
        "proofs": {
            "exit code 0": code == 0,
            "images = results + failures": dropper.images == totals["results"] + totals["failures"],
            "failures = broken": totals["failures"] == dropper.broken,
            "no minute missing": not set(wanted) - got and not receiver.missing(),
            "in order": [line["seq"] for line in lines] == sorted({*receiver.order}),
            "lines add up": told == totals["results"],
            "lines below 500 bytes": receiver.longest < 500,
        },
    }


def backlog(receiver: Receiver) -> int:
    newest = max(receiver.lines.values(), key=lambda line: line["seq"], default={"backlog": -1})
    return int(newest["backlog"])


def minutes(began: datetime, ended: datetime) -> Iterator[str]:
    at = began.replace(second=0, microsecond=0)
    while at <= ended.replace(second=0, microsecond=0):
        yield f"{at:%Y-%m-%dT%H:%MZ}"
        at += timedelta(minutes=1)


class Peak:
    """Looks at a process's resident memory, with its highest."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self.by_minute: list[int] = []
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(0.5):
            try:
                now = self._process.memory_info().rss
                self.most = max(self.most, now)
                if time.monotonic() - began >= 60 * (len(self.by_minute) + 1):
                    self.by_minute.append(now)
            except psutil.Error:
                return

    def stop(self) -> None:
        self._stop.set()


def compared(
    home: Path, drop: Drop, pool: list[bytes], given: argparse.Namespace
) -> dict[str, Any]:
    """The same images by both commands, in turns; rates are those of their run.json."""
    when = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)
    for number in range(given.compare):
        data = dated(
            pool[number % len(pool)], when + timedelta(seconds=number * 599 // given.compare)
        )
        drop.put(f"2024-06-24/1450/RawImages/pia7.2024-06-24.1450+N{number:08d}.tif", data)
    rates: dict[str, list[float]] = {"classify": [], "watch": []}
    cpu: dict[str, list[float]] = {"classify": [], "watch": []}
    more = {"classify": [], "watch": ["--until-idle", "--settle", "0.1"]}
    for _ in range(given.rounds):
        for command in rates:
            out = home / command
            words = [command, drop.source, "--out", str(out), "--model", given.model,
                     "--no-report", *more[command]]  # fmt: skip
            before = cpu_of_children()
            if pi10(words, drop.environ, stdout=subprocess.DEVNULL).wait() != 0:
                raise SystemExit(f"pi10 {command} failed")
            cpu[command].append(cpu_of_children() - before)
            run = json.loads((out / "run.json").read_text())
            if run["totals"]["results"] != given.compare:
                raise SystemExit(f"pi10 {command}: {run['totals']}")
            rates[command].append(given.compare / run["seconds"])
            shutil.rmtree(out)
    ratios = [w / c for c, w in zip(rates["classify"], rates["watch"], strict=True)]
    return {
        "images": given.compare,
        **{
            f"{name}_per_second": [round(rate, 1) for rate in found]
            for name, found in rates.items()
        },
        "watch_over_classify": [round(ratio, 3) for ratio in ratios],
        # processor time, start included, tells more than rates where the machine is shared
        **{f"{name}_cpu_s": [round(found, 1) for found in each] for name, each in cpu.items()},
    }


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pi10(words: list[str], environ: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pi10_classifier", *words], env=environ, **options
    )


if __name__ == "__main__":
    main()
