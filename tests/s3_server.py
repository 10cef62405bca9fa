"""Support for tests: the S3 server of `pi10 oscar local`, and a proxy that misbehaves."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from minio import Minio

from pi10_classifier.oscar.gateway import gateway, juicefs

ACCESS_KEY = "minioadmin"
SECRET_KEY = "minioadmin123"
JUICEFS = juicefs()


@dataclass
class Server:
    """Where the server answers, and how to ask it."""

    url: str
    client: Minio = field(init=False)

    def __post_init__(self) -> None:
        self.client = Minio(
            endpoint=self.url.removeprefix("http://"),
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            secure=False,
        )

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "PI10_S3_DEADLINE": "20",
        } | more


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Run the gateway on ``folder``."""
    with gateway(folder, ACCESS_KEY, SECRET_KEY) as url:
        yield Server(url)


Misdeed = Callable[[socket.socket, bytes], None]


class Proxy:
    """Passes requests on, one a connection; each misdeed in ``script`` spoils one of them.

    A misdeed gets the connection and the server's whole answer.
    """

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.script: list[Misdeed] = []
        self.requests: list[bytes] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                part = connection.recv(65_536)
                if not part:
                    return
                request += part
            # the body may come after the head: without it the server waits for it in vain
            head, _, body = request.partition(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: *(\d+)", head, flags=re.IGNORECASE)
            missing = int(length[1]) - len(body) if length else 0
            while missing > 0 and (part := connection.recv(65_536)):
                request += part
                missing -= len(part)
            with self._lock:
                self.requests.append(request)
                misdeed = self.script.pop(0) if self.script else None
            # signed headers stay as they are; Connection is not among them
            request = re.sub(rb"\r\nConnection:[^\r]*", b"", request, flags=re.IGNORECASE)
            request = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
            answer = b""
            with socket.create_connection(self._upstream, 10) as upstream:
                upstream.sendall(request)
                while part := upstream.recv(65_536):
                    answer += part
            if misdeed:
                misdeed(connection, answer)
            else:
                connection.sendall(answer)


def slow_down(connection: socket.socket, _: bytes) -> None:
    """503, as a store under load answers."""
    body = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Later</Message></Error>"
    connection.sendall(
        b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )


def refuse_key(connection: socket.socket, _: bytes) -> None:
    """403, as to keys that were withdrawn."""
    body = b"<?xml version='1.0'?><Error><Code>InvalidAccessKeyId</Code></Error>"
    connection.sendall(
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )


def bad_gateway(connection: socket.socket, _: bytes) -> None:
    """502 with a page for people, as a reverse proxy answers."""
    connection.sendall(
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nConnection: close\r\n"
        b"Content-Length: 11\r\n\r\n<html>Sorry"
    )


def cut_body(connection: socket.socket, answer: bytes) -> None:
    """Half of the body, though the length promises all of it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    connection.sendall(head + b"\r\n\r\n" + body[: len(body) // 2])


def cut_without_length(connection: socket.socket, answer: bytes) -> None:
    """Half of the body, and no length that would tell."""
    head, _, body = answer.partition(b"\r\n\r\n")
    head = re.sub(rb"\r\nContent-Length:[^\r]*", b"", head, flags=re.IGNORECASE)
    connection.sendall(head + b"\r\n\r\n" + body[: len(body) // 2])


def hang_up(connection: socket.socket, _: bytes) -> None:
    """No answer at all."""


def stall(connection: socket.socket, answer: bytes) -> None:
    """The head, then silence for longer than anyone waits in a test."""
    connection.sendall(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    connection.settimeout(15)
    connection.recv(1)


def ignore_range(connection: socket.socket, answer: bytes) -> None:
    """200 in place of 206."""
    connection.sendall(answer.replace(b"206 Partial Content", b"200 OK", 1))
