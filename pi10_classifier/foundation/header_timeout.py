"""Closes connections whose request headers do not arrive in time, and idle ones.

aiohttp waits for request headers as long as bytes arrive, and has no setting for it; between two
requests it waits for an hour. Its server creates a handler for each connection; ``install``
replaces that class with one that has a deadline. This also works under ``deepaas-run``, which uses
aiohttp too.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import web_server
from aiohttp.web_protocol import RequestHandler

LOG = logging.getLogger("pi10.requests")
IDLE_S = 75.0  # proxies, which reuse connections, mostly drop them after 60 s
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b'Content-Length: 85\r\n\r\n{"error": {"code": "too_slow", "message": '
    b'"the request\'s head did not come in time"}}'
)


class Timely(RequestHandler):
    """A connection that closes if request headers are not complete within ``seconds``.

    The time of the first request starts with the connection, that of a later one with its first
    byte. Between two requests a connection may be idle for ``idle_s`` seconds.
    """

    __slots__ = ("_head_due",)
    seconds = 30.0
    idle_s = IDLE_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # aiohttp counts the time before the first request too, which has its own limit here
        kwargs["keepalive_timeout"] = max(self.idle_s, self.seconds + 1)
        super().__init__(*args, **kwargs)
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._head_came()
        elif not (self._head_due or self._request_in_progress or self._messages):
            self._wait_for_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        loop = asyncio.get_running_loop()
        self._head_due = loop.call_later(self.seconds, self._too_slow)

    def _head_came(self) -> None:
        if self._head_due:
            self._head_due.cancel()
            self._head_due = None

    def _too_slow(self) -> None:
        self._head_due = None
        if self._request_in_progress or self.transport is None:
            return
        LOG.info("connection closed", extra={"reason": f"no whole head in {self.seconds:g} s"})
        self.transport.write(_LATE)
        self.force_close()


def install(seconds: float, idle_s: float = IDLE_S) -> None:
    """Apply the limits to every server that this process starts from now on."""
    Timely.seconds = seconds
    Timely.idle_s = idle_s
    setattr(web_server, "RequestHandler", Timely)  # noqa: B010  (not among its exports)
