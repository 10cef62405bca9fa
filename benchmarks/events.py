"""What an event costs: `python -m benchmarks.events`.

One image: seconds of the whole event, by the real faas-supervisor against the S3 server of
`pi10 oscar local`, and of those what `script.sh` takes. One tar: seconds of the handler, and of
those what the engine takes; beside them `pi10 classify` on the same tar, in turns.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.bench import make_bin, particles
from benchmarks.figures import Figure
from pi10_classifier.classify import classify
from pi10_classifier.inference.settings import Settings
from pi10_classifier.oscar.local import supervisor
from pi10_classifier.oscar.local.s3_gateway import gateway
from pi10_classifier.oscar.local.supervisor import Storage, SupervisorJob
from pi10_classifier.oscar.records import classify_object
from pi10_classifier.oscar.records.event import Event
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.records.naming import ObjectVersion
from pi10_classifier.oscar.records.settings import ServiceSettings
from pi10_classifier.oscar.services.fdl import folder, named
from pi10_classifier.oscar.services.variants import with_variables
from pi10_classifier.registry.resolve import find
from pi10_classifier.sources.s3_client import S3Client

MODEL, BUCKET = "starter", "pi10"
KEYS = ("bench", "benchbench")


def figure(what: str, unit: str, rounds: list[float]) -> Figure:
    return Figure(what, unit, statistics.median(rounds), min(rounds), max(rounds))


def version_of(key: str, data: bytes) -> ObjectVersion:
    return ObjectVersion(BUCKET, key, hashlib.md5(data, usedforsecurity=False).hexdigest(),
                         len(data))  # fmt: skip


def children_cpu() -> float:
    """Seconds of processor time of the processes that have ended: load beside does not count."""
    used = os.times()
    return used.children_user + used.children_system


def script(image: bytes, home: Path, rounds: int) -> list[Figure]:
    """Seconds from `script.sh` to its end, as faas-supervisor starts it."""
    path = home / "image.tif"
    path.write_bytes(image)
    seconds, cpu = [], []
    for number in range(rounds):
        out = home / f"output{number}"
        out.mkdir()
        version = version_of("in/image.tif", image)
        environ = {
            **os.environ, "PI10_PYTHON": sys.executable, "PI10_MODEL": MODEL, "PI10_JOBS": "1",
            "EVENT": Event(BUCKET, version.key, version.etag, version.size).to_json(),
            "STORAGE_OBJECT_KEY": version.key, "INPUT_FILE_PATH": str(path),
            "TMP_OUTPUT_DIR": str(out),
        }  # fmt: skip
        began, used = time.perf_counter(), children_cpu()
        subprocess.run(["/bin/sh", folder() / "script.sh"], env=environ, check=True,
                       stderr=subprocess.DEVNULL)  # fmt: skip
        seconds.append(time.perf_counter() - began)
        cpu.append(children_cpu() - used)
        assert any(out.rglob("*.json"))
    what = "an image: script.sh"
    return [figure(what, "s", seconds), figure(f"{what}, processor time", "s", cpu)]


def event(image: bytes, home: Path, rounds: int) -> list[Figure]:
    """Seconds of a job: faas-supervisor downloads, runs the script, uploads."""
    python = supervisor.installed() or supervisor.install()
    service = with_variables(named("pi10-events"), {"PI10_MODEL": MODEL, "PI10_JOBS": "1"})
    seconds, cpu = [], []
    with gateway(home / "s3", *KEYS) as url:
        store = S3Client({"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": KEYS[0],
                       "AWS_SECRET_ACCESS_KEY": KEYS[1]})  # fmt: skip
        store.client.make_bucket(bucket_name=BUCKET)
        worker = SupervisorJob(service, Storage(url, *KEYS), python, home)
        for number in range(rounds):
            version = version_of(f"in/cruise 1/{number}.tif", image)
            store.client.put_object(bucket_name=BUCKET, object_name=version.key,
                                    data=io.BytesIO(image), length=len(image))  # fmt: skip
            said = Event(BUCKET, version.key, version.etag, version.size).to_json()
            used = children_cpu()
            end = worker.job(said.encode(), lambda _: None)
            seconds.append(end.seconds)
            cpu.append(children_cpu() - used)
            begins = f"out/{version.key}"
            assert list(store.objects(BUCKET, begins)), end.output
    what = "an image: the whole event"
    return [figure(what, "s", seconds), figure(f"{what}, processor time", "s", cpu)]


def archive(tar: Path, home: Path, jobs: int, rounds: int) -> list[Figure]:
    """Seconds of the handler and of the engine in it, and of `classify` on the same tar."""
    settings = Settings(model=find(MODEL), jobs=jobs)
    data = tar.read_bytes()
    version = version_of("in/2024-06-24/1450.tar", data)
    del data
    inner: list[float] = []
    engine = classify_object.classify_units

    def timed(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return engine(*args, **options)
        finally:
            inner.append(time.perf_counter() - began)

    classify_object.classify_units = timed
    handled, plain, ratio = [], [], []
    for number in range(rounds):
        out = home / f"tar{number}"
        out.mkdir()
        began, used = time.perf_counter(), time.process_time()
        handler = Handler(ServiceSettings(settings))
        handler.handle(tar, version, out)
        handled.append(time.perf_counter() - began)
        whole = time.process_time() - used
        began, used = time.perf_counter(), time.process_time()
        classify([str(tar)], home / f"plain{number}", settings)
        plain.append(time.perf_counter() - began)
        ratio.append(100 * whole / (time.process_time() - used))
    classify_object.classify_units = engine
    shares = [100 * part / whole for part, whole in zip(inner, handled, strict=True)]
    return [
        figure("a tar: the handler", "s", handled),
        figure("a tar: the engine's share of it", "%", shares),
        figure("a tar: pi10 classify", "s", plain),
        figure("a tar: the handler's processor time, of classify's", "%", ratio),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="real crops")
    parser.add_argument("--images", type=int, default=10_000, help="in the tar")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--rounds", type=int, default=9, help="of an image")
    parser.add_argument("--tar-rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder_:
        home = Path(folder_)
        tar, what = make_bin(chosen.data, chosen.images, home / "bins")
        [image] = particles(tar, 1)
        figures = script(image, home, chosen.rounds) + event(image, home, chosen.rounds)
        figures += archive(tar, home, chosen.jobs, chosen.tar_rounds)
    table = Table(title=f"{what}, model {MODEL}, {chosen.jobs} jobs", caption="median, least, most")
    for one in figures:
        table.add_row(one.what, *(f"{x:.3f}" for x in (one.median, one.least, one.most)), one.unit)
    Console().print(table)
    if chosen.out:
        said = {"images": what, "figures": [asdict(one) for one in figures]}
        chosen.out.write_text(json.dumps(said, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
