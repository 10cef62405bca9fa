"""Imitates OSCAR's HTTP endpoints on this machine.

As in OSCAR, a job is accepted with 201 at once and runs later in its own process. It is never
retried, and its exit code is ignored.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.oscar.local.faults import FaultInjector, Faults
from pi10_classifier.oscar.local.supervisor import JobEnd, SupervisorJob

MAX_BODY = 512 * 2**20
_LOGS_KEPT = 200
VERSION = "4.1.0"  # the version of OSCAR whose answers are imitated


class Jobs:
    """A queue of events and the threads that run them, ``parallel`` at a time."""

    def __init__(
        self, workers: Mapping[str, SupervisorJob], parallel: int, faults: Faults, logs: Path
    ) -> None:
        self.counts: Counter[str] = Counter(accepted=0, lost=0, running=0, done=0, killed=0)
        self._workers = workers
        self._faults = FaultInjector(faults)
        self._logs = logs
        self._waiting: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"job-{n}", daemon=True)
            for n in range(parallel)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, service: str, event: bytes) -> None:
        """Queue an event; with faults, not at all or twice."""
        copies = self._faults.copies()
        with self._changed:
            self.counts["accepted"] += 1
            self.counts["lost"] += copies == 0
            self._waiting += [(service, event)] * copies
            self._changed.notify_all()

    def services(self) -> list[dict[str, Any]]:
        """The services in the form that OSCAR ``VERSION`` lists them."""
        return [worker.service.to_api(VERSION) for worker in self._workers.values()]

    @property
    def open(self) -> int:
        """Jobs that wait or run."""
        with self._changed:
            return len(self._waiting) + self.counts["running"]

    def wait(self, timeout_s: float) -> bool:
        """True once no job waits or runs; False after ``timeout_s`` seconds."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self.counts["running"], timeout_s
            )

    def stop(self) -> None:
        """Start no more jobs, and wait for those that run."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def call(self, service: str, body: bytes) -> JobEnd:
        """A synchronous call, which bypasses the queue, as in OSCAR."""
        return self._workers[service].call(body)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                service, event = self._faults.draw(self._waiting)
                self.counts["running"] += 1
            try:
                end = self._workers[service].job(event, self._faults.watch())
            except OSError as error:  # no process or no disk: handled like a lost node
                end = JobEnd(-1, 0.0, f"the job did not start: {error}\n")
            with self._changed:
                number = self.counts["running"] + self.counts["done"]
            with suppress(OSError):
                log = self._logs / f"{service}-{number % _LOGS_KEPT:03}.log"
                log.write_text(end.output, "utf-8", "replace")
            with self._changed:
                self.counts["running"] -= 1
                self.counts["done"] += 1
                self.counts["killed"] += end.returncode < 0
                self._changed.notify_all()


def machine_status() -> dict[str, Any]:
    """The status of an idle cluster whose only node is this machine, in the form of OSCAR 4."""
    cores = 1000 * default_jobs()  # OSCAR counts cores in thousandths
    free = 0
    with suppress(OSError, ValueError, IndexError):
        value = Path("/proc/meminfo").read_text("ascii")
        free = 1024 * int(value.partition("MemAvailable:")[2].split()[0])
    cpu = {"total_free_cores": cores, "max_free_on_node_cores": cores}
    memory = {"total_free_bytes": free, "max_free_on_node_bytes": free}
    metrics = {"cpu": cpu, "memory": memory, "gpu": {"total_gpu": 0}}
    return {"cluster": {"nodes_count": 1, "metrics": metrics}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    jobs: Jobs
    tokens: Mapping[str, str]

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(HTTPStatus.OK, b"Ok")
        elif self.path in ("/system/status", "/system/info", "/system/services"):
            if any(self._may(token) for token in self.tokens.values()):
                self._answer(HTTPStatus.OK, json.dumps(self._system()).encode())
            else:
                self._answer(HTTPStatus.UNAUTHORIZED)
        elif self.path == "/local/jobs":
            self._answer(HTTPStatus.OK, json.dumps(dict(self.jobs.counts)).encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def _system(self) -> object:
        if self.path == "/system/info":
            return {"version": VERSION}
        if self.path == "/system/status":
            return machine_status()
        return [{**value, "token": self.tokens[value["name"]]} for value in self.jobs.services()]

    def do_HEAD(self) -> None:
        self._answer(HTTPStatus.OK)

    def do_POST(self) -> None:
        kind, _, name = self.path.strip("/").partition("/")
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        if kind not in ("job", "run") or name not in self.tokens:
            self._answer(HTTPStatus.NOT_FOUND)
        elif not self._may(self.tokens[name]):
            self._answer(HTTPStatus.UNAUTHORIZED)
        elif kind == "job":
            self.jobs.add(name, body)
            self._answer(HTTPStatus.CREATED)
        else:
            end = self.jobs.call(name, body)
            status = HTTPStatus.OK if end.returncode == 0 else HTTPStatus.INTERNAL_SERVER_ERROR
            self._answer(status, end.output.encode())

    def _may(self, token: str) -> bool:
        value = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        return hmac.compare_digest(value.encode(), token.encode())

    def _answer(self, status: HTTPStatus, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: requests are counted."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def receiver(jobs: Jobs, tokens: Mapping[str, str], port: int) -> Iterator[str]:
    """Listen on 127.0.0.1 for the services in ``tokens``; yields the endpoint's URL.

    Raises SettingError if the port is in use.
    """
    handler = type("Handler", (_Handler,), {"jobs": jobs, "tokens": tokens})
    try:
        server = _Server(("127.0.0.1", port), handler)
    except OSError as error:
        raise SettingError(
            f"cannot listen on 127.0.0.1:{port}: {error.strerror}; choose another --port"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="receiver", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
