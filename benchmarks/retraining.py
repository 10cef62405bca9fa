"""From labels in a bucket to a candidate: `python -m benchmarks.retraining --data TAR`.

Real processes: an MLflow server, `pi10 oscar local up` with the service pi10-retrain, one job of
the real faas-supervisor for each event. TAR holds CLASS/label/picture files, of which ``--each`` of
each class are delivered, in two deliveries, with three that must be refused beside them. With
``--blur`` they are as from a camera out of focus, which the champion does not know. Printed: the
answers, the comparison, and seconds from the last delivery to the report.

With ``--loop`` the champion is a registered model from the start, which a running `pi10 serve` and
the service pi10-events follow. When the candidate is there, the commands of a person promote it and
roll it back, and both services tell which model answers. Anything else ends the program.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import serve
from benchmarks.promotion import Followers, pi10, promote_and_roll_back, waited
from pi10_classifier.model.package import graph_hashes, read_package
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.registry.client import Registry
from pi10_classifier.registry.reference import ModelReference
from pi10_classifier.registry.resolve import find
from pi10_classifier.retraining.service import FROZEN
from pi10_classifier.sources.archives import members
from pi10_classifier.sources.s3_client import S3Client

WAIT_S = 3600.0
BUCKET, MODEL = "pi10-labels", "bench-retrain"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(command: list[str], log: Path, environ: dict[str, str]) -> Iterator[None]:
    with log.open("ab") as stream:
        started = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environ, start_new_session=True
        )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)


def blurred(data: bytes, sigma: float) -> bytes:
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    encoded: bytes = cv2.imencode(".png", cv2.GaussianBlur(grey, (0, 0), sigma))[1].tobytes()
    return encoded


def chosen(
    data: Path, classes: tuple[str, ...], each: int, blur: float
) -> dict[str, list[tuple[str, bytes]]]:
    """For each class ``each`` pictures, by the hash of their bytes."""
    found: dict[str, list[tuple[str, bytes]]] = {name: [] for name in classes}
    with data.open("rb") as stream:
        for member in members(stream, data.stat().st_size):
            parts = member.name.split("/")
            if member.data and parts[0] in found:
                digest = hashlib.sha256(member.data).hexdigest()
                found[parts[0]].append((f"{digest[:20]}{Path(parts[-1]).suffix}", member.data))
    kept = {name: sorted(rows)[:each] for name, rows in found.items()}
    if not blur:
        return kept
    return {
        label: [(f"{Path(name).stem}.png", blurred(picture, blur)) for name, picture in rows]
        for label, rows in kept.items()
    }


def packed(rows: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in rows:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def deliveries(pictures: dict[str, list[tuple[str, bytes]]]) -> dict[str, bytes]:
    """Half as sorted folders, half as pictures and a CSV of their labels; and three bad ones."""
    folders, unsorted, lines = [], [], ["particle_id,label"]
    for label, rows in pictures.items():
        for number, (name, data) in enumerate(rows):
            if number % 2:
                folders.append((f"{label}/{name}", data))
            else:
                unsorted.append((f"unsorted/{name}", data))
                lines.append(f"{Path(name).stem},{label}")
    return {
        "broken.zip": b"PK\x03\x04" + bytes(100),
        "nothing.csv": b"",
        "other.csv": b"particle_id,label\nx,=cmd|' /C calc'!A0\n",
        "anna/sorted.tar": packed(folders),
        "bo/pictures.tar": packed(unsorted),
        "bo/labels.csv": "\n".join(lines).encode(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--blur", type=float, default=0.0, help="sigma of the blur, px")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--set", dest="variables", action="append", default=[],
                        help="variable of the service: PI10_RETRAIN_TRAIN_FROM=100")  # fmt: skip
    parser.add_argument("--loop", action="store_true",
                        help="register the champion, promote the candidate, roll back")  # fmt: skip
    parser.add_argument("--keep", type=Path, help="folder to copy the output folder to")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    classes = read_package(find(given.model))[0].classes
    brought = deliveries(chosen(given.data, classes, given.each, given.blur))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        url, environ = registry(home, stack, given.variables)
        follows = f"models:/{MODEL}@champion"
        services = ["pi10-retrain"]
        if given.loop:
            services.append("pi10-events")
            # the first champion, judged on pictures in focus
            sharp = chosen(given.data, classes, 20, 0)
            rows = [(f"{label}/{name}", x) for label, y in sharp.items() for name, x in y]
            (home / "sharp.tar").write_bytes(packed(rows))
            champion = str(find(given.model).resolve())
            pi10(home, environ, "models", "register", champion, "--name", MODEL)
            pi10(home, environ, "models", "promote", MODEL, "--data", "sharp.tar", "--out", "first")
        store = local(home, stack, environ, services, follows if given.loop else given.model)
        source, out = (Bucket.of(store, f"s3://{BUCKET}/{name}/") for name in ("in", "out"))
        if given.loop:
            os.environ.update(environ)  # `pi10 serve` starts with it
            address = stack.enter_context(
                serve.service(home, ["--model", follows, "--workers", "2"])
            )[0]
        told = run(source, out, brought, url, given.keep)
        if given.loop:
            if told["state"] != "candidate":
                sys.exit("no candidate, so there is nothing to promote")
            out.download(FROZEN, home / "frozen-test.tar")
            image = next(row for rows in sharp.values() for row in rows)
            events = (Bucket.of(store, f"s3://pi10/{name}/") for name in ("in", "out"))
            promote_and_roll_back(
                home, environ, MODEL, Followers(address, image, *events), hashes(url)
            )


def registry(home: Path, stack: ExitStack, variables: list[str]) -> tuple[str, dict[str, str]]:
    """The address of a fresh MLflow server, and the environment of all that use it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {
        **os.environ, "MLFLOW_TRACKING_URI": url, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PI10_RETRAIN_REGISTER": MODEL, "PI10_RETRAIN_SETTLE_S": "10",
        "PI10_MODEL_CACHE": f"{home}/cache", "PI10_MODEL_POLL_S": "1",
        **dict(pair.split("=", 1) for pair in variables),
    }  # fmt: skip
    server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
              "--workers", "1", "--backend-store-uri", f"sqlite:///{home}/m.db",
              "--artifacts-destination", f"{home}/a"]  # fmt: skip
    stack.enter_context(process(server, home / "mlflow.log", environ))
    waited("MLflow", lambda: urllib.request.urlopen(f"{url}/health", timeout=2).status)
    return url, environ


