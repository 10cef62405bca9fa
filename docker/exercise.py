"""Requests every type of answer from a running service, and checks each.

    python exercise.py [URL]     without URL it starts deepaas-run itself, and stops it with SIGTERM

It needs only the standard library and the command ``pi10``, because it runs inside the image: at
build time, which also writes the bytecode of all used modules, and from docker/check.sh. It reads
the service's options and types of answer from its OpenAPI document.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

MODEL = "pi10_classifier"
PREDICT = f"/v2/models/{MODEL}/predict/"
# type of answer -> its first bytes
BEGINS = {
    "application/json": b"{",
    "application/zip": b"PK\x03\x04",
    "application/vnd.apache.parquet": b"PAR1",
    "application/x-parquet": b"PAR1",
    "image/png": b"\x89PNG",
    "text/html": b"<!",
}


def get(url: str) -> bytes:
    with urlopen(url, timeout=30) as answer:
        return bytes(answer.read())


def wait(url: str, seconds: float, process: subprocess.Popen[bytes] | None = None) -> float:
    """Wait until `url` answers; returns the seconds."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if process is not None and process.poll() is not None:
            sys.exit(f"the service ended with {process.returncode} before it answered")
        try:
            get(url)
            return time.monotonic() - began
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    sys.exit(f"{url} did not answer within {seconds:.0f} s")


def offered(url: str) -> tuple[str, list[str]]:
    """The name of the file argument, and the types of answer."""
    operation = json.loads(get(f"{url}/swagger.json"))["paths"][PREDICT]["post"]
    arguments = operation["parameters"]
    files = [argument["name"] for argument in arguments if argument.get("type") == "file"]
    accepts = [kind for argument in arguments if argument["name"].lower() == "accept"
               for kind in argument.get("enum", ())]  # fmt: skip
    if not files:
        sys.exit(f"predict takes no file; its arguments are {[a['name'] for a in arguments]}")
    return files[0], [kind for kind in accepts if kind != "*/*"] or ["application/json"]


def post(url: str, name: str, path: Path, accept: str) -> bytes:
    mark = uuid.uuid4().hex
    body = (
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{path.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()  # fmt: skip
    headers = {"Content-Type": f"multipart/form-data; boundary={mark}", "Accept": accept}
    try:
        with urlopen(Request(url + PREDICT, data=body, headers=headers), timeout=300) as answer:
            return bytes(answer.read())
    except HTTPError as error:
        sys.exit(f"{path.name} as {accept}: {error.code} {error.read()[:500]!r}")


def exercise(url: str, folder: Path) -> None:
    name, accepts = offered(url)
    subprocess.run(["pi10", "simulate", folder / "tars", "--bins", "1", "--images", "17"],
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    subprocess.run(["pi10", "simulate", folder / "loose", "--bins", "1", "--images", "1",
                    "--folders"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    # an image of a particle, not the bin's Background.tif
    image = next((folder / "loose").rglob("*N0*.tif"))
    tar = next((folder / "tars").rglob("*.tar"))
    for path in (image, tar):
        for accept in accepts:
            began = time.monotonic()
            answer = post(url, name, path, accept)
            if not answer.startswith(BEGINS.get(accept, b"")) or not answer:
                sys.exit(f"{path.name} as {accept}: the answer begins with {answer[:80]!r}")
            if accept == "application/json" and "detritus" not in answer.decode():
                sys.exit(f"{path.name}: no class in the answer {answer[:500]!r}")
            took = time.monotonic() - began
            print(f"{path.name:>40}  {accept:<32} {len(answer):>8} bytes  {took:.2f} s")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        if len(sys.argv) > 1:
            exercise(sys.argv[1].rstrip("/"), Path(scratch))
            return
        # also the main command, with its report
        subprocess.run(["pi10", "simulate", f"{scratch}/cruise", "--bins", "1", "--images", "40"],
                       check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        subprocess.run(["pi10", "classify", f"{scratch}/cruise", "--out", f"{scratch}/out"],
                       check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        if not Path(scratch, "out/report.html").is_file():
            sys.exit("pi10 classify wrote no report")
        port = os.environ.get("PI10_EXERCISE_PORT", "5999")
        url = f"http://127.0.0.1:{port}"
        service = subprocess.Popen(["deepaas-run", "--listen-ip", "127.0.0.1",
                                    "--listen-port", port])  # fmt: skip
        try:
            wait(f"{url}/v2/models/{MODEL}/", 180, service)
            exercise(url, Path(scratch))
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(20)


if __name__ == "__main__":
    main()
