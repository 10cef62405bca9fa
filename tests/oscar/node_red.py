"""Support for tests: Node-RED itself, without a browser, and flows put into it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pi10_classifier.oscar.gateway import free_port

# `make .venv/ready` puts it there: the last release that runs on Node 18 to 24
VERSION = "4.1.15"
PATIENCE_S = 300.0


def program() -> Path | None:
    """Node-RED's program: of the folder PI10_NODE_RED, or where `make` puts it; or None."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    home = os.environ.get("PI10_NODE_RED") or f"{cache}/pi10-classifier/node-red-{VERSION}"
    path = Path(home) / "node_modules" / "node-red" / "red.js"
    return path if path.is_file() and shutil.which("node") else None


class NodeRed:
    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log

    def ask(self, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body; a list is sent as flows, bytes as they are."""
        headers = {"Node-RED-API-Version": "v1", "Content-Type": "application/octet-stream"}
        if isinstance(body, list):
            headers["Content-Type"], body = "application/json", json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def start_flows(self, flows: list[dict[str, Any]]) -> None:
        """Put flows in, as an import and a deploy in the editor do, and wait till they run."""
        before = self.said().count("Started flows")
        status, body = self.ask("/flows", flows)
        assert status == 204, body
        until = time.monotonic() + PATIENCE_S
        while self.said().count("Started flows") == before:
            assert "missing types" not in self.said(), self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.05)


@contextmanager
def node_red(red: Path, folder: Path, environ: Mapping[str, str]) -> Iterator[NodeRed]:
    """Run it with its files in ``folder``, and without a flow."""
    folder.mkdir()
    (folder / "flows.json").write_text("[]")
    (folder / "settings.js").write_text(
        "module.exports = {flowFile: 'flows.json', credentialSecret: 'test', uiHost: '127.0.0.1',"
        " telemetry: {enabled: false}, apiMaxLength: '64mb',"
        " logging: {console: {level: 'info', metrics: false, audit: false}}}\n"
    )
    port = free_port()
    said = NodeRed(f"http://127.0.0.1:{port}", folder / "log")
    with said.log.open("wb") as log:
        process = subprocess.Popen(
            ["node", red, "--userDir", folder, "--port", str(port)],
            env={**os.environ, **environ}, stdout=log, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip
    try:
        until = time.monotonic() + PATIENCE_S
        while True:
            with suppress(OSError):
                if said.ask("/flows")[0] == 200 and "Started flows" in said.said():
                    break
            assert process.poll() is None and time.monotonic() < until, said.said()
            time.sleep(0.1)
        yield said
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