def local(
    home: Path, stack: ExitStack, environ: dict[str, str], services: list[str], model: str
) -> S3Client:
    """The storage of a running `pi10 oscar local up` with these services."""
    command = [sys.executable, "-m", "pi10_classifier", "oscar", "local", "up", "--home",
               f"{home}/local", "--model", model, "--port", str(free_port()), "--s3-port",
               str(free_port())]  # fmt: skip
    for service in services:
        command += ["--service", service]
    stack.enter_context(process(command, home / "log", environ))
    keys = home / "local/environment"
    text = waited("pi10 oscar local", lambda: keys.read_text() if keys.exists() else None)
    lines = (line.removeprefix("export ").split("=", 1) for line in text.splitlines())
    return S3Client({name: value.strip("'") for name, value in lines})


def run(
    source: Bucket, out: Bucket, brought: dict[str, bytes], url: str, keep: Path | None
) -> dict[str, Any]:
    """Deliver, and print what becomes of it; the report of the round."""
    for name, data in brought.items():
        source.put(name, data)
    began = time.monotonic()

    def report() -> dict[str, Any] | None:
        names = [x.name for x in out.outputs("rounds/") if x.name.endswith("/report.json")]
        return json.loads(out.get(names[-1], 2**24)) if names else None

    told: dict[str, Any] = waited("a report", report, WAIT_S)
    seconds = time.monotonic() - began
    for entry in out.outputs("answers/"):
        answer = json.loads(out.get(entry.name))
        more = answer.get("refused", {}).get("code") or f"{answer['labels']} {answer['pictures']}"
        print(f"{answer['key']}: {answer['status']} {more}")
    print(f"{told['state']}: {told['reason']}")
    print(f"test {told['test']}")
    if told["candidate"]:
        print(f"made by pi10 {told['candidate']['how']} in {told['candidate']['seconds']} s")
        told_of = told["comparison"]
        for who, f1 in (("champion", told_of["champion_macro_f1"]),
                        ("candidate", told_of["macro_f1"])):  # fmt: skip
            print(f"{who}: macro-F1 {f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f})")
        print(f"difference {told_of['difference']}, {told_of['verdict']}")
        print(told["registered"])
        show_registered(url)
    print(f"{seconds:.0f} s from the last delivery to the report", flush=True)
    if keep:
        for entry in out.outputs(""):
            path = keep / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            out.download(entry.name, path)
    return told


def hashes(url: str) -> tuple[set[str], set[str]]:
    """SHA-256 of the graphs of champion and candidate: answers give that of the one that ran."""
    registered = Registry.from_environ({"MLFLOW_TRACKING_URI": url})
    found = []
    for alias in ("champion", "candidate"):
        found.append(set(graph_hashes(find(f"models:/{MODEL}@{alias}", os.environ)).values()))
        print(f"{alias}: {registered.version(ModelReference(MODEL, alias=alias))}")
    return found[0], found[1]


def show_registered(url: str) -> None:
    """What the registry itself says."""
    registry = Registry.from_environ({"MLFLOW_TRACKING_URI": url})
    for version in registry.versions(MODEL):
        print(f"registry: {version}, aliases {version.aliases}, {version.digest[:12]}")


if __name__ == "__main__":
    main()
