"""Support for tests: the server that ``deepaas-run`` starts, as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests

STARTS_WITHIN_S = 300
NAME = "pi10_classifier"
# a server must not outlive tests that are killed: its standard input ends with them
FOLLOW = """
import os, threading
def follow():
    while os.read(0, 1): pass
    os._exit(1)
threading.Thread(target=follow, daemon=True).start()
"""
_RUN = f"{FOLLOW}from deepaas.cmd.run import main; main()"  # what the script deepaas-run does


class Server:
    """One server, its temporary files in a folder of its own."""

    def __init__(self, home: Path, environ: Mapping[str, str], workers: int = 1) -> None:
        self.home = home
        self.temporary = home / "tmp"
        self.trainings = home / "trainings"
        for folder in (self.temporary, self.trainings):
            folder.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v2/models/{NAME}"
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("PI10_", "MLFLOW_"))}
        with (home / "out").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _RUN, "--model-name", NAME, "--listen-ip", "127.0.0.1",
                 "--listen-port", str(port), "--workers", str(workers)],
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT,
                cwd=home, start_new_session=True,
                env={**ours, "TMPDIR": str(self.temporary), "PI10_TRAIN_DIR": str(self.trainings),
                     "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db", **environ},
            )  # fmt: skip

    @property
    def said(self) -> str:
        return (self.home / "out").read_text("utf-8", "replace")

    def wait(self) -> Server:
        until = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < until and self.process.poll() is None:
            with suppress(requests.ConnectionError):
                requests.get(f"{self.root}/", timeout=5)
                return self
            time.sleep(0.1)
        raise RuntimeError(f"no server: {self.said[-3000:]}")

    def predict(
        self, *files: tuple[str, bytes], accept: str | None = None, **options: Any
    ) -> requests.Response:
        parts = [("data", (name, data)) for name, data in files]
        headers = {"Accept": accept} if accept else {}
        return requests.post(
            f"{self.url}/predict/", files=parts, params=options, headers=headers, timeout=240
        )

    def family(self) -> list[psutil.Process]:
        """The server's process and all below it."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def leftovers(self) -> list[str]:
        """What requests have left among the temporary files."""
        return sorted(path.name for path in self.temporary.glob("pi10-*"))

    def end(self) -> None:
        """As a container's engine ends it; whatever is left is killed."""
        family = self.family() if self.process.poll() is None else []
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()


def running(home: Path, workers: int = 1, **environ: str) -> Iterator[Server]:
    """A server that is ready; ended with the block."""
    server = Server(home, environ, workers)
    try:
        yield server.wait()
    finally:
        server.end()


def closed_by_server(host: str, port: int, beginning: bytes, within: float = 300) -> bytes:
    """Send a head byte by byte, for ever; returns what the server said when it hung up."""
    said = b""
    with socket.create_connection((host, port)) as held:
        held.sendall(beginning)
        held.settimeout(0.2)
        until = time.monotonic() + within
        while time.monotonic() < until:
            try:
                piece = held.recv(4096)
                if not piece:
                    return said
                said += piece
            except TimeoutError:
                with suppress(ConnectionError):
                    held.sendall(b"a")
            except ConnectionError:
                return said
    raise AssertionError(f"it still listens to {beginning!r} after {within:g} s")


def gone(processes: list[psutil.Process], within: float) -> bool:
    """Whether all of them have ended."""
    return not psutil.wait_procs(processes, timeout=within)[1]
