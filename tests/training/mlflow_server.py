"""Support for tests: a real MLflow server that can be killed, and what a store holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from pi10_classifier.oscar.gateway import free_port

STARTS_WITHIN_S = 400


class Server:
    """One server over one database; ``start`` after ``kill`` finds what it had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.killed = False
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.killed = False
        if self._process is not None:
            return
        environ = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "1"}
        with (self.folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                 "--port", str(self.port), "--workers", "1",
                 "--backend-store-uri", f"sqlite:///{self.folder}/m.db",
                 "--artifacts-destination", str(self.folder / "artifacts")],
                stdout=out, stderr=subprocess.STDOUT, env=environ, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < until and self._process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=2):
                return
            time.sleep(0.2)
        self.kill()
        raise RuntimeError(f"no MLflow server: {(self.folder / 'out').read_text()[-2000:]}")

    def kill(self) -> None:
        """At once, with its worker: no farewell to anybody."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            self.killed = True


def runs_of(client: Any, experiment: str) -> dict[str, Any]:
    """The experiment's runs by name; fails where a name is there twice."""
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    names = [run.info.run_name for run in found]
    assert len(set(names)) == len(names), f"doubled: {names}"
    return dict(zip(names, found, strict=True))


def artifacts(client: Any, run_id: str, folder: str = "") -> set[str]:
    """Paths of all files of a run."""
    found = set()
    for item in client.list_artifacts(run_id, folder or None):
        found |= artifacts(client, run_id, item.path) if item.is_dir else {item.path}
    return found
