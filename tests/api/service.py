"""A real `pi10 serve` in a process of its own, and what tests ask of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepaas_server import FOLLOW

# a machine at full load is slow, which is no defect of the service
PATIENCE_S = 300
JSON = "application/json"


@dataclass
class Reply:
    """An answer: status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Service:
    """A started service; ``base`` is its address with the prefix."""

    process: subprocess.Popen[str]
    base: str
    log: Path
    replies: list[Reply] = field(default_factory=list)

    def ask(self, path: str, data: bytes | None = None, method: str = "", **headers: str) -> Reply:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            f"{self.base}{path}", data, given, method=method or ("POST" if data else "GET")
        )
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=PATIENCE_S) as answer:
                return Reply(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, dict(error.headers), error.read())

    def predict(self, *files: tuple[str, bytes], **headers: str) -> Reply:
        return self.upload("/v2/models/pi10_classifier/predict/", *files, **headers)

    def upload(self, path: str, *files: tuple[str, bytes], **headers: str) -> Reply:
        kind, body = form(*files)
        return self.ask(path, body, Content_Type=kind, **headers)

    def lines(self) -> list[dict[str, Any]]:
        """The log; every line must be an object."""
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    def logged(self, message: str, **fields: Any) -> list[dict[str, Any]]:
        return [
            line for line in self.lines()
            if line["message"] == message and fields.items() <= line.items()
        ]  # fmt: skip

    def ready(self) -> bool:
        try:
            return self.ask("/health/ready").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def figure(self, line: str) -> float:
        """A figure of /metrics by its name and labels."""
        for found in self.ask("/metrics").body.decode().splitlines():
            name, _, value = found.rpartition(" ")
            if name == line:
                return float(value)
        raise AssertionError(f"{line} is not among the metrics")

    def workers(self) -> list[int]:
        return [line["worker_pid"] for line in self.logged("worker ready")]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def form(*files: tuple[str, bytes]) -> tuple[str, bytes]:
    """Content type and body of a multipart form with ``files`` in the field ``data``."""
    border = uuid.uuid4().hex
    parts = [
        f'--{border}\r\nContent-Disposition: form-data; name="data"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return f"multipart/form-data; boundary={border}", b"".join(parts) + f"--{border}--\r\n".encode()


def until(true: Any, what: str, seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)


@contextmanager
def serving(folder: Path, *options: str, wait: bool = True, **environ: str) -> Iterator[Service]:
    """`pi10 serve` on a free port; killed at the end where it did not end itself."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "serve.log"
    run = f"{FOLLOW}from pi10_classifier.cli import main; main()"
    command = [sys.executable, "-c", run, "serve", "--port", "0", *options]
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    given = {**os.environ, "TMPDIR": str(temporary), **environ}
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=stream, text=True, env=given
        )
    service = Service(process, "", log)

    def listening() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"it ended: {log.read_text('utf-8')}")
        return bool(service.logged("listening"))

    try:
        until(listening, "it listens")
        service.base = service.logged("listening")[0]["url"].removesuffix("/ui/")
        if wait:
            until(service.ready, "it is ready")
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdin:
            process.stdin.close()
