"""Connections whose headers do not come, or that are idle, are closed; a slow body is heard."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from deepaas_server import closed_by_server

pytest.importorskip("aiohttp")
from aiohttp import web, web_server

from pi10_classifier.foundation.header_timeout import Timely, install
from pi10_classifier.foundation.http_service import listen

HOST = "127.0.0.1"
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
REQUEST = HEAD + b"\r\nbody"
LONG_S = 600.0


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``install`` changes is as before after the test."""
    monkeypatch.setattr(web_server, "RequestHandler", web_server.RequestHandler)
    monkeypatch.setattr(Timely, "seconds", Timely.seconds)
    monkeypatch.setattr(Timely, "idle_s", Timely.idle_s)


@pytest.fixture
def port(limits: None) -> Iterator[int]:
    """The port of a server that sends a body back; its limits are those installed by then."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/", echo)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        found.append(await listen(runner, HOST, 0))
        ready.set()
        await ending.wait()
        await runner.cleanup()

    found: list[int] = []
    ready = threading.Event()
    ending = asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    loop.call_soon_threadsafe(ending.set)
    thread.join(60)
    loop.close()


def all_said(port: int, sent: bytes) -> bytes:
    """What the server says until it closes the connection."""
    said = b""
    with socket.create_connection((HOST, port), timeout=60) as link:
        link.sendall(sent)
        while piece := link.recv(4096):
            said += piece
    return said


@pytest.mark.parametrize("sent", [b"", HEAD], ids=["nothing", "half a head"])
def test_a_connection_without_a_whole_head_is_closed(port: int, sent: bytes) -> None:
    install(0.2, LONG_S)
    said = all_said(port, sent)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"too_slow" in body


def test_bytes_that_go_on_coming_are_no_head(port: int) -> None:
    install(2.0, LONG_S)
    assert closed_by_server(HOST, port, HEAD + b"X-Long: ").startswith(b"HTTP/1.1 408 ")
    said = closed_by_server(HOST, port, REQUEST + HEAD + b"X-Long: ")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in said


def test_an_idle_connection_is_closed_without_a_word(port: int) -> None:
    install(0.2, 1.0)
    said = all_said(port, REQUEST)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(b"\r\n\r\nbody")


def test_a_slow_body_and_a_short_rest_are_heard(port: int) -> None:
    install(2.0, LONG_S)
    held = http.client.HTTPConnection(HOST, port, timeout=60)
    held.putrequest("POST", "/")
    held.putheader("Content-Length", "4")
    held.endheaders(b"bo")
    time.sleep(3)
    held.send(b"dy")
    with held.getresponse() as answer:
        assert answer.read() == b"body"
    time.sleep(3)  # idle between two requests, longer than a head may take
    held.request("POST", "/", b"body")
    with held.getresponse() as answer:
        assert answer.read() == b"body"
    held.close()
