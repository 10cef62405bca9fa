"""Support for tests: a receiver of summary lines over HTTP that goes away and comes back."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """Keeps lines by id and minute. ``down`` closes the port, ``up`` opens the same one.

    answers: statuses for the next requests, 200 when used up; "cut" acknowledges nothing
    after having kept the lines, as a link that breaks just then.
    """

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], dict[str, Any]] = {}
        self.order: list[int] = []
        self.repeated = self.requests = self.bytes = 0
        self.longest = 0
        self.headers: list[dict[str, str]] = []
        self.answers: list[int | str] = []
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/lines"

    def up(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests += 1
                receiver.headers.append(dict(self.headers))
                answer = receiver.answers.pop(0) if receiver.answers else 200
                if answer in (200, "cut"):
                    receiver.keep(body)
                if answer == "cut":
                    self.connection.close()
                    return
                self.send_response(int(answer))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, *words: object) -> None:
                pass  # a client that hangs up

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    close = down

    def keep(self, body: bytes) -> None:
        for raw in body.splitlines(keepends=True):
            line = json.loads(raw)
            self.bytes += len(raw)
            self.longest = max(self.longest, len(raw))
            key = line["id"], line["minute"]
            self.repeated += key in self.lines
            self.lines[key] = line
            self.order.append(line["seq"])

    def missing(self) -> list[int]:
        """Sequence numbers that are absent below the highest."""
        seen = {line["seq"] for line in self.lines.values()}
        return sorted(set(range(1, max(seen, default=0) + 1)) - seen)
