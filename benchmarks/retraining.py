"""From labels in a bucket to a candidate: `python -m benchmarks.retraining --data TAR`.

Real processes: an MLflow server, `pi10 oscar local up` with the service pi10-retrain, one job of
the real faas-supervisor for each event. TAR holds CLASS/label/picture files, of which ``--each`` of
each class are delivered, in two deliveries, with three that must be refused beside them. With
``--blur`` they are as from a camera out of focus, which the champion does not know. Printed: the
answers, the comparison, and seconds from the last delivery to the report.
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

from pi10_classifier.model.package import read_package
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.registry.client import Registry
from pi10_classifier.registry.resolve import find
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


def wait_for(what: str, ready: Any) -> Any:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        with suppress(OSError):
            if (answer := ready()) is not None:
                return answer
        time.sleep(0.5)
    sys.exit(f"{what}: not there after {WAIT_S:g} s")


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
                        help="the champion is in the registry; promote the candidate, classify with"
                        " it, roll back")  # fmt: skip
    parser.add_argument("--keep", type=Path, help="folder to copy the output folder to")
    given = parser.parse_args()
    classes = read_package(find(given.model))[0].classes
    brought = deliveries(chosen(given.data, classes, given.each, given.blur))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        port, s3_port, mlflow_port = free_port(), free_port(), free_port()
        url = f"http://127.0.0.1:{mlflow_port}"
        environ = {
            **os.environ, "MLFLOW_TRACKING_URI": url, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PI10_RETRAIN_REGISTER": MODEL, "PI10_RETRAIN_SETTLE_S": "10",
            **dict(pair.split("=", 1) for pair in given.variables),
        }  # fmt: skip
        server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port",
                  str(mlflow_port), "--workers", "1", "--backend-store-uri",
                  f"sqlite:///{home}/m.db", "--artifacts-destination", f"{home}/a"]  # fmt: skip
        if given.loop:
            environ["PI10_MODEL_CACHE"] = f"{home}/cache"
        local = [sys.executable, "-m", "pi10_classifier", "oscar", "local", "up", "--home",
                 f"{home}/local", "--service", "pi10-retrain", "--port",
                 str(port), "--s3-port", str(s3_port)]  # fmt: skip
        local += ["--model", f"models:/{MODEL}@champion" if given.loop else given.model]
        with ExitStack() as stack:
            stack.enter_context(process(server, home / "mlflow.log", environ))
            wait_for("MLflow", lambda: urllib.request.urlopen(f"{url}/health", timeout=2).status)
            if given.loop:
                # the first champion, judged on pictures in focus
                sharp = chosen(given.data, classes, 20, 0)
                rows = [(f"{label}/{name}", x) for label, y in sharp.items() for name, x in y]
                (home / "sharp.tar").write_bytes(packed(rows))
                pi10(home, environ, "models", "register", str(find(given.model)), "--name", MODEL)
                pi10(home, environ, "models", "promote", MODEL, "--data", "sharp.tar", "--out",
                     "first")  # fmt: skip
            stack.enter_context(process(local, home / "log", environ))
            keys = home / "local/environment"
            text = wait_for("pi10 oscar local", lambda: keys.read_text() if keys.exists() else None)
            out = run(text, brought, url, given.keep)
            if given.loop:
                promote(home, environ, out)


def pi10(home: Path, environ: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pi10_classifier", *words], cwd=home, env=environ,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(f"$ pi10 {' '.join(words)}: {done.returncode}")
    if done.returncode:
        print(done.stderr.strip()[-600:])
    return done.stdout


def promote(home: Path, environ: dict[str, str], out: Bucket) -> None:
    """What a person does, and what a service that follows the alias then answers."""
    out.download("test/frozen-test.tar", home / "frozen-test.tar")
    pi10(home, environ, "simulate", "made", "--bins", "1", "--images", "30")

    def model(name: str) -> str:
        follows = f"models:/{MODEL}@champion"
        pi10(home, environ, "classify", "made", "--model", follows, "--out", name)
        with suppress(OSError, ValueError, KeyError):
            return str(json.loads((home / name / "run.json").read_text())["model"]["sha256"][:12])
        return "none"

    print(f"champion answers: {model('before')}")
    print(pi10(home, environ, "models", "promote", MODEL, "--data", "frozen-test.tar", "--out",
               "compared", "--new-test", "--why", "benchmark"))  # fmt: skip
    print(f"after the promotion: {model('after')}")
    print(pi10(home, environ, "models", "rollback", MODEL, "--why", "benchmark"))
    print(f"after the rollback: {model('again')}")


def run(text: str, brought: dict[str, bytes], url: str, keep: Path | None) -> Bucket:
    environ = dict(line.removeprefix("export ").split("=", 1) for line in text.splitlines())
    store = S3Client({name: value.strip("'") for name, value in environ.items()})
    source, out = (Bucket.of(store, f"s3://{BUCKET}/{name}/") for name in ("in", "out"))
    for name, data in brought.items():
        source.put(name, data)
    began = time.monotonic()

    def report() -> Any:
        names = [x.name for x in out.outputs("rounds/") if x.name.endswith("/report.json")]
        return json.loads(out.get(names[-1], 2**24)) if names else None

    told = wait_for("a report", report)
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
    print(f"{seconds:.0f} s from the last delivery to the report")
    if keep:
        for entry in out.outputs(""):
            path = keep / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            out.download(entry.name, path)
    return out


def show_registered(url: str) -> None:
    """What the registry itself says."""
    registry = Registry.from_environ({"MLFLOW_TRACKING_URI": url})
    for version in registry.versions(MODEL):
        print(f"registry: {version}, aliases {version.aliases}, {version.digest[:12]}")


if __name__ == "__main__":
    main()
