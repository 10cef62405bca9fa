"""`pi10 oscar reconcile` over very many keys: `python -m benchmarks.reconcile --keys 1000000`.

Runs the command as it is, in a process of its own, and tells its time and peak memory. The keys
are served by `benchmarks.listing`, a server that lists and little else, or, with ``--gateway``,
by the real S3 server of `pi10 oscar local`, JuiceFS's gateway: they are loaded into its metadata by
its own `juicefs load`, without data behind them, for a million uploads would take hours.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.listing import BUCKET, Shelf
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.oscar.local.s3_gateway import gateway, juicefs
from pi10_classifier.oscar.records.identity import model_identity
from pi10_classifier.registry.resolve import find
from pi10_classifier.sources.s3_client import S3Client

MODEL = "starter"
KEYS = ("bench", "benchbench")
_TIMES = ("atime", "mtime", "ctime", "atimensec", "mtimensec", "ctimensec")


def identity() -> str:
    package, _ = read_package(find(MODEL))
    return model_identity(package, Settings(model=find(MODEL)))


@contextmanager
def listing(count: int, lost: int) -> Iterator[str]:
    """The address of a listing server."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.listing", "--count", str(count), "--lost", str(lost),
         "--identity", identity()], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


class Metadata:
    """What `juicefs dump` says of a volume, with objects added that have no data."""

    def __init__(self, path: Path) -> None:
        self._said = json.loads(path.read_text("utf-8"))
        self._inode = 10_000

    def add(self, key: str, etag: str, size: int) -> None:
        """An object of the bucket; a name is escaped as the dump escapes it."""
        at = self._said["FSTree"]
        names = f"{BUCKET}/{key}".replace("%", "%25").replace(" ", "%20").split("/")
        for name in names[:-1]:
            entries = at["entries"]
            if name not in entries:
                entries[name] = {"attr": self._attr("directory", 0), "entries": {}}
            at = entries[name]
        at["entries"][names[-1]] = {
            "attr": self._attr("regular", size),
            "xattrs": [{"name": "s3-etag", "value": etag}],
            "chunks": [],
        }

    def _attr(self, kind: str, size: int) -> dict[str, Any]:
        self._inode += 1
        folder = kind == "directory"
        times = {name: 0 if name.endswith("nsec") else 1_767_225_600 for name in _TIMES}
        return {"inode": self._inode, "type": kind, "mode": 0o755 if folder else 0o644, "uid": 0,
                "gid": 0, **times, "nlink": 1 + folder, "length": size}  # fmt: skip

    def write(self, path: Path) -> None:
        counters = self._said["Counters"]
        counters["usedInodes"] = counters["nextInodes"] = self._inode + 1
        path.write_text(json.dumps(self._said), "utf-8")


@contextmanager
def filled_gateway(count: int, lost: int, home: Path) -> Iterator[str]:
    """The address of JuiceFS's gateway with the same keys in it."""
    program, meta, dump = juicefs(), home / "s3" / "meta.db", home / "dump.json"
    address = f"sqlite3://{meta}"
    with gateway(home / "s3", *KEYS) as url:
        client = S3Client(environ_of(url)).client
        client.make_bucket(bucket_name=BUCKET)
        client.put_object(
            bucket_name=BUCKET, object_name="out/.pi10/first", data=io.BytesIO(b"1"), length=1
        )
    subprocess.run([program, "dump", address, dump], check=True, capture_output=True)
    metadata = Metadata(dump)
    for version, name in Shelf(count, lost, identity()).objects():
        metadata.add(version.key, version.etag, version.size)
        if name:
            metadata.add(f"out/{name}", version.etag, 900)
    metadata.write(dump)
    meta.unlink()
    subprocess.run([program, "load", address, dump], check=True, capture_output=True)
    with gateway(home / "s3", *KEYS) as url:
        yield url


def environ_of(url: str) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": KEYS[0],
            "AWS_SECRET_ACCESS_KEY": KEYS[1]}  # fmt: skip


def peak_kb(pid: int) -> int:
    """The peak so far of a process's own memory; `ru_maxrss` has that of its parent in it."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text("ascii"))
        return int(found[1]) if found else 0
    return 0


def run(environ: dict[str, str]) -> dict[str, Any]:
    """The command's report, its seconds, and its peak memory in MB."""
    began = time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    servers = [child for child in psutil.Process().children() if "juicefs" in child.name()]
    served = sum(sum(server.cpu_times()[:2]) for server in servers)
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "pi10_classifier", "oscar", "reconcile", f"s3://{BUCKET}/in/",
             "--out", f"s3://{BUCKET}/out/", "--scheduled", "--json"],
            stdout=out, env={**os.environ, "PI10_MODEL": MODEL, **environ},
        )  # fmt: skip
        peak = 0
        while process.poll() is None:
            peak = max(peak, peak_kb(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        out.seek(0)
        said = out.read()
    if process.returncode:
        raise SystemExit(f"reconcile ended with {process.returncode}: {said[-500:]!r}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    served = sum(sum(server.cpu_times()[:2]) for server in servers) - served
    return {
        "seconds": round(seconds, 1),
        # processor time, start included, tells more than seconds where the machine is shared
        "cpu_s": round(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, 1),
        **({"gateway_cpu_s": round(served, 1)} if servers else {}),
        "peak_mb": round(peak / 1024, 1),
        "totals": json.loads(said)["totals"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000, help="inputs in the bucket")
    parser.add_argument("--lost", type=int, default=1000, help="one of so many has no record")
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    parser.add_argument("--gateway", action="store_true", help="the real S3 server has the keys")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        jobs = url = stack.enter_context(listing(chosen.keys, chosen.lost))
        if chosen.gateway:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            url = stack.enter_context(filled_gateway(chosen.keys, chosen.lost, home))
        endpoint = {"OSCAR_ENDPOINT": jobs, "OSCAR_SERVICE_TOKEN": "bench"}
        figures = run({**environ_of(url), **endpoint})
        with urlopen(f"{jobs}/counts") as answer:
            figures["stub_served"] = json.load(answer)
    table = Table(title=f"reconcile over {chosen.keys:,} inputs")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)
    if chosen.out:
        chosen.out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
