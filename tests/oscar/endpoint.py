"""Support for tests: an endpoint that answers on script, and passes jobs to a function."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pi10_classifier.oscar.event import Event

TOKEN = "t" * 64
HANG_UP = 0


class Endpoint:
    """Takes jobs at ``url``; each number in ``script`` is the status of one answer instead."""

    def __init__(self, do: Callable[[Event], None]) -> None:
        self.do = do
        self.script: list[int] = []
        self.taken: list[Event] = []
        self.paths: list[str] = []
        self.lock = threading.Lock()
        self.url = ""

    def environ(self) -> dict[str, str]:
        return {
            "OSCAR_ENDPOINT": self.url,
            "OSCAR_SERVICE_TOKEN": TOKEN,
            "PI10_OSCAR_DEADLINE": "5",
        }

    def answer(self, path: str, token: str, body: bytes) -> int:
        with self.lock:
            self.paths.append(path)
            if self.script:
                return self.script.pop(0)
        if token != f"Bearer {TOKEN}":
            return 401
        event = Event.parse(body.decode())
        assert event is not None
        self.do(event)
        with self.lock:
            self.taken.append(event)
        return 201


@contextmanager
def serve(do: Callable[[Event], None]) -> Iterator[Endpoint]:
    endpoint = Endpoint(do)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = endpoint.answer(self.path, self.headers.get("Authorization", ""), body)
            if status == HANG_UP:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
